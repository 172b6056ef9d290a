"""Small accounts for the tests of reports."""

import numpy as np
import pandas as pd

from ploutos_jax.evaluate.ledger import FILL_COLUMNS, Ledger
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.evaluate.report.evidence import evidence_of
from ploutos_jax.evaluate.report.page import build_page
from ploutos_jax.evaluate.report.verdict import judge

SYMBOLS = ("AAA", "BRK.B", "BTC/USD")
SECTORS = ("Energy", "Financials", "Energy")


def make_ledger(name, seed=0, num_bars=60, trade_every=6, start="2017-01-30", **facts):
    """A small account, with further fields of a ledger, that buys and sells the three symbols in turn at the close."""
    rng = np.random.default_rng(seed)
    times = np.busday_offset(np.datetime64(start), np.arange(num_bars + 1), roll="forward")
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (num_bars + 1, 3)), axis=0))
    cash, shares, rows = 10_000.0, np.zeros(3), []
    accounts = [(10_000.0, 10_000.0, 0.0, 0.0, 0.0)]
    for bar in range(1, num_bars + 1):
        traded = cost = 0.0
        if trade_every and bar % trade_every == 0:
            asset = (bar // trade_every // 2) % 3 if bar % (5 * trade_every) else 0
            change = -shares[asset] if shares[asset] else 20.0
            price = close[bar, asset] * (1 + 0.001 * np.sign(change))
            reason = "order" if change > 0 else ("stop", "target", "order")[bar % 3]
            side = "buy" if change > 0 else "sell"
            rows.append((bar, times[bar], SYMBOLS[asset], side, abs(change), price, close[bar, asset], 1.0, reason))
            cash -= change * price + 1.0
            traded, cost = abs(change) * price, abs(change) * close[bar, asset] * 0.001 + 1.0
            shares[asset] += change
        equity = cash + shares @ close[bar]
        accounts.append((equity, cash, shares @ close[bar], traded / accounts[-1][0], cost))
    fills = pd.DataFrame(rows, columns=list(FILL_COLUMNS))
    return Ledger(name, times, *np.array(accounts).T, 10_000.0, fills, SYMBOLS, close, **facts)


def page_of(ledger, facts=None, **others):
    """The page of a strategy beside others, by name."""
    ledgers = {ledger.name: ledger, **others}
    figures = {name: summarize(one) for name, one in ledgers.items()}
    evidence = evidence_of(ledgers, figures)
    roles = {name: one.role for name, one in ledgers.items()}
    verdict = judge(ledger.name, figures, evidence, roles=roles, provenance=ledger.provenance)
    return build_page(ledgers, figures, evidence, verdict=verdict, title="t", facts=facts or {})


def account_of(equity, start="2020-01-01", name="x", cost=None):
    """An account that only has a value by day, and costs if given."""
    values, zero = np.asarray(equity, float), np.zeros(len(equity))
    times = np.busday_offset(np.datetime64(start), np.arange(len(equity)), roll="forward")
    fills = pd.DataFrame(columns=list(FILL_COLUMNS))
    return Ledger(name, times, values, values, zero, zero, zero if cost is None else np.asarray(cost), 100.0, fills)
