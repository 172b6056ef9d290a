"""What the account risked, bar by bar: leverage, holdings by sector, concentration, drawdown episodes.

Pure NumPy and pandas functions of a ledger or its returns. A value in row t uses rows up to t only: known at close t.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.metrics.summary import ROUNDING, drawdown_spells
from ploutos_jax.evaluate.round_trips import FLAT_TOLERANCE
from ploutos_jax.market.calendar import Calendar

WINDOWS = (1.0, 1 / 2, 1 / 4, 1 / 12)
"""Windows of rolling figures in years, of which a report takes the longest that fits twice into the span."""

EPISODE_COLUMNS = ("peak", "trough", "recovered", "depth", "bars_down", "bars")


def fitting_window(num_returns: int, calendar: Calendar) -> int | None:
    """Return the longest of `WINDOWS`, in sessions, that fits twice into as many returns; None where none does.

    A window holds at least 4 returns: a deviation of fewer says nothing.
    """
    windows = (calendar.sessions_in(share) for share in WINDOWS)
    return next((window for window in windows if window >= 4 and num_returns >= 2 * window), None)


def leverage(ledger: Ledger) -> Float[np.ndarray, " rows"]:
    """Return `[N+1]` gross exposure over equity at the close; 0 once the equity is gone."""
    alive = ledger.equity > 0
    return np.where(alive, ledger.gross_exposure / np.where(alive, ledger.equity, 1.0), 0.0)


def positions(ledger: Ledger) -> Float[np.ndarray, "rows A"]:
    """Return `[N+1, A]` signed shares held after the close of each bar, from the fills, in shares of that bar.

    What is left of a position by rounding (see `FLAT_TOLERANCE`) counts as nothing.
    """
    held = np.zeros((ledger.times.size, len(ledger.symbols)))
    if ledger.fills.empty:
        return held
    bar = ledger.fills["bar"].to_numpy(np.int64)
    asset = pd.Index(ledger.symbols).get_indexer(pd.Index(ledger.fills["ticker"]))
    shares = ledger.fills["shares"].to_numpy(np.float64)
    factor = 1.0 if ledger.split_factor is None else ledger.split_factor[bar, asset]
    traded = np.zeros_like(held)
    np.add.at(held, (bar, asset), np.where(ledger.fills["side"] == "buy", shares, -shares) / factor)
    np.add.at(traded, (bar, asset), shares / factor)
    np.cumsum(held, axis=0, out=held)
    np.cumsum(traded, axis=0, out=traded)
    held[np.abs(held) <= FLAT_TOLERANCE * traded] = 0.0
    return held if ledger.split_factor is None else held * ledger.split_factor


def weights(ledger: Ledger) -> Float[np.ndarray, "rows A"]:
    """Return `[N+1, A]` value of each position at the close over the equity; 0 once the equity is gone."""
    if ledger.fills.empty:
        return np.zeros((ledger.times.size, len(ledger.symbols)))
    close = np.where(np.asarray(ledger.close, np.float64) > 0, ledger.close, np.nan)
    last_known = np.nan_to_num(pd.DataFrame(close).ffill().to_numpy())
    alive = ledger.equity > 0
    return np.where(alive[:, None], positions(ledger) * last_known / np.where(alive, ledger.equity, 1.0)[:, None], 0.0)


def exposure_by_sector(
    weight: Float[np.ndarray, "rows A"], sectors: tuple[str, ...]
) -> dict[str, Float[np.ndarray, " rows"]]:
    """Return `[N+1]` gross exposure over equity by sector, the largest on average first.

    Args:
        weight: `[N+1, A]` as from `weights`.
        sectors: A names.
    """
    names = np.array(sectors, object)
    gross = np.abs(weight)
    by_name = {str(name): gross[:, names == name].sum(axis=1) for name in dict.fromkeys(names)}
    return dict(sorted(by_name.items(), key=lambda item: -float(item[1].mean())))


def largest_weight(weight: Float[np.ndarray, "rows A"]) -> Float[np.ndarray, " rows"]:
    """Return `[N+1]` the largest position of each bar over the equity, without sign."""
    return np.abs(weight).max(axis=1, initial=0.0)


def effective_positions(weight: Float[np.ndarray, "rows A"]) -> Float[np.ndarray, " rows"]:
    """Return `[N+1]` number of equal positions that would be as concentrated, `(Σ|w|)² / Σw²`; 0 in cash."""
    gross = np.abs(weight)
    largest = gross.max(axis=1, keepdims=True, initial=0.0)
    gross = gross / np.where(largest > 0, largest, 1.0)  # squares of tiny weights would be rounded to nothing
    squares = (gross**2).sum(axis=1)
    return np.where(squares > 0, gross.sum(axis=1) ** 2 / np.where(squares > 0, squares, 1.0), 0.0)


def drawdown_episodes(times: Shaped[np.ndarray, " rows"], equity: Float[np.ndarray, " rows"]) -> pd.DataFrame:
    """Return every drawdown from its peak to its recovery, the deepest first.

    Columns are `EPISODE_COLUMNS`: `peak`, `trough` and `recovered` are dates (`recovered` is missing while the account
    is below the peak), `depth` a fraction below 0, `bars_down` the bars from peak to trough, `bars` those from peak to
    recovery or to the end.

    Args:
        times: `[N+1]` dates.
        equity: `[N+1]` dollars.
    """
    peaks, ends = drawdown_spells(equity)
    troughs = np.array([a + np.argmin(equity[a : b + 1]) for a, b in zip(peaks, ends, strict=True)], np.int64)
    recovered = equity[ends] >= equity[peaks] * (1.0 - ROUNDING)
    table = pd.DataFrame(
        {
            "peak": times[peaks],
            "trough": times[troughs],
            "recovered": np.where(recovered, times[ends], np.datetime64("NaT", "ns")),
            "depth": equity[troughs] / equity[peaks] - 1.0,
            "bars_down": troughs - peaks,
            "bars": ends - peaks,
        },
        columns=list(EPISODE_COLUMNS),
    )
    return table.sort_values("depth", kind="stable", ignore_index=True)


def contributions(ledger: Ledger) -> dict[str, float]:
    """Return the profit of all trades by ticker, net of costs, the largest first, in dollars."""
    by_ticker = ledger.trades.groupby("ticker")["pnl"].agg("sum").to_dict()
    return dict(sorted(by_ticker.items(), key=lambda item: -item[1]))
