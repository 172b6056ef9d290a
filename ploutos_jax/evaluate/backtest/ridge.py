"""The rule that an agent has to beat before it has learnt anything: a ridge regression on the agent's own features.

Fitted once on the bars before the span, see `ploutos_jax/market/experts/ridge_fit.py`, and traded with a band: what it
holds it keeps until it is clearly worse than what it could hold.
"""

import numpy as np
from jaxtyping import Float

from ploutos_jax.evaluate.backtest.history import PART_HELD, live_assets, may_buy, session_numbers
from ploutos_jax.market.experts.ridge_fit import HORIZONS, RidgeFit, fit_ridge
from ploutos_jax.market.features.compute import MASKS
from ploutos_jax.market.panel import Market

PART_KEPT = 1 / 2
"""Share of the assets, best first, in which one that is held may be without being sold."""


def ridge(market: Market, first: int = 0) -> Float[np.ndarray, "bars A"]:
    """Return targets that hold the third of the assets that a ridge regression on the market's features ranks highest.

    Fitted on labels that have ended at the close of `first` or before; see `hold_best` for how it trades. Cash with
    less than a year of bars before the span, with no feature but the masks, and where assets cannot be told apart,
    such as where there is one.
    """
    fit = fit_before(market, first)
    if fit is None:
        return np.zeros((market.num_bars - first, market.num_assets))
    return hold_best(market, first, fit.predict(market.features[first:]))


def fit_before(market: Market, first: int) -> RidgeFit | None:
    """Return the regression that `ridge` follows from row `first` on; None where it holds cash.

    Horizons are a day, a week and a month of sessions where a session holds several bars, as the rule decides once a
    session; bars where bars are days or longer.
    """
    if first < round(market.calendar.bars_per_year) or not has_features(market):
        return None
    bars = market.calendar.bars_per_session or 1.0
    return fit_ridge(market, first, [max(1, round(k * bars)) for k in HORIZONS])


def has_features(market: Market) -> bool:
    """Return whether a market has a feature that is no mask."""
    return bool(set(market.feature_names) - set(MASKS))


def hold_best(
    market: Market, first: int, score: Float[np.ndarray, "bars A"], kept: float = PART_KEPT
) -> Float[np.ndarray, "bars A"]:
    """Return targets that hold the best third by a score, in equal parts, without exchanging more than they have to.

    Decided at the first bar of every session. Of n = a third of the assets that trade and may be bought, those that
    have a place among the best `kept` of them stay as they are, drifted weights included; what falls out of these is
    sold, and its place goes to the best that is not held, at 1/n. Cash that a sale leaves over waits for a later
    purchase. An asset that leaves the universe is sold at its next bar; one without a bar is neither bought nor sold,
    and ranked by the score of its last bar.

    Args:
        market, first: as in the rules of `baselines.py`.
        score: of the rows from `first` on, known at close t; read where an asset trades.
        kept: share of the assets; `PART_HELD` trades without a band.
    """
    tradable = np.asarray(market.tradable)[first:]
    session = session_numbers(market)[first:]
    starts = np.diff(session, prepend=session[0] - 1) != 0
    targets = np.full(tradable.shape, np.nan)
    held, last = np.zeros(market.num_assets, bool), np.full(market.num_assets, -np.inf)
    for row in range(len(tradable)):
        last = np.where(tradable[row], score[row], last)
        if market.delisted is not None:
            held = held & ~np.asarray(market.delisted)[first + row]
        if not starts[row]:
            continue
        live = live_assets(market, first + row)
        ranked = live & may_buy(market, first + row) & np.isfinite(last)
        number, most = (int(np.ceil(ranked.sum() * part)) for part in (PART_HELD, kept))
        place = np.empty(len(last), np.int64)
        place[np.argsort(np.where(ranked, -last, np.inf), kind="stable")] = np.arange(len(last))
        sold = held & tradable[row] & ~(ranked & (place < max(most, number)))
        held = held & ~sold
        free = max(number - int((held & live).sum()), 0)
        able = np.flatnonzero(ranked & ~held & tradable[row] & (place < number))
        bought = able[np.argsort(place[able])][:free]
        held[bought] = True
        targets[row, sold], targets[row, bought] = 0.0, 1 / max(number, 1)
    targets[0, np.isnan(targets[0]) & tradable[0]] = 0.0
    return targets
