"""What a result rests on, against sums worked out another way."""

import dataclasses
import math

import numpy as np
import pytest

from ploutos_jax.evaluate.metrics.robustness import (
    MOST_COST,
    annual_return_at_cost,
    break_even_cost,
    growth_at_cost,
    robustness,
)
from ploutos_jax.evaluate.metrics.summary import annual_return, gross_return, total_return
from tests.evaluate.accounts import account_of, make_ledger

MULTIPLES = np.array([0.0, 1.0, 2.5])


def test_growth_at_cost_runs_from_gross_to_net_and_beyond():
    ledger = make_ledger("agent", num_bars=200)
    free, charged, more = growth_at_cost(ledger, MULTIPLES)
    assert math.expm1(free) == pytest.approx(gross_return(ledger.returns, ledger.cost, ledger.equity), rel=1e-10)
    assert math.expm1(charged) == pytest.approx(total_return(ledger.returns), rel=1e-10)
    wealth = 1.0
    for t in range(1, 201):
        wealth *= 1 + ledger.returns[t - 1] - 1.5 * ledger.cost[t] / ledger.equity[t - 1]
    assert math.expm1(more) == pytest.approx(wealth - 1, rel=1e-10)
    assert annual_return_at_cost(ledger, MULTIPLES)[1] == pytest.approx(annual_return(ledger.returns), rel=1e-10)


def test_level_cost_is_where_the_two_are_level():
    # 1 dollar a day of cost in an account that gains about 2: level with cash at three times the cost.
    account = account_of(100.0 + 2.0 * np.arange(6), cost=[0, 1, 1, 1, 1, 1])
    level = break_even_cost(account)
    assert level is not None
    assert growth_at_cost(account, np.array([level]))[0] == pytest.approx(0, abs=1e-4)
    assert level == pytest.approx(3.0, abs=0.2)
    rival = account_of(100.0 + 1.0 * np.arange(6), cost=[0, 0.1, 0, 0, 0, 0])
    level = break_even_cost(account, rival)
    assert level is not None and 1 < level < 3
    np.testing.assert_allclose(*(growth_at_cost(one, np.array([level])) for one in (account, rival)), atol=1e-4)


def test_level_cost_is_none_behind_and_far_ahead():
    rising, falling = account_of([100, 110, 120.0]), account_of([100, 90, 95.0])
    assert break_even_cost(falling) is None and break_even_cost(falling, rising) is None
    assert break_even_cost(rising) is None, "costs nothing, so no multiple takes the gain"
    # A cost that wipes the account out at some multiple ends the lead there.
    dear = account_of([100, 130, 131.0], cost=[0, 60, 0.0])
    assert 1.5 < (break_even_cost(dear) or 0) < 3
    assert growth_at_cost(dear, np.array([MOST_COST]))[0] == -math.inf


def test_fragility_of_an_account_worked_out_by_hand():
    ledger = make_ledger("agent", num_bars=200)
    found = robustness(ledger)
    returns = sorted(ledger.returns)
    rest = np.prod([1 + r for r in returns[:-5]]) - 1
    assert found["total_return_without_best_days"] == pytest.approx(rest)
    pnl = ledger.trades["pnl"]
    assert found["top_ticker"] == pnl.groupby(ledger.trades["ticker"]).sum().idxmax()
    if pnl.sum() > 0:
        assert found["top_trades_pnl_share"] == pytest.approx(pnl.nlargest(5).sum() / pnl.sum())
    assert 1 <= found["effective_positions"] <= 3
    shares = 20.0 * np.asarray(ledger.close).max() / ledger.equity.min()
    assert 0.1 < found["largest_weight"] < shares


def test_an_account_without_trades_rests_on_nothing():
    found = robustness(dataclasses.replace(account_of([100, 101, 99.0])))
    assert (found["top_ticker"], found["top_trades_pnl_share"], found["effective_positions"]) == (None, None, 0.0)
    assert found["largest_weight"] == 0.0
