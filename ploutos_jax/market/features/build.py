"""Panel to Market: broker-ready prices and the table of causal features `[T, A, F]` in network form.

Three conventions hold for every built-in feature:

* **Total return.** Indicators see prices adjusted forward in time for splits and dividends, so that a return from
  close to close is what a holder earned, and nothing after t enters row t.
* **Own bars.** A feature runs over an asset's existing bars as if the missing ones were not there, and is not known
  in a missing bar. A gap therefore neither poisons later rows nor looks like a flat price.
* **Network form.** Scale-free, clipped to ±10, and 0 where not known. The last two features are masks: `known` is 1
  where the asset has a bar, `warm` the share of the features that are past their warm-up. Nothing is ever filled from
  a later row.

Row t of a feature is known at close t.

A feature `expert_<name>` is what a strategy without learning holds (`market/experts/`), a weight and no indicator.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Int

from ploutos_jax.market.adjust import is_traced, total_return
from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.experts.table import EXPERTS, PREFIX, table
from ploutos_jax.market.features.cache import cached_features
from ploutos_jax.market.features.catalog import FEATURE_SETS, FEATURES, suggest
from ploutos_jax.market.features.compacted import bar_exists
from ploutos_jax.market.features.compute import MASKS, compute_features, split_paths
from ploutos_jax.market.features.definitions.feature import Feature
from ploutos_jax.market.features.liquidity import measure_activity
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import SCALES, Array, Market, Panel
from ploutos_jax.market.sectors import sector_columns

# The bound of signals and user functions: their squares, summed over a table, stay finite in float32.
RAW_CLIP = 1e15

UserFunction = Callable[[Panel], Any]


@dataclasses.dataclass(frozen=True)
class ExpertColumn:
    """A column that holds the weights of an expert of `EXPERTS`."""

    name: str


Column = Feature | ExpertColumn | UserFunction | Array


def build_market(
    panel: Panel,
    features: str | Sequence[str | UserFunction] = "standard",
    path_end: Int[np.ndarray, " _"] | None = None,
    cache: str | Path | None = None,
    calendar: Calendar | None = None,
    adjusted: Panel | None = None,
) -> Market:
    """Return the market that the simulator runs on: broker-ready prices and the table of features.

    The columns are the features named, in the order given, then the panel's signals as `signal_<name>`, then two
    masks: `warm`, the share of the built-in features among the columns that are past their warm-up, and `known`, 1
    where the asset has a bar at all; both are 0 where it has none. Giving `market.feature_names` again makes the same
    columns.

    Args:
        panel: validated here, unless it is being traced inside a `jit`.
        features: a set's name, or a list of feature names, signal names and your own causal functions
            `(panel) -> [T, A]`. A set takes every signal; so does a list that names none. Your functions see the
            panel as it is given (`total_return` adjusts it), one path at a time; their NaN becomes 0, their spread is
            left to the agent's scaling, their column is named by their `__name__`. `check_causal` tests them.
        path_end: `[T]` last row of the path that each row belongs to, where paths of equal length lie end to end
            along T; None for the panel's own, or for one path.
        cache: folder where the table of built-in features is kept for the next time (see `feature_cache`); your own
            functions are evaluated each time.
        calendar: by which experts decide; None for the panel's own. One that is traced has none.
        adjusted: the panel at total-return prices, where they are known from a longer history than its own rows; made
            from the panel without it. Not with a cache.

    Returns:
        A `Market`; row t is known at close t, except `open[t]`.

    Raises:
        ValueError: if the panel is inconsistent, a feature or set is unknown (the message names the nearest known
            one), a name occurs twice, a function returns another shape than `[T, A]`, or experts of a traced panel are
            named without a calendar.
    """
    if not is_traced(panel):
        panel.validate()
    num_paths = _count_paths(panel.num_bars, panel.path_end if path_end is None else path_end)
    columns = _resolve_columns(features, panel)
    built_in = tuple(column for column in columns.values() if isinstance(column, Feature))
    if adjusted is None:
        adjusted = total_return(panel, num_paths)
    elif cache is not None:
        raise ValueError("A cache is of prices as traded; leave out cache= where adjusted= is given.")
    if cache is None or is_traced(panel):
        table = compute_features(adjusted, built_in, num_paths)
    else:
        table = cached_features(panel, built_in, num_paths, cache)
    prices = {name: jnp.asarray(getattr(panel, name), float) for name in ("open", "high", "low", "close", "volume")}
    split = jnp.ones(prices["close"].shape) if panel.split is None else jnp.asarray(panel.split, float)
    activity = measure_activity(
        tuple(jnp.asarray(getattr(adjusted, name), float) for name in prices),
        jnp.nan_to_num(prices["close"] * prices["volume"]),
        jnp.asarray(panel.sessions, jnp.int32),
        num_paths,
    )
    bars, delisted = _fill_forward(prices, jnp.asarray(panel.tradable), split, num_paths)
    if not is_traced(panel):
        bars["volume"] = _unknown_volume(panel, bars["volume"])
    market = Market(
        **bars,
        delisted=delisted if is_traced(panel) or bool(delisted.any()) else None,
        sessions=jnp.asarray(panel.sessions, jnp.int32),
        path_end=jnp.asarray(_last_rows(panel.num_bars, num_paths), jnp.int32),
        features=_join_own_columns(table, columns, panel, num_paths),
        dividend=None if panel.dividend is None else jnp.asarray(panel.dividend, float),
        split=None if panel.split is None else jnp.asarray(panel.split, float),
        buyable=None if panel.buyable is None else jnp.asarray(panel.buyable),
        **{name: None if (x := getattr(panel, name)) is None else jnp.asarray(x, float) for name in SCALES},
        **activity,
        sector=None if panel.labels is None else jnp.asarray(sector_columns(panel.sectors)),
        labels=_known_facts(panel),
        feature_names=(*columns, *MASKS),
    )
    return _fill_in_experts(market, columns, calendar)


def _fill_in_experts(market: Market, columns: dict[str, Column], calendar: Calendar | None) -> Market:
    """Return the market with the columns of experts, which are blank so far, as the experts decide."""
    experts = {name: column.name for name, column in columns.items() if isinstance(column, ExpertColumn)}
    if not experts:
        return market
    if calendar is None and market.labels is None:
        raise ValueError(
            f"{next(iter(experts))}: experts decide by a calendar, which this panel lacks; give calendar=."
        )
    weights = table(market, list(experts.values()), market.calendar if calendar is None else calendar)
    where = np.array([market.feature_names.index(name) for name in experts])
    return market.replace(features=market.features.at[..., where].set(jnp.moveaxis(weights, 1, -1)))


def _known_facts(panel: Panel) -> Labels | None:
    """Return the labels with calendar and instruments written down: a window of the market has those of the whole."""
    if panel.labels is None:
        return None
    kinds = panel.labels.instruments if is_traced(panel) else panel.instruments
    return dataclasses.replace(panel.labels, calendar=panel.calendar, instruments=kinds)


def feature_names(features: str | Sequence[str], panel: Panel | None = None) -> tuple[str, ...]:
    """Return the names of the columns of a market.

    Args:
        features: a set's name, or a list of names.
        panel: whose signals are joined to a set; none without it.
    """
    if panel is not None:
        return (*_resolve_columns(features, panel), *MASKS)
    names = FEATURE_SETS[features] if isinstance(features, str) else features
    return (*(name for name in names if name not in MASKS), *MASKS)


@partial(jax.jit, static_argnames="num_paths")
def _fill_forward(
    bars: dict[str, jax.Array], tradable: jax.Array, split: jax.Array, num_paths: int
) -> tuple[dict[str, jax.Array], jax.Array]:
    """Carry the last close through missing bars; also mark the bar after each asset's final one, if it ever traded.

    A split inside a gap divides the price that is carried, as it multiplies the shares held.
    """

    def fill_path(
        bars: dict[str, jax.Array], tradable: jax.Array, split: jax.Array
    ) -> tuple[dict[str, jax.Array], jax.Array]:
        exists = bar_exists(bars["open"], bars["high"], bars["low"], bars["close"])
        row = jnp.arange(exists.shape[0])[:, None]
        last_row = jax.lax.cummax(jnp.where(exists, row, -1))
        last_close = jnp.take_along_axis(bars["close"], jnp.maximum(last_row, 0), axis=0)
        ratio = jnp.cumprod(split, axis=0)
        since = ratio / jnp.take_along_axis(ratio, jnp.maximum(last_row, 0), axis=0)
        last_close = jnp.where(last_row >= 0, last_close / since, 0)
        filled = {name: jnp.where(exists, x, 0 if name == "volume" else last_close) for name, x in bars.items()}
        tradable = tradable & exists
        return {**filled, "tradable": tradable}, (row == last_row[-1] + 1) & tradable.any(axis=0)

    by_path = jax.vmap(fill_path)(*split_paths((bars, tradable, split), num_paths))
    return jax.tree.map(lambda x: x.reshape(tradable.shape), by_path)


def _unknown_volume(panel: Panel, volume: jax.Array) -> jax.Array:
    """Return the volume, infinite in the bars of assets that have none anywhere: it is unknown, and caps nothing."""
    unknown = ~(np.asarray(panel.volume) > 0).any(axis=0) & np.asarray(panel.tradable)
    return jnp.where(unknown, jnp.inf, volume) if unknown.any() else volume


def _last_rows(num_bars: int, num_paths: int) -> np.ndarray:
    length = num_bars // num_paths
    return np.arange(num_bars) // length * length + length - 1


def _count_paths(num_bars: int, path_end: Array | None) -> int:
    if path_end is None:
        return 1
    if isinstance(path_end, Tracer):
        raise ValueError("Inside jit, path_end must be a NumPy array: how many paths there are decides the program.")
    ends = np.asarray(path_end)
    num_paths = len(np.unique(ends))
    if ends.shape != (num_bars,) or num_bars % num_paths or (ends != _last_rows(num_bars, num_paths)).any():
        raise ValueError(
            "path_end must hold, in each row, the last row of that row's path, for paths of equal length that fill the"
            f" {num_bars} bars; got shape {ends.shape} with {num_paths} different values, {ends[:3]} ... {ends[-3:]}."
        )
    return num_paths


def _resolve_columns(features: str | Sequence[str | UserFunction], panel: Panel) -> dict[str, Column]:
    """Return what makes each column, by its name and in its order, masks left out."""
    signals: dict[str, Column] = {f"signal_{name}": signal for name, signal in panel.signals.items()}
    experts: dict[str, Column] = {PREFIX + name: ExpertColumn(name) for name in EXPERTS}
    sources: dict[str, Column] = {feature.name: feature for feature in FEATURES} | experts | signals
    if isinstance(features, str):
        if features not in FEATURE_SETS:
            hint = " A single feature goes in a list." if features in sources else ""
            raise ValueError(f"Unknown feature set {features!r}; {suggest(features, FEATURE_SETS)}{hint}")
        features = FEATURE_SETS[features]
    columns: dict[str, Column] = {}
    for item in features:
        if isinstance(item, str) and item in MASKS:
            continue
        name, column = _resolve_column(item, sources)
        if name in columns:
            raise ValueError(f"The feature {name!r} is given twice; each column needs a name of its own.")
        columns[name] = column
    return columns if any(name in signals for name in columns) else columns | signals


def _resolve_column(item: str | UserFunction, sources: dict[str, Column]) -> tuple[str, Column]:
    if isinstance(item, str):
        if item not in sources:
            raise ValueError(f"Unknown feature {item!r}; {suggest(item, sources)}")
        return item, sources[item]
    name = getattr(item, "__name__", None)
    if not callable(item) or not isinstance(name, str):
        raise ValueError(f"The feature list holds {item!r}; give names and functions that have a __name__.")
    if name in sources or name in MASKS:
        raise ValueError(f"Your function {name!r} has the name of a known feature; give it another name.")
    return name, item


def _join_own_columns(table: jax.Array, columns: dict[str, Column], panel: Panel, num_paths: int) -> jax.Array:
    """Put signals and the user's functions among the built-in features, masks last."""
    own = {name: column for name, column in columns.items() if not isinstance(column, Feature)}
    if not own:
        return table

    def value_of(name: str, column: Column) -> jax.Array:
        if isinstance(column, ExpertColumn):
            return jnp.zeros((panel.num_bars, panel.num_assets))
        return _evaluate(name, column, panel, num_paths) if callable(column) else jnp.asarray(column, float)

    values = [value_of(name, column) for name, column in own.items()]
    values = jnp.clip(jnp.nan_to_num(jnp.stack(values, axis=-1)), -RAW_CLIP, RAW_CLIP)
    num_masks = len(MASKS)
    joined = jnp.concatenate([table[..., :-num_masks], values, table[..., -num_masks:]], axis=-1)
    made = [*(name for name in columns if name not in own), *own, *MASKS]
    order = [made.index(name) for name in (*columns, *MASKS)]
    return joined if order == sorted(order) else joined[..., np.array(order)]


def _evaluate(name: str, function: UserFunction, panel: Panel, num_paths: int) -> jax.Array:
    length = panel.num_bars // num_paths
    parts = []
    for i in range(num_paths):
        value = jnp.asarray(function(panel.window(i * length, (i + 1) * length)), float)
        if value.shape != (length, panel.num_assets):
            raise ValueError(
                f"The feature function {name!r} returned shape {value.shape}; it must return one value for each bar and"
                f" asset of the panel it is given, {(length, panel.num_assets)}."
            )
        parts.append(value)
    return jnp.concatenate(parts)
