"""Bands: the best that can be done with one asset whose next return a persistent hint tells, where trading costs.

An asset earns, in the bar after close t, h_t on average, h a stationary standard normal AR(1); everything is counted in
that unit. Whoever holds a position pays m a bar for the capital in it, and k whenever he buys or sells. The position p
lies in [0, 1]; what is earned is linear in it, so 0 or 1 is always among the best. Let D(h) be what it is worth to
come into a bar with the asset rather than without it. Whoever has it may sell, whoever has it not may buy, hence

    W(h) = h − m + E[D(h') | h]        worth of holding over this bar, against not holding
    D(h) = min(k, max(−k, W(h)))       buy where W > k, sell where W < −k, keep in between

W rises with h: the rule is two thresholds. Iterating the two lines is value iteration for the mean gain per bar, the
gain itself having dropped out of the difference. Float64, on a grid of hints whose steps are small against the
innovation of the AR(1), where sums over the normal density are exact for smooth functions far beyond what is asked.

Source: own derivation. Thresholds and a region of inaction under linear costs: Davis & Norman 1990, Portfolio selection
with transaction costs; with a predictor, de Lataillade et al. 2012, arXiv 1203.5957.
"""

import dataclasses
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from ploutos_jax.market.synthetic.params import YEAR_DAYS

_REACH = 6.0
"""The grid goes from −6 to 6 standard deviations; of 10⁹ hints two lie beyond."""
_STEP = 0.05
_LEAST_POINTS_PER_INNOVATION = 3.0
_MOST_ROUNDS = 20_000
MOST_PERSISTENCE = 0.999


@dataclasses.dataclass(frozen=True)
class Bands:
    """Thresholds of several problems, and what following them brings in the long run.

    Attributes:
        buy, sell: `[problems]` hint above which to buy, and below which to sell; infinite where that never pays.
        held: `[problems]` share of the bars in which the asset is held.
        trades: `[problems]` purchases and sales per bar, each counted as one.
        gross: `[problems]` mean of hint times position per bar, costs and price of capital not taken off.
        hints: `[points]` the grid.
        worth: `[points, problems]` W above: worth of holding over a bar against not holding, before what trading costs.
    """

    buy: Float[np.ndarray, " problems"]
    sell: Float[np.ndarray, " problems"]
    held: Float[np.ndarray, " problems"]
    trades: Float[np.ndarray, " problems"]
    gross: Float[np.ndarray, " problems"]
    hints: Float[np.ndarray, " points"]
    worth: Float[np.ndarray, "points problems"]


@dataclasses.dataclass(frozen=True)
class Optimum:
    """One asset held in whole or not at all, in words of a report.

    Attributes:
        buy, sell: hint above which to buy, below which to sell.
        gain: what is expected of a year after costs, in shares of the position (0.08 is 8 %), price of capital not
            taken off.
        trades: purchases and sales in a year.
        held: share of the time in which it is held.
    """

    buy: float
    sell: float
    gain: float
    trades: float
    held: float


def best_bands(
    persistence: float,
    cost: Float[np.ndarray, " problems"],
    price: Float[np.ndarray, " problems"] | float = 0.0,
    *,
    start: Float[np.ndarray, "points problems"] | None = None,
    tolerance: float = 1e-7,
) -> Bands:
    """Return the best thresholds of several problems that share the persistence of their hints.

    Args:
        persistence: φ of the AR(1), from 0 to `MOST_PERSISTENCE`.
        cost: k, `[problems]` per purchase and per sale, in units of what a hint of 1 promises for a bar; not negative.
        price: m, of capital per bar held, in the same unit.
        start: `worth` of a nearby problem, from which the iteration begins.
        tolerance: change of a round, in units of hints, at which the iteration ends.

    Raises:
        ValueError: if a number is out of range.
    """
    if not 0 <= persistence <= MOST_PERSISTENCE:
        raise ValueError(f"persistence={persistence} must lie in [0, {MOST_PERSISTENCE}].")
    cost = np.asarray(cost, np.float64)
    price = np.broadcast_to(np.asarray(price, np.float64), cost.shape)
    if not (np.isfinite(cost).all() and np.isfinite(price).all() and (cost >= 0).all()):
        raise ValueError("Costs must be finite and not negative, and prices of capital finite.")
    hints, law, step = _grid(persistence)
    promised = hints[:, None] - price
    worth = promised if start is None else start
    for _ in range(_MOST_ROUNDS):
        before, worth = worth, promised + step @ np.clip(worth, -cost, cost)
        if np.abs(worth - before).max() <= tolerance:
            break
    buy, sell = (_crossing(hints, worth, level) for level in (cost, -cost))
    return _in_the_long_run(hints, law, step, buy, sell, worth)


def follow(persistence: float, buy: Float[np.ndarray, " problems"], sell: Float[np.ndarray, " problems"]) -> Bands:
    """Return what thresholds bring, the best or not; `worth` is NaN.

    Args:
        persistence: of the AR(1).
        buy, sell: `[problems]`, sell not above buy.
    """
    hints, law, step = _grid(persistence)
    buy, sell = np.asarray(buy, np.float64), np.asarray(sell, np.float64)
    return _in_the_long_run(hints, law, step, buy, sell, np.full((len(hints), len(buy)), np.nan))


def optimum(
    strength: float,
    persistence: float,
    cost: float,
    *,
    volatility: float = 0.01,
    price: float = 0.0,
    bars_per_year: float = YEAR_DAYS,
) -> Optimum:
    """Return the best rule of one asset of a planted market, and what is expected of it.

    Args:
        strength: E[return of bar t + 1 | hint_t] = strength · volatility · hint_t.
        persistence: of the hint from bar to bar.
        cost: per side, as a share of what is traded (0.001 is 10 basis points).
        volatility: of a bar.
        price: of capital, per bar and unit held, as a share.
        bars_per_year: bars in a year.

    Raises:
        ValueError: if a number is out of range, or nothing is promised (strength 0).
    """
    unit = strength * volatility
    if not unit > 0:
        raise ValueError(f"strength={strength} and volatility={volatility} must be above 0: nothing is promised.")
    bands = best_bands(persistence, np.array([cost / unit]), np.array([price / unit]))
    gain = bars_per_year * (unit * bands.gross[0] - cost * bands.trades[0])
    trades = bars_per_year * float(bands.trades[0])
    return Optimum(float(bands.buy[0]), float(bands.sell[0]), float(gain), trades, float(bands.held[0]))


@lru_cache(maxsize=8)
def _grid(persistence: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return hints `[points]`, their long-run shares, and shares of the next hints by row `[points, points]`."""
    innovation = np.sqrt(1 - persistence**2)
    step = min(_STEP, innovation / _LEAST_POINTS_PER_INNOVATION)
    half = int(np.ceil(_REACH / step))
    hints = np.arange(-half, half + 1) * step
    law = np.exp(-(hints**2) / 2)
    ways = np.exp(-(((hints - persistence * hints[:, None]) / innovation) ** 2) / 2)
    return hints, law / law.sum(), ways / ways.sum(axis=1, keepdims=True)


def _crossing(hints: np.ndarray, worth: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return `[problems]` the hint at which the worth, which rises, reaches a level; infinite where it never does."""
    out = np.empty(worth.shape[1])
    for i, column in enumerate(worth.T):
        if column[-1] <= level[i]:
            out[i] = np.inf
        elif column[0] >= level[i]:
            out[i] = -np.inf
        else:
            out[i] = np.interp(level[i], column, hints)
    return out


def _in_the_long_run(
    hints: np.ndarray,
    law: np.ndarray,
    step: np.ndarray,
    buy: np.ndarray,
    sell: np.ndarray,
    worth: np.ndarray,
) -> Bands:
    """Return what thresholds bring: an AR(1) looks the same backwards, so `step` also tells where a hint came from."""
    width = hints[1] - hints[0]
    # A threshold between two points takes its part of the cell that it lies in.
    buying = np.clip((hints[:, None] - buy) / width + 0.5, 0, 1)
    selling = np.clip((sell - hints[:, None]) / width + 0.5, 0, 1)
    keeping = np.maximum(1 - buying - selling, 0)
    held = buying.copy()
    for column in range(held.shape[1]):
        between = np.flatnonzero(keeping[:, column] > 0)
        kept = keeping[between, column]
        # What is held between the thresholds was held before: a linear system of the few hints there.
        inside = np.eye(len(between)) - kept[:, None] * step[np.ix_(between, between)]
        outside = held[:, column].copy()
        outside[between] = 0
        held[between, column] = np.linalg.solve(inside, buying[between, column] + kept * (step[between] @ outside))
    came = step @ held
    trades = law @ (buying * (1 - came) + selling * came)
    return Bands(buy, sell, law @ held, trades, (law * hints) @ held, hints, worth)
