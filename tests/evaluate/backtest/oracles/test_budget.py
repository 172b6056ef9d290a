"""The oracle of a synthetic market with an edge: its budget, what it makes, that nothing near it makes more."""

import dataclasses

import jax
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.evaluate.backtest.baselines import RULES, equal_weight, oracle, rules_for
from ploutos_jax.evaluate.backtest.oracles.bands import best_bands
from ploutos_jax.evaluate.backtest.oracles.budget import AIM, band_oracle, hold_in_budget, plan_budget
from ploutos_jax.evaluate.backtest.oracles.expected import expected_edge, expected_edge_of
from ploutos_jax.evaluate.backtest.oracles.promised import hints_of, promised_returns
from ploutos_jax.evaluate.backtest.run import baselines_by_rule
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.synthetic.generate import synthetic_panel

pytestmark = pytest.mark.thorough

NUM_ASSETS, NUM_BARS, NUM_PATHS, COST = 12, 1000, 32, 5e-4
PAYING = EnvConfig(
    spread_bps=0, tick_size=None, slippage_bps=0, fees="none", min_order_cash=0, commission_bps=5, stop_loss=None
)


def make(edge, num_paths=NUM_PATHS):
    panel = synthetic_panel(jax.random.key(7), NUM_ASSETS, NUM_BARS, num_paths=num_paths, edge=edge)
    return build_market(panel, ["signal_hint"])


@pytest.fixture(scope="module")
def market():
    return make(0.05)


@pytest.fixture(scope="module")
def budget(market):
    return plan_budget(market.labels.hint, COST)


def score_of(market, held, size):
    """Return what a year brings, `[P]`, by path: promised, paid; equity and prices stand still."""
    weights = np.where(held, size, 0.0).reshape(NUM_PATHS, NUM_BARS, -1)
    promised = promised_returns(market).reshape(weights.shape)
    traded = np.abs(np.diff(weights, axis=1, prepend=0)).sum(axis=2)
    return 252 * (weights * promised).sum(axis=2).mean(axis=1), 252 * COST * traded.mean(axis=1)


@pytest.fixture(scope="module")
def best(market, budget):
    held = hold_in_budget(budget, hints_of(market), market.labels.hint.path)
    return held, *score_of(market, held, budget.size)


def test_the_price_of_capital_balances_the_account(budget):
    assert budget.slots == 4 and budget.size == 0.25
    wanted = budget.size * budget.bands.held.reshape(NUM_PATHS, -1).sum(axis=1)
    np.testing.assert_allclose(wanted, AIM, atol=5e-3)
    assert (budget.price > 0).all() and (budget.buy > budget.sell).all()
    # Wilder assets promise more for what they cost: they are bought at smaller hints.
    order = np.argsort(budget.unit[0])
    assert (np.diff(budget.buy[0][order]) < 1e-9).all()
    alone = best_bands(0.97, budget.cost[3], budget.price[3] / budget.unit[3])
    np.testing.assert_allclose(alone.buy, budget.buy[3], atol=1e-5)


def test_where_equity_is_no_limit_it_has_no_price(market):
    law = market.labels.hint.columns([0])
    free = plan_budget(law, COST)
    assert free.slots == 1 and free.size == 1 and (free.price == 0).all()
    np.testing.assert_allclose(free.buy, -free.sell, atol=1e-6)
    capped = plan_budget(market.labels.hint, COST, cap=0.07)
    assert capped.slots == 15 and capped.size <= 0.07 and (capped.price == 0).all()


def test_the_account_is_never_overdrawn_and_seldom_idle(best, budget):
    held, gross, cost = best
    count = held.sum(axis=1)
    assert count.max() == budget.slots and count.mean() > 0.85 * budget.slots
    # Ten days and more for a position: what is wanted too much does not churn.
    starts = (np.diff(held.astype(int), axis=0) > 0).sum()
    assert held.sum() / starts > 10
    assert (gross - cost).mean() > 0.12


def test_nothing_near_the_oracle_makes_more(market, budget, best):
    """Dearer and cheaper capital, wider and narrower bands: what they make beyond the oracle on 32 paths is noise."""
    own = best[1] - best[2]
    hints, path = hints_of(market), market.labels.hint.path
    neighbours = {
        f"{name} {amount}": change(amount)
        for name, change, amounts in (
            ("bands times", lambda x: dataclasses.replace(budget, cost=budget.cost * x), (0.3, 0.6, 1.6, 3.0)),
            ("hints more by", lambda x: _shifted(budget, x), (-0.6, -0.3, 0.3, 0.6)),
        )
        for amount in amounts
    }
    for name, neighbour in neighbours.items():
        theirs = np.subtract(*score_of(market, hold_in_budget(neighbour, hints, path), budget.size))
        gain = theirs - own
        error = gain.std(ddof=1) / np.sqrt(NUM_PATHS)
        assert gain.mean() < 2 * error + 0.005 * own.mean(), name
    # Far away it is worse, and clearly.
    signs = score_of(market, hints > 1, budget.size)
    assert np.subtract(*signs).mean() < 0.95 * own.mean()


def _shifted(budget, amount):
    bands = dataclasses.replace(budget.bands, worth=budget.bands.worth - amount)
    return dataclasses.replace(budget, bands=bands)


def test_the_oracle_beats_equal_weights_in_expectation(market, best):
    held, gross, cost = best
    equal = np.full(held.shape, 1 / NUM_ASSETS)
    promised, _ = score_of(market, np.ones_like(held), 1 / NUM_ASSETS)
    error = promised.std(ddof=1) / np.sqrt(NUM_PATHS)
    assert abs(promised.mean()) < 3 * error < 0.01
    assert ((gross - cost) > promised).all(), "on every path"
    whole = expected_edge(equal, np.zeros(len(held)), market)
    assert whole.gross == pytest.approx(promised.mean(), rel=0.01, abs=1e-6) and whole.cost == 0


def test_rules_are_causal_and_know_their_market(market):
    one = market.window(0, NUM_BARS)
    assert list(rules_for(one)) == [*RULES, "oracle"]
    targets = rules_for(one, cost=COST)["oracle"](one, 0)
    np.testing.assert_array_equal(targets, band_oracle(one, cost=COST))
    changed = np.array(one.features)
    changed[501:] = -changed[501:]
    np.testing.assert_array_equal(band_oracle(one.replace(features=changed), cost=COST)[:501], targets[:501])
    # On the sixth path its own volatilities hold.
    sixth = market.window(5 * NUM_BARS, 6 * NUM_BARS)
    assert not np.array_equal(band_oracle(sixth, cost=COST), targets)
    late = market.window(0, 6 * NUM_BARS)
    np.testing.assert_array_equal(band_oracle(late, 5 * NUM_BARS, cost=COST), band_oracle(sixth, cost=COST))


def test_a_large_edge_is_realised():
    """The same market without the edge takes drift and luck off: what is left is what was promised."""
    edged, plain = make(1.0, 1), make(0.0, 1)
    ledger = baselines_by_rule(edged, PAYING, rules_for(edged, cost=COST))["oracle"]
    expected = expected_edge_of(ledger, edged)
    assert ledger.role == "oracle" and expected.gross > 2
    fills = ledger.fills
    shares = np.zeros(ledger.close.shape)
    signed = fills["shares"] * np.where(fills["side"] == "buy", 1, -1)
    columns = [ledger.symbols.index(ticker) for ticker in fills["ticker"]]
    np.add.at(shares, (fills["bar"].to_numpy(), columns), signed.to_numpy())
    held = np.cumsum(shares, axis=0)[1:]
    returns = {
        name: np.asarray(each.close, np.float64)[1:] / np.asarray(each.open, np.float64)[1:] - 1
        for name, each in (("edged", edged), ("plain", plain))
    }
    value = held * np.asarray(edged.open, np.float64)[1:] / ledger.equity[:-1, None]
    drift = (value * returns["plain"]).sum(axis=1)
    gained = (value * returns["edged"]).sum(axis=1) - drift
    error = 252 * gained.std() / np.sqrt(gained.size)
    assert 252 * gained.mean() == pytest.approx(expected.gross, abs=3 * error)
    # Drift, nights, and the realised whole add up.
    nights = ledger.gross_returns - (value * returns["edged"]).sum(axis=1)
    luck = 252 * (drift + nights).std() / np.sqrt(gained.size)
    assert 252 * ledger.returns.mean() - expected.net == pytest.approx(252 * (drift + nights).mean(), abs=3 * luck)
    assert 252 * ledger.returns.mean() == pytest.approx(expected.net, abs=4 * luck)


def test_an_edge_of_nothing_is_not_traded():
    silent = make(0.0, 1)
    assert np.isnan(oracle(silent, cost=COST)).all()
    ledger = baselines_by_rule(silent, PAYING, {"equal weight": equal_weight})["equal weight"]
    assert expected_edge_of(ledger, silent).gross == 0
    with pytest.raises(ValueError, match="tells nothing"):
        plan_budget(silent.labels.hint, COST)
    with pytest.raises(ValueError, match=r"cap=0 must lie in \(0, 1\]"):
        plan_budget(make(0.1, 1).labels.hint, COST, cap=0)
