"""A report of 505 tickers over five years is written in seconds, and its page stays small."""

import time

import numpy as np
import pandas as pd
import pytest

from ploutos_jax.evaluate.ledger import FILL_COLUMNS, Ledger
from ploutos_jax.evaluate.report.write import write_report

NUM_ASSETS, NUM_BARS = 505, 1258
SECONDS, BYTES = 10, 10_000_000


def busy_ledger(name, seed):
    """An account that enters and leaves each ticker at random, by one share, every other bar on average."""
    rng = np.random.default_rng(seed)
    symbols = tuple(f"T{i:03}" for i in range(NUM_ASSETS))
    times = np.busday_offset(np.datetime64("2013-02-08"), np.arange(NUM_BARS + 1), roll="forward")
    close = 50 * np.exp(np.cumsum(rng.normal(2e-4, 0.015, (NUM_BARS + 1, NUM_ASSETS)), axis=0))
    held = rng.integers(0, 2, close.shape)
    held[0] = 0
    change = np.diff(held, axis=0)
    bar, asset = np.nonzero(change)
    buys = change[bar, asset] > 0
    bar = bar + 1
    price = close[bar, asset] * np.where(buys, 1.0002, 0.9998)
    columns = {
        "bar": bar,
        "date": times[bar],
        "ticker": np.array(symbols, object)[asset],
        "side": np.where(buys, "buy", "sell"),
        "shares": 1.0,
        "price": price,
        "reference_price": close[bar, asset],
        "fee": 0.001,
        "reason": "order",
    }
    flow = np.bincount(bar, np.where(buys, -price, price) - 0.001, NUM_BARS + 1)
    cash = 100_000 + np.cumsum(flow)
    gross = (held * close).sum(axis=1)
    cost = np.bincount(bar, np.abs(price - close[bar, asset]) + 0.001, NUM_BARS + 1)
    traded = np.bincount(bar, price, NUM_BARS + 1) / (cash + gross)
    fills = pd.DataFrame({column: columns[column] for column in FILL_COLUMNS})
    candles = {"open": close, "high": 1.01 * close, "low": 0.99 * close}
    return Ledger(name, times, cash + gross, cash, gross, traded, cost, 100_000.0, fills, symbols, close, **candles)


@pytest.mark.slow
def test_five_years_of_505_tickers(tmp_path):
    ledger = busy_ledger("agent", 0)
    assert len(ledger.fills) > 300_000
    baselines = {"first": busy_ledger("first", 1), "second": busy_ledger("second", 2)}
    sectors = tuple(f"sector {i % 11}" for i in range(NUM_ASSETS))
    # Seconds of this process, so that others on the machine do not count.
    before = time.process_time()
    content = write_report(tmp_path / "report", ledger, baselines, sectors=sectors)
    assert time.process_time() - before < SECONDS
    assert content["num_trades"] > 150_000
    assert (tmp_path / "report" / "report.html").stat().st_size < BYTES
    assert len(pd.read_parquet(tmp_path / "report" / "trades.parquet")) == len(ledger.trades)
