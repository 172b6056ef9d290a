"""What a backtest books: fills, costs by kind and profits add up."""

import dataclasses

import numpy as np
import pytest

from ploutos_jax.evaluate.backtest.baselines import equal_weight
from ploutos_jax.evaluate.backtest.run import backtest, baselines, baselines_by_rule
from ploutos_jax.evaluate.ledger import FILL_COLUMNS
from ploutos_jax.evaluate.metrics.summary import summarize
from tests.evaluate.backtest.worlds import COSTLY, FREE, NUM_BARS, account_by_hand, make_agent


@pytest.mark.thorough
def test_fills_add_up_to_cash_and_equity(eventful):
    ledgers = baselines(eventful, COSTLY) | {"agent": backtest(make_agent(eventful, COSTLY), eventful, seed=1)}
    reasons = set()
    for name, ledger in ledgers.items():
        money, equity = account_by_hand(ledger, eventful)
        np.testing.assert_allclose(ledger.equity, equity, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(ledger.cash, money, rtol=1e-5, atol=1e-5 * ledger.initial_cash, err_msg=name)
        fills = ledger.fills
        paid = fills["fee"] + (fills["price"] - fills["reference_price"]).abs() * fills["shares"]
        by_bar = np.bincount(fills["bar"], paid, minlength=NUM_BARS)
        np.testing.assert_allclose(ledger.cost, by_bar, rtol=1e-4, atol=1e-2, err_msg=name)
        traded = np.bincount(fills["bar"], fills["price"] * fills["shares"], minlength=NUM_BARS)
        np.testing.assert_allclose(ledger.turnover[1:], traded[1:] / ledger.equity[:-1], rtol=1e-4, atol=1e-7)
        assert (ledger.cash >= 0).all() and (ledger.equity > 0).all()
        closed = ledger.trades["exit_reason"] != "open"
        assert set(ledger.trades.loc[closed, "exit_reason"]) <= {"order", "stop", "target", "delisted"}
        reasons |= set(fills["reason"])
    assert reasons == {"order", "stop", "target", "delisted"}


PRICED = dataclasses.replace(
    COSTLY,
    spread_bps=20,
    tick_size=0.05,
    slippage_atr=0.03,
    impact=0.8,
    fees="alpaca@2024-05-22",
    commission_per_order=0.3,
    commission_min=1.0,
    cash_rate=0.02,
)


@pytest.fixture(scope="module", params=["fill", "day"])
def priced(request, eventful):
    config = dataclasses.replace(PRICED, fee_rounding=request.param)
    return request.param, backtest(make_agent(eventful, config), eventful, seed=1)


@pytest.mark.thorough
def test_costs_by_kind_are_what_the_rules_say(eventful, priced):
    """Each part of every fill from the numbers of the configuration, in float64."""
    rounding, ledger = priced
    fills = ledger.fills[ledger.fills["reason"] != "delisted"]
    row, asset = fills["bar"].to_numpy(), fills["ticker"].map(eventful.symbols.index).to_numpy()
    reference, shares, price = (fills[n].to_numpy() for n in ("reference_price", "shares", "price"))
    at_limit = (fills["reason"] == "target").to_numpy()
    atr, volatility, adv = (np.asarray(getattr(eventful, n), np.float64) for n in ("atr", "volatility", "adv"))
    seen = (row - 1, asset)  # known at the close before
    fraction = {
        "spread": np.maximum(10e-4, np.where(reference >= 1, 0.05, 0.0005) / (2 * reference)),
        "slippage": 3e-4 + 0.03 * atr[seen],
        "impact": 0.8
        * volatility[seen]
        * np.where(
            (part := np.where(adv[seen] > 0, shares * reference / adv[seen], 0)) >= 1e-3,
            np.sqrt(part),
            part / np.sqrt(1e-3),
        ),
    }
    for name, away in fraction.items():
        expected = np.where(at_limit, 0.0, away * reference * shares)
        np.testing.assert_allclose(fills[name], expected, rtol=2e-3, atol=1e-3, err_msg=name)
    assert at_limit.any() and (fills.loc[at_limit, ["spread", "slippage", "impact"]] == 0).all(axis=None)
    sold = (fills["side"] == "sell").to_numpy()
    commission = np.maximum(2e-4 * shares * price + 0.005 * shares + 0.3, 1.0)
    fees = {"fee_sec": 27.80e-6 * shares * price * sold, "fee_taf": np.minimum(0.000166 * shares, 8.30) * sold}
    for name, charged in {"commission": commission, **fees}.items():
        if rounding == "fill" and name != "commission":
            charged = np.ceil(charged * 100 - 1e-6) / 100
        np.testing.assert_allclose(fills[name], charged, rtol=1e-4, atol=1e-4, err_msg=name)
    assert (ledger.fee_rounding.sum() > 0) == (rounding == "day")
    assert ledger.interest.sum() > 0


def test_costs_by_kind_add_up_to_what_was_paid(priced):
    _, ledger = priced
    kinds, fills = ledger.costs_by_kind, ledger.fills
    away = (fills["price"] - fills["reference_price"]).abs() * fills["shares"]
    np.testing.assert_allclose(fills[["spread", "slippage", "impact"]].sum(axis=1), away, rtol=1e-12, atol=1e-12)
    charged = fills[["commission", "fee_sec", "fee_taf", "fee_cat"]].sum(axis=1)
    np.testing.assert_allclose(charged, fills["fee"], rtol=1e-12, atol=1e-12)
    assert sum(kinds.values()) == pytest.approx(ledger.cost.sum(), rel=1e-4)
    figures = summarize(ledger)
    assert {f"cost_{kind}" for kind in kinds} <= set(figures)
    assert sum(figures[f"cost_{kind}"] for kind in kinds) == pytest.approx(figures["total_cost"], rel=1e-4)


def test_a_ledger_that_knows_no_parts_tells_prices_from_fees(market):
    ledger = baselines_by_rule(market, COSTLY, {"x": equal_weight})["x"]
    plain = dataclasses.replace(ledger, fills=ledger.fills[list(FILL_COLUMNS)], fee_rounding=None)
    assert set(plain.costs_by_kind) == {"price", "fee"}
    assert sum(plain.costs_by_kind.values()) == pytest.approx(sum(ledger.costs_by_kind.values()), rel=1e-9)


def test_gross_returns_are_those_of_the_same_trades_at_no_cost(market):
    ledger = baselines_by_rule(market, COSTLY, {"equal weight": equal_weight})["equal weight"]
    gross = np.prod(1 + ledger.gross_returns) - 1
    assert gross == pytest.approx(summarize(ledger)["gross_return"], rel=1e-12)
    free = baselines_by_rule(market, FREE, {"equal weight": equal_weight})["equal weight"]
    assert gross == pytest.approx(free.equity[-1] / free.equity[0] - 1, abs=1e-3)


@pytest.mark.thorough
def test_profits_of_trades_add_up(market):
    """Without dividends and splits, what the trades earned is what the account gained."""
    for ledger in baselines(market, COSTLY).values():
        assert ledger.trades["pnl"].sum() == pytest.approx(ledger.equity[-1] - ledger.initial_cash, abs=1.0)
        assert ledger.trades["cost"].sum() == pytest.approx(ledger.cost.sum(), rel=1e-3, abs=0.1)
