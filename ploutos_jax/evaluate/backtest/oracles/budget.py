"""The best use of one account's equity where many assets each have a hint that lasts: bands under a price of capital.

Positions compete for equity: each may take a part, all of them together no more than the whole. A price of capital, per
bar and unit held, stands for that competition: with it every asset is a problem of its own (`bands`), and it is as high
as makes the parts that all of them want add up to `AIM` on average. Hints come and go, so that now and then more is
wanted than there is; then those positions are held whose worth is highest, what trading them would cost taken into
account: one that is held counts what its sale would cost, one that is not counts less what its purchase would.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from ploutos_jax.evaluate.backtest.oracles.bands import Bands, best_bands
from ploutos_jax.evaluate.backtest.oracles.promised import hints_of, law_of
from ploutos_jax.market.hints import HintLaw
from ploutos_jax.market.panel import Market

AIM = 1.3
"""Sum of the parts that are wanted on average at the price of capital.

With ever more assets the best is 1: what is wanted then hardly varies. With as many as an account has, equity lies idle
whenever less is wanted, and which positions it goes to when more is wanted is decided by their worth anyway. In
expectation (edge 0.05, volatilities near 1.8 %), 30 assets make 20.8 % a year at 1, 21.2 % at 1.2 and 1.3 and 21.0 % at
1.5 where a side costs 10 basis points; 22.5, 23.0, 23.1 and 23.1 % where it costs 2; six assets then 19.8, 20.4, 20.5
and 20.6 %.
"""

_CLOSE = 3e-3
"""Of the sum of parts to what is aimed at."""
_HALVINGS = 30
_ROUGH, _FINE = 1e-4, 1e-7


@dataclasses.dataclass(frozen=True)
class Budget:
    """Bands of A assets on P paths that share their account's equity.

    Attributes:
        bands: of all problems, path by path, `[P · A]` problems; in units of what a hint of 1 promises.
        unit: `[P, A]` that promise.
        cost: `[P, A]` per side, in that unit.
        price: `[P]` of capital per bar, as a share of it.
        size: of a position, in shares of equity.
        slots: most positions at a time.
    """

    bands: Bands
    unit: Float[np.ndarray, "P A"]
    cost: Float[np.ndarray, "P A"]
    price: Float[np.ndarray, " P"]
    size: float
    slots: int

    @property
    def buy(self) -> Float[np.ndarray, "P A"]:
        """`[P, A]` hint above which an asset is wanted."""
        return self.bands.buy.reshape(self.unit.shape)

    @property
    def sell(self) -> Float[np.ndarray, "P A"]:
        """`[P, A]` hint below which it no longer is."""
        return self.bands.sell.reshape(self.unit.shape)

    def worth(self, hint: Float[np.ndarray, "bars A"], path: Int[np.ndarray, " bars"]) -> Float[np.ndarray, "bars A"]:
        """Return what holding over the next bar is worth against not holding, in units of what a hint of 1 promises."""
        out = np.empty(hint.shape)
        num_assets = self.unit.shape[1]
        for p in np.unique(path):
            rows = path == p
            for a in range(num_assets):
                table = self.bands.worth[:, p * num_assets + a]
                out[rows, a] = np.interp(hint[rows, a], self.bands.hints, table)
        return out


def plan_budget(
    law: HintLaw, cost: float | Float[np.ndarray, " A"], cap: float | None = None, *, aim: float = AIM
) -> Budget:
    """Return the bands of a market with an edge.

    Args:
        law: of the hint; strength above 0.
        cost: per side, as a share of what is traded, for each asset or for all.
        cap: largest share of equity in one asset; three equal parts without it, at most all. Positions have one size,
            the largest that is no larger than the cap and fills the account a whole number of times.
        aim: sum of the parts that are wanted on average.

    Raises:
        ValueError: if the cap lies outside (0, 1], or nothing is promised.
    """
    num_paths, num_assets = law.volatility.shape
    cap = min(1.0, 3 / num_assets) if cap is None else cap
    if not 0 < cap <= 1:
        raise ValueError(f"cap={cap} must lie in (0, 1]: it is the largest share of equity in one asset.")
    if not law.strength > 0:
        raise ValueError("The hint of this market tells nothing: there are no best bands.")
    slots = int(np.ceil(1 / cap - 1e-9))
    size = 1 / slots
    unit = law.strength * law.volatility
    ratio = np.broadcast_to(np.asarray(cost, np.float64), (num_assets,)) / unit

    def solve(price: np.ndarray, start: Bands | None, tolerance: float) -> Bands:
        worth = None if start is None else start.worth
        prices = (price[:, None] / unit).ravel()
        return best_bands(law.persistence, ratio.ravel(), prices, start=worth, tolerance=tolerance)

    def excess(bands: Bands) -> np.ndarray:
        return size * bands.held.reshape(unit.shape).sum(axis=1) - aim

    low, high = np.zeros(num_paths), np.full(num_paths, 4 * unit.max())
    price, bands = low, solve(low, None, _ROUGH)
    # Where equity is no limit it has no price.
    free = excess(bands) <= _CLOSE
    for _ in range(_HALVINGS):
        left = excess(bands)
        if (free | (np.abs(left) <= _CLOSE)).all():
            break
        low, high = np.where(left > 0, price, low), np.where(left > 0, high, price)
        price = np.where(free, 0.0, (low + high) / 2)
        bands = solve(price, bands, _ROUGH)
    bands = solve(price, bands, _FINE)
    return Budget(bands, unit, ratio, price, size, slots)


def hold_in_budget(
    budget: Budget, hint: Float[np.ndarray, "bars A"], path: Int[np.ndarray, " bars"]
) -> Bool[np.ndarray, "bars A"]:
    """Return what is held after each row, from nothing, `slots` positions at most; known at the row's close.

    Args:
        budget: bands and costs.
        hint: known at close t.
        path: row of the budget that holds for each bar.
    """
    unit, cost = budget.unit[path], budget.cost[path]
    worth = budget.worth(hint, path)
    kept, bought = unit * (worth + cost), unit * (worth - cost)
    held = np.zeros(hint.shape, bool)
    now = np.zeros(hint.shape[1], bool)
    for row in range(len(hint)):
        value = np.where(now, kept[row], bought[row])
        now = value > 0
        if now.sum() > budget.slots:
            best = np.argsort(-value, kind="stable")[: budget.slots]
            now = np.zeros_like(now)
            now[best] = True
        held[row] = now
    return held


def band_oracle(
    market: Market, first: int = 0, *, cost: float | Float[np.ndarray, " A"] = 0.0, cap: float | None = None
) -> Float[np.ndarray, "bars A"]:
    """Return the targets of the best bands under a budget, for a synthetic market with an edge.

    Causal: it reads hints up to close t and constants of the generator. What it expects is the part that the hint
    tells; drift is left out. A position is traded when it begins and when it ends, and drifts in between. Where the
    hint tells nothing (edge 0) it never trades.

    Args:
        market: built from a synthetic panel with an edge, the hint among its features.
        first: row at whose close the first decision is made.
        cost: per side, as a share of what is traded.
        cap: see `plan_budget`.

    Raises:
        ValueError: if the market has no hint.
    """
    law = law_of(market)
    if not law.strength > 0:
        return np.full((market.num_bars - first, market.num_assets), np.nan)
    path = law.path[first:]
    there, place = np.unique(path, return_inverse=True)
    budget = plan_budget(dataclasses.replace(law, volatility=law.volatility[there]), cost, cap)
    held = hold_in_budget(budget, hints_of(market)[first:], place)
    before = np.concatenate([np.zeros_like(held[:1]), held[:-1]])
    return np.where(held != before, np.where(held, budget.size, 0.0), np.nan)
