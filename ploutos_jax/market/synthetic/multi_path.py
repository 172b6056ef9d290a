"""Banks: markets drawn whole inside a compiled program, several paths end to end, features included."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ploutos_jax.market.features.build import build_market, feature_names
from ploutos_jax.market.features.compute import MASKS
from ploutos_jax.market.hints import HINT_FEATURE
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import Market, Panel
from ploutos_jax.market.sectors import sector_columns
from ploutos_jax.market.synthetic.edge import edge_note
from ploutos_jax.market.synthetic.generate import PRESETS, bar_days, draw_panel
from ploutos_jax.market.synthetic.intraday import bars_in_day
from ploutos_jax.market.synthetic.labels import synthetic_labels
from ploutos_jax.market.synthetic.params import SyntheticParams


@dataclasses.dataclass(frozen=True)
class MarketSpec:
    """Sizes and kind of a bank; static, hence part of the compiled program.

    Attributes:
        num_assets: A.
        num_bars: bars of each path.
        num_paths: P; the bank has `T = P · num_bars` rows.
        features: name of a feature set, or names of built-in features.
        preset: see `synthetic.PRESETS`.
        jitter: see `synthetic_panel`; by default each path has its own volatilities, jump rates and durations of
            regimes, so that nobody learns the numbers of the generator by heart.
        edge: what the signal `hint` tells of the next day's return, see `edge`; None for no such signal.
        volatility_jitter: besides `jitter`, all volatilities of a path are multiplied by one number drawn for it from
            1 − jitter to 1 + jitter, mean log returns kept; None for none of it.
    """

    num_assets: int = 30
    num_bars: int = 1260
    num_paths: int = 16
    features: str | tuple[str, ...] = "core"
    preset: str = "sp500-daily"
    jitter: float = 0.2
    edge: float | None = None
    volatility_jitter: float | None = None

    @property
    def labels(self) -> Labels:
        """Tickers and sectors, and row numbers as times: dates of a bank may repeat. Host only.

        With an edge they have a note of it, but no law: usual volatilities are drawn with each bank.
        """
        days, _ = bar_days(1, 1, self.preset)
        times = days[0].astype("datetime64[D]") + np.arange(self.num_paths * self.num_bars)
        labels = synthetic_labels(self.num_assets, times, bars_in_day(PRESETS[self.preset]))
        return labels if self.edge is None else dataclasses.replace(labels, notes=(edge_note(self.edge),))

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the features of a bank's market, the hint among them where there is an edge."""
        names = feature_names(self.features)
        if self.edge is None or HINT_FEATURE in names:
            return names
        return (*(name for name in names if name not in MASKS), HINT_FEATURE, *MASKS)


def draw_market(key: PRNGKeyArray, recipe: MarketSpec, params: SyntheticParams | None = None) -> Market:
    """Draw a bank: bars, features, what the broker knows, sectors and path ends; pure, to be used inside `jit`.

    Args:
        key: consumed; the same key gives the same bank, and path i of it whatever the number of paths.
        recipe: static.
        params: numbers of the generator, traced if need be.

    Returns:
        A `Market` without labels. Nothing of it depends on bars of another path.
    """
    # Every asset trades to the end.
    return make_market(draw_bank(key, recipe, params), recipe).replace(delisted=None)


def draw_bank(key: PRNGKeyArray, recipe: MarketSpec, params: SyntheticParams | None = None) -> Panel:
    """Draw the panel of a bank, its `path_end` a NumPy array; see `draw_market`."""
    if recipe.volatility_jitter is not None:
        numbers = SyntheticParams() if params is None else params
        params = numbers.replace(volatility_jitter=recipe.volatility_jitter)
    return draw_panel(
        key,
        params,
        recipe.num_assets,
        recipe.num_bars,
        num_paths=recipe.num_paths,
        preset=recipe.preset,
        jitter=recipe.jitter,
        edge=recipe.edge,
    )


def make_market(panel: Panel, recipe: MarketSpec) -> Market:
    """Return the market of a bank's panel, which may have been changed on the way, by halts for instance; pure."""
    market = build_market(panel, recipe.features, calendar=recipe.labels.calendar)
    sectors = synthetic_labels(recipe.num_assets, np.zeros(0, "datetime64[D]")).sectors
    return market.replace(sector=jnp.asarray(sector_columns(sectors)))
