"""Rules of baselines in calendar time, over assets of different calendars, and from sessions that are over alone."""

import numpy as np
import pandas as pd
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.evaluate.backtest.baselines import RULES, buy_and_hold, equal_weight
from ploutos_jax.evaluate.backtest.run import baselines_by_rule
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.panel import Market

FREE = EnvConfig(
    spread_bps=0, slippage_bps=0, tick_size=None, fees="none", stop_loss=None, take_profit=None, max_position_pct=1.0
)


def market_of(folder, **closes: pd.Series) -> Market:
    """Return the market of some tickers, each bar opening at the close before it."""
    rows = []
    for ticker, close in closes.items():
        opens = close.shift().fillna(close)
        rows.append(
            pd.DataFrame(
                {
                    "date": close.index.strftime("%Y-%m-%d %H:%M:%S"),
                    "ticker": ticker,
                    "open": opens,
                    "high": np.maximum(opens, close),
                    "low": np.minimum(opens, close),
                    "close": close,
                    "volume": 1e6,
                }
            )
        )
    pd.concat(rows).to_csv(folder / "bars.csv", index=False)
    return build_market(load_panel(folder / "bars.csv"), "minimal")


def walk(index: pd.DatetimeIndex, seed: int, sigma: float = 0.01) -> pd.Series:
    moves = np.random.default_rng(seed).normal(0.0003, sigma, len(index))
    return pd.Series(100 * np.exp(np.cumsum(moves)), index=index)


def hours_of(first: str, days: int, bars: int, minutes: int) -> pd.DatetimeIndex:
    each = [
        pd.date_range(f"{d:%Y-%m-%d} 14:30", periods=bars, freq=f"{minutes}min")
        for d in pd.bdate_range(first, periods=days)
    ]
    return pd.DatetimeIndex(np.concatenate(each))


@pytest.mark.parametrize(
    ("index", "rebalancings"),
    [
        (hours_of("2024-01-02", 65, 13, 30), 4),  # 65 sessions, one in 21
        (pd.date_range("2022-01-01", "2022-04-30 20:00", freq="4h"), 4),  # 120 days, one in 30
        (pd.date_range("2020-01-01", "2020-12-31", freq="W-WED"), 14),  # 53 weeks, one in 4
        (pd.date_range("2010-01-01", "2012-12-31", freq="BME"), 35),  # every month but the first
    ],
)
def test_a_month_is_a_month_whatever_the_bars(tmp_path, index, rebalancings: int):
    market = market_of(tmp_path, AAA=walk(index, 1), BBB=walk(index, 2))
    targets = equal_weight(market)
    rows = np.flatnonzero(~np.isnan(targets).all(axis=1))
    assert abs(len(rows) - rebalancings) <= 1
    assert (np.diff(np.asarray(market.sessions)[rows]) >= 26).all()


@pytest.mark.parametrize("start", ["2023-03-03", "2023-03-04", "2023-03-05"])  # Friday to Sunday
def test_a_stock_beside_a_coin_is_bought_and_held(tmp_path, start: str):
    week, every = pd.bdate_range("2023-01-02", "2023-06-30"), pd.date_range("2023-01-01", "2023-06-30")
    rising = pd.Series(100 * 1.002 ** np.arange(1, len(week) + 1), index=week)
    market = market_of(tmp_path, SPY=rising, COIN=pd.Series(50.0, index=every))
    ledgers = baselines_by_rule(market, FREE, {"hold": buy_and_hold, "equal": equal_weight}, start)
    for ledger in ledgers.values():
        bought = ledger.fills[(ledger.fills["ticker"] == "SPY") & (ledger.fills["side"] == "buy")]
        assert str(bought["date"].iloc[0])[:10] in ("2023-03-06", "2023-03-07")
    gain = rising.iloc[-1] / rising["2023-03-07":].iloc[0] - 1
    assert ledgers["hold"].equity[-1] == pytest.approx(100_000 * (1 + gain / 2), rel=0.003)


def test_an_asset_that_begins_a_minute_late_is_held_too(tmp_path):
    minutes = pd.date_range("2024-01-03 14:30", periods=200, freq="min")
    late, gap = pd.Series(100.0, index=minutes[1:]), pd.Series(100.0, index=minutes.delete([1, 2, 7]))
    ledger = baselines_by_rule(market_of(tmp_path, AAA=late, BBB=gap), FREE, {"hold": buy_and_hold})["hold"]
    assert ledger.fills.groupby("ticker")["side"].count().to_dict() == {"AAA": 1, "BBB": 1}


@pytest.mark.thorough
@pytest.mark.parametrize("counts", [[26] * 8 + [13] * 4, [13] * 6 + [26] * 6])
def test_no_rule_reads_a_session_that_is_not_over(tmp_path, counts: list[int]):
    """Cut in the middle of a later session, and prices changed in the rest of the one decided in: nothing moves."""
    days = pd.bdate_range("2026-01-05", periods=len(counts))
    index = pd.DatetimeIndex(
        np.concatenate(
            [pd.date_range(f"{d:%Y-%m-%d} 14:30", periods=n, freq="15min") for d, n in zip(days, counts, strict=True)]
        )
    )
    closes = {name: walk(index, seed, 0.003) for seed, name in enumerate(("AAA", "BBB", "CCC"))}
    whole, first = market_of(tmp_path, **closes), 40
    keep = int(np.flatnonzero(index.normalize() == days[9])[4])
    part = market_of(tmp_path, **{name: close[: keep + 1] for name, close in closes.items()})
    for name, rule in RULES.items():
        full, cut = rule(whole, first)[: keep + 1 - first], rule(part, first)
        # What waits for its own bar may move within the row; nothing decided differs.
        np.testing.assert_array_equal(full, cut, err_msg=name)
