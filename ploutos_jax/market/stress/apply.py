"""Stress: what history seldom shows, applied to any panel, made or real, daily or intraday.

    panel, shock = stress(key, panel, "flash_crash", severity=0.8)

Every bar before the shock stays as it was, to the last bit, so no feature before it can tell that it will come. Call it
again on what it returns to compose scenarios. It is a pure function of arrays: a bank of paths can be stressed inside
`jit`. Signals, corporate actions in shares and everything in the panel's labels stay as they are; dividends move with
the price.
"""

import difflib
import typing
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ploutos_jax.market.adjust import is_traced
from ploutos_jax.market.features.compacted import bar_exists
from ploutos_jax.market.panel import SCALES, Panel
from ploutos_jax.market.sectors import NO_SECTOR, sector_columns
from ploutos_jax.market.stress.decompose import Moves
from ploutos_jax.market.stress.scenarios import OVERLAYS, Change, Scene

SCENARIOS = tuple(OVERLAYS)
"""Names of the scenarios, see `overlays`."""

NO_SCENARIO = -1
"""`Shock.scenario` of a path that was left alone."""

_PRICES = ("open", "high", "low", "close")


@typing.no_type_check
class Shock(struct.PyTreeNode):
    """Where a shock lies and whom it hit. With several paths every field has a leading axis of paths.

    Attributes:
        scenario: int32 place in `SCENARIOS`, `NO_SCENARIO` where a path was left alone.
        first, last: int32 rows of the panel, both included; `last < first` where a path was left alone.
        assets: `[A]` bool, assets hit: those that traded in its first row and the one before, or some of them.
        severity: 0 (mildest) to 1.
    """

    scenario: Int[Array, " *paths"]
    first: Int[Array, " *paths"]
    last: Int[Array, " *paths"]
    assets: Bool[Array, "*paths A"]
    severity: Float[Array, " *paths"]


def stress(
    key: PRNGKeyArray,
    panel: Panel,
    scenario: str,
    severity: Num[Array | np.ndarray, "..."] | float | None = None,
    *,
    between: tuple[int, int] | None = None,
    num_paths: int = 1,
) -> tuple[Panel, Shock]:
    """Lay one scenario over every path of a panel.

    Args:
        key: consumed; the same key gives the same shock.
        panel: bars; may be traced.
        scenario: a name of `SCENARIOS`.
        severity: from 0 to 1, through the ranges of the scenario; one for all paths or `[num_paths]`. Drawn from
            all of [0, 1] without it.
        between: rows of a path, `(from, to)` as in a slice, from which the first row of the shock is drawn. Without it
            any row from an eighth of the path on, such that the shock ends before the path does where it can.
        num_paths: paths of equal length that lie end to end along T; each gets a shock of its own.

    Returns:
        The stressed panel, with the labels of the one given, and the shock. What the path's end cuts off is lost.

    Raises:
        ValueError: if the scenario is unknown, the severity lies outside [0, 1], or the rows hold no place for a shock.
    """
    if scenario not in OVERLAYS:
        near = difflib.get_close_matches(str(scenario), SCENARIOS, n=1, cutoff=0.0)
        raise ValueError(f"Unknown scenario {scenario!r}; did you mean {near[0]!r}? There are {', '.join(SCENARIOS)}.")
    length = _path_length(panel, num_paths)
    bounds = None if between is None else _bounds(between, length)
    if severity is not None and not isinstance(severity, Tracer):
        given = np.asarray(severity)
        if given.shape not in ((), (num_paths,)) or not ((given >= 0) & (given <= 1)).all():
            raise ValueError(
                f"severity={severity} must lie in [0, 1], one number or one for each of {num_paths} path(s)."
            )
    keys = jax.random.split(key, (num_paths, 2))
    drawn = jax.vmap(jax.random.uniform)(keys[:, 1]) if severity is None else severity
    drawn = jnp.broadcast_to(jnp.asarray(drawn, float), num_paths)
    made, shock = _stress(keys[:, 0], _arrays(panel), drawn, bounds, _sector(panel), scenario, num_paths)
    if num_paths == 1:
        shock = jax.tree.map(lambda x: x[0], shock)
    return _merge(panel, made, shock), shock


def stress_some(
    key: PRNGKeyArray,
    panel: Panel,
    probability: Float[Array, ""] | float,
    *,
    scenarios: Sequence[str] = SCENARIOS,
    num_paths: int,
    between: tuple[int, int] | None = None,
) -> tuple[Panel, Shock]:
    """Lay a scenario drawn from some over each path with a given probability, the severity drawn too.

    A path that is left alone keeps its bars to the last bit. The panel always has both multiples of costs, 1 where
    nothing is wrong, so that one compiled program serves every draw.

    Args:
        key: consumed.
        panel: bars; may be traced.
        probability: of a path to be stressed.
        scenarios: names to draw from.
        num_paths: paths of equal length that lie end to end along T.
        between: see `stress`.

    Returns:
        The panel and, per path, the shock.
    """
    for scenario in scenarios:
        if scenario not in OVERLAYS:
            raise ValueError(f"Unknown scenario {scenario!r}. There are {', '.join(SCENARIOS)}.")
    length = _path_length(panel, num_paths)
    bounds = None if between is None else _bounds(between, length)
    ones = jnp.ones(panel.close.shape)
    whole = panel.replace(**{name: ones if (x := getattr(panel, name)) is None else x for name in SCALES})
    made, shock = _stress_some(key, _arrays(whole), probability, bounds, _sector(panel), tuple(scenarios), num_paths)
    return _merge(whole, made, shock), shock


@partial(jax.jit, static_argnames=("scenario", "num_paths"))
def _stress(
    keys: Array,
    panel: Panel,
    severity: Array,
    between: Array | None,
    sector: Array,
    scenario: str,
    num_paths: int,
) -> tuple[Panel, Shock]:
    apply = partial(_stress_path, scenario=scenario, between=between, sector=sector)
    made, shock = jax.lax.map(lambda x: apply(*x), (keys, _split(panel, num_paths), severity))
    return _join(made), _in_panel_rows(shock, panel.num_bars // num_paths)


@partial(jax.jit, static_argnames=("scenarios", "num_paths"))
def _stress_some(
    key: Array,
    panel: Panel,
    probability: Array,
    between: Array | None,
    sector: Array,
    scenarios: tuple[str, ...],
    num_paths: int,
) -> tuple[Panel, Shock]:
    def leave_alone(key: Array, path: Panel, severity: Array) -> tuple[Panel, Shock]:
        nothing = jnp.zeros(path.num_assets, bool)
        return path, Shock(jnp.int32(NO_SCENARIO), jnp.int32(0), jnp.int32(-1), nothing, jnp.zeros_like(severity))

    branches = [leave_alone]
    branches += [partial(_stress_path, scenario=name, between=between, sector=sector) for name in scenarios]

    def stress_path(given: tuple[Array, Panel]) -> tuple[Panel, Shock]:
        key, path = given
        hit_key, which_key, severity_key, key = jax.random.split(key, 4)
        which = 1 + jax.random.randint(which_key, (), 0, len(scenarios))
        which = jnp.where(jax.random.bernoulli(hit_key, probability), which, 0)
        return jax.lax.switch(which, branches, key, path, jax.random.uniform(severity_key))

    # One path after the other: of the branches of a path only one runs.
    made, shock = jax.lax.map(stress_path, (jax.random.split(key, num_paths), _split(panel, num_paths)))
    return _join(made), _in_panel_rows(shock, panel.num_bars // num_paths)


def _stress_path(
    key: Array, path: Panel, severity: Array, *, scenario: str, between: Array | None, sector: Array
) -> tuple[Panel, Shock]:
    overlay = OVERLAYS[scenario]
    start_key, key = jax.random.split(key)
    length = path.num_bars
    opens, high, low, close = (jnp.asarray(getattr(path, name)) for name in _PRICES)
    exists = bar_exists(opens, high, low, close)
    moves = Moves.of((opens, high, low, close), exists, path)
    per_session = length / moves.starts_session.sum()
    bars = jnp.maximum(jnp.ceil(overlay.length(severity, per_session) - 1e-4), 1).astype(jnp.int32)
    earliest = max(1, length // 8)
    lowest, highest = (earliest, jnp.maximum(earliest + 1, length - bars + 1)) if between is None else between
    first = jax.random.randint(start_key, (), lowest, highest)
    row = jnp.arange(length)[:, None]
    if overlay.at_session_start:
        first = _session_start(moves.starts_session[:, 0], row[:, 0], first, lowest)
    last = jnp.minimum(first + bars - 1, length - 1)
    alive = exists[first] & exists[first - 1]
    scene = Scene(moves, row, first, last, per_session, severity, alive, sector)
    change = overlay.apply(key, scene)
    assets = alive if change.assets is None else change.assets
    shock = Shock(jnp.int32(SCENARIOS.index(scenario)), first, last, assets, severity)
    return _apply(path, change, moves, row >= first), shock


def _session_start(starts: Array, row: Array, first: Array, low: Array | int) -> Array:
    """Return the first session start from row `first` on, or else the last one before it that is not before `low`."""
    later = jnp.argmax(starts & (row >= first))
    earlier = jnp.max(jnp.where(starts & (row < first) & (row >= low), row, first))
    return jnp.where((starts & (row >= first)).any(), later, earlier).astype(first.dtype)


def _apply(path: Panel, change: Change, moves: Moves, after: Array) -> Panel:
    fields: dict[str, Any] = {}
    if change.prices is not None:
        for name, new in zip(_PRICES, change.prices, strict=True):
            fields[name] = jnp.where(after, new, getattr(path, name))
        if path.dividend is not None:
            factor = jnp.where(moves.exists & after, change.prices[0] / moves.open, 1)
            fields["dividend"] = path.dividend * factor
    if change.volume is not None:
        fields["volume"] = path.volume * change.volume
    for name, factor in (("spread_scale", change.spread), ("impact_scale", change.impact)):
        if factor is not None:
            before = getattr(path, name)
            fields[name] = (1 if before is None else before) * jnp.broadcast_to(factor, path.close.shape)
    if change.halted is not None:
        for name in _PRICES:
            fields[name] = jnp.where(change.halted, jnp.nan, fields[name])
        fields["volume"] = jnp.where(change.halted, 0, path.volume)
        fields["tradable"] = path.tradable & ~change.halted
    return path.replace(**fields)


def _arrays(panel: Panel) -> Panel:
    """Return the part of a panel that a shock may change or must know, on the device."""
    part = panel.replace(signals={}, labels=None)
    return jax.tree.map(lambda x: jnp.asarray(x) if x.dtype.kind in "bi" else jnp.asarray(x, float), part)


def _sector(panel: Panel) -> Array:
    if panel.labels is None:
        return jnp.full(panel.num_assets, NO_SECTOR, jnp.int32)
    return jnp.asarray(sector_columns(panel.sectors))


def _merge(panel: Panel, made: Panel, shock: Shock) -> Panel:
    """Return the panel with what changed; arrays of the host keep their precision wherever nothing did."""
    changed: dict[str, Any] = {}
    for name in (*_PRICES, "volume", "tradable", "dividend", *SCALES):
        old, new = getattr(panel, name), getattr(made, name)
        if isinstance(old, np.ndarray) and not is_traced(made):
            new = np.asarray(new)
            same = (new == old.astype(new.dtype)) | (np.isnan(new) & np.isnan(old))
            new = np.where(same, old, new.astype(old.dtype))
        changed[name] = new
    if isinstance(panel.close, np.ndarray) and not is_traced(made):
        # Old prices in full precision may lie a rounding inside new ones.
        changed["high"] = np.maximum(changed["high"], np.maximum(changed["open"], changed["close"]))
        changed["low"] = np.minimum(changed["low"], np.minimum(changed["open"], changed["close"]))
    return panel.replace(**changed)


def _bounds(between: tuple[int, int], length: int) -> Array:
    low, high = between
    if not 1 <= low < high <= length:
        raise ValueError(
            f"between={between} must be rows (from, to) of a path of {length} bars, from row 1 on: a shock needs a bar"
            " before it."
        )
    return jnp.array([low, high], jnp.int32)


def _path_length(panel: Panel, num_paths: int) -> int:
    if num_paths < 1 or panel.num_bars % num_paths or panel.num_bars // num_paths < 2:
        raise ValueError(
            f"A panel of {panel.num_bars} bars does not consist of {num_paths} paths of equal length and at least 2"
            " bars; a shock needs a bar before it."
        )
    return panel.num_bars // num_paths


def _split(panel: Panel, num_paths: int) -> Panel:
    return jax.tree.map(lambda x: x.reshape(num_paths, x.shape[0] // num_paths, *x.shape[1:]), panel)


def _join(panel: Panel) -> Panel:
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), panel)


def _in_panel_rows(shock: Shock, length: int) -> Shock:
    start = length * jnp.arange(shock.first.shape[0])
    return shock.replace(first=shock.first + start, last=shock.last + start)
