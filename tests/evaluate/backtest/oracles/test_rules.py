"""Oracles of planted markets: what they hold, that they see nothing later, and that they make what theory says."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.evaluate.backtest.baselines import RULES, oracle, rules_for
from ploutos_jax.evaluate.backtest.oracles.bands import optimum
from ploutos_jax.evaluate.backtest.oracles.costs import side_cost
from ploutos_jax.evaluate.backtest.oracles.expected import expected_edge, expected_edge_of
from ploutos_jax.evaluate.backtest.oracles.promised import (
    _log_density,
    expected_returns,
    hints_of,
    promised_returns,
    regime_chances,
)
from ploutos_jax.evaluate.backtest.oracles.rules import filter_oracle, hold_between, state_oracle
from ploutos_jax.evaluate.backtest.run import baselines, baselines_by_rule
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.synthetic.planted import HintedDraw, Lag, Persistent, Regimes, hinted_panel

NUM_ASSETS, NUM_BARS, BPS = 20, 2500, 10
FREE = EnvConfig(spread_bps=0, tick_size=None, slippage_bps=0, fees="none", min_order_cash=0)
PAYING = EnvConfig(
    spread_bps=0, tick_size=None, slippage_bps=0, fees="none", min_order_cash=0, commission_bps=BPS, stop_loss=None
)
RECIPES = {
    "persistent": Persistent(NUM_ASSETS, 0.1, 0.9),
    "lag": Lag(NUM_ASSETS, 0.3),
    "a": Regimes(NUM_ASSETS, 0.3, "a"),
    "b": Regimes(NUM_ASSETS, 0.3, "b"),
}


@pytest.fixture(scope="module")
def markets():
    return {
        name: build_market(hinted_panel(jax.random.key(2), recipe, NUM_BARS), ()) for name, recipe in RECIPES.items()
    }


def weights_of(targets):
    """Return what is held where targets are followed and prices stand still."""
    weights, now = np.zeros(targets.shape), np.zeros(targets.shape[1])
    for row, target in enumerate(targets):
        now = np.where(np.isnan(target), now, target)
        weights[row] = now
    return weights


def score(market, targets, cost):
    weights = weights_of(targets)
    traded = np.abs(np.diff(weights, axis=0, prepend=0)).sum(axis=1)
    return expected_edge(weights, cost * traded, market)


@pytest.mark.thorough
@pytest.mark.parametrize("name", RECIPES)
def test_every_market_with_a_hint_has_its_oracle(markets, name):
    market = markets[name]
    assert list(rules_for(market)) == [*RULES, "oracle"]
    for cost in (0.0, 1e-3):
        targets = rules_for(market, cost=cost)["oracle"](market, 0)
        assert targets.shape == market.close.shape
        assert set(np.unique(targets[~np.isnan(targets)])) == {0.0, 1 / NUM_ASSETS}
        np.testing.assert_array_equal(targets, oracle(market, cost=cost))
    # Begun later it starts from nothing and from then on holds the same.
    late = weights_of(oracle(market, 300))
    np.testing.assert_array_equal(late[200:], weights_of(oracle(market))[500:])


@pytest.mark.parametrize("name", RECIPES)
def test_oracles_see_nothing_later(markets, name):
    market = markets[name]
    row = 1200
    features, close = np.array(market.features), np.array(market.close)
    features[row + 1 :] = -features[row + 1 :]
    close[row + 1 :] *= np.exp(np.random.default_rng(0).normal(0, 0.05, close[row + 1 :].shape))
    changed = market.replace(features=features, close=close)
    for rule in (lambda m: oracle(m, cost=5e-4), oracle, expected_returns):
        before, after = rule(market), rule(changed)
        np.testing.assert_array_equal(before[: row + 1], after[: row + 1])
        assert not np.array_equal(before[row + 1 :], after[row + 1 :])


@pytest.mark.parametrize("bps", [0, 10])
def test_the_persistent_oracle_makes_the_optimum(markets, bps):
    market = markets["persistent"]
    found = score(market, oracle(market, cost=bps * 1e-4), bps * 1e-4)
    best = optimum(0.1, 0.9, bps * 1e-4)
    # Gains of 20 assets over ten years, hints that last ten days: about 1 % of luck in the hints themselves.
    assert found.net == pytest.approx(best.gain, rel=0.06)
    assert score(market, oracle(market), bps * 1e-4).net <= found.net * (1 if bps else 1.0001)


@pytest.mark.thorough
def test_ledgers_realise_what_is_expected(markets):
    """What the account gains beyond what it was promised is luck, of the size that its volatility allows."""
    market = markets["persistent"]
    ledgers = baselines(market, PAYING)
    assert ledgers["oracle"].role == "oracle" and ledgers["equal weight"].role == "market"
    for name in ("oracle", "equal weight", "mean reversion"):
        ledger = ledgers[name]
        expected = expected_edge_of(ledger, market)
        error = ledger.returns.std() / np.sqrt(ledger.returns.size) * 252
        assert ledger.returns.mean() * 252 == pytest.approx(expected.net, abs=3 * error), name
    assert expected_edge_of(ledgers["oracle"], market).net == pytest.approx(
        optimum(0.1, 0.9, BPS * 1e-4).gain, rel=0.07
    )
    # Hints are known, but luck in them is left: of their mean over ten years and twenty assets.
    wide = 0.1 * 0.01 * 252 * np.sqrt(19 / (NUM_BARS * NUM_ASSETS))
    assert abs(expected_edge_of(ledgers["equal weight"], market).gross) < 3 * wide
    cash = expected_edge_of(ledgers["cash"], market)
    assert cash == (0, 0, 0)


@pytest.mark.parametrize(("fill", "share"), [("next_open", 1.0), ("same_close", 1.0), ("next_close", 0.9)])
def test_what_fills_late_is_promised_less(markets, fill, share):
    """One bar late a hint of persistence 0.9 promises nine tenths; filled at the close observed, all of it."""
    market = markets["persistent"]
    config = dataclasses.replace(FREE, fill=fill)
    ledger = baselines_by_rule(market, config, {"oracle": oracle})["oracle"]
    found = expected_edge_of(ledger, market, fill=fill)
    assert found.gross == pytest.approx(share * score(market, oracle(market), 0.0).gross, rel=0.03)
    error = ledger.returns.std() / np.sqrt(ledger.returns.size) * 252
    assert ledger.returns.mean() * 252 == pytest.approx(found.net, abs=3 * error)


def test_promises_are_kept_on_average(markets):
    for name, market in markets.items():
        close = np.asarray(market.close, np.float64)
        returns = close[1:] / close[:-1] - 1
        promised = promised_returns(market)
        slope = (returns * promised[:-1]).sum() / (promised[:-1] ** 2).sum()
        error = returns.std() / np.sqrt((promised[:-1] ** 2).sum())
        assert slope == pytest.approx(1, abs=4 * error), name
        assert (promised[-1] == 0).all(), "nothing follows the last bar"


def test_a_late_hint_is_remembered(markets):
    market = markets["lag"]
    hint, expected = hints_of(market), expected_returns(market)
    np.testing.assert_allclose(expected[60:], 0.003 / np.sqrt(2) * (hint[40:-20] + hint[:-60]), rtol=1e-6)
    np.testing.assert_allclose(expected[20:60], 0.003 / np.sqrt(2) * hint[:40], rtol=1e-6)
    assert (expected[:20] == 0).all(), "hints before the path are not known"
    assert score(market, filter_oracle(market), 0.0).net == pytest.approx(0.3 * 0.01 * 252 * 0.3989, rel=0.05)


def test_the_filter_knows_what_can_be_known(markets):
    for name, least in (("a", 0.98), ("b", 0.9)):
        market = markets[name]
        chance, state = regime_chances(market), market.labels.hint.state
        assert ((chance > 0.5) == state).mean() > least - 0.02
        # Calibrated: of the bars with a chance near p, a share p is of regime 1.
        for low, high in ((0.0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.0)):
            rows = (chance >= low) & (chance <= high)
            error = np.sqrt(0.25 / max(rows.sum() / 20, 1))
            assert state[rows].mean() == pytest.approx(chance[rows].mean(), abs=min(error, 0.25))
        told, filtered = (score(market, rule(market), 0.0).net for rule in (state_oracle, filter_oracle))
        naive = score(market, np.where(hints_of(market) > 0, 1 / NUM_ASSETS, 0.0), 0.0).net
        # The wild regime of `a` is the one that turns the hint round: there its sign, read backwards, earns a third.
        assert abs(naive) < 0.5 * filtered < 0.5 * told
    with pytest.raises(ValueError, match="persistent market means the same at all times"):
        regime_chances(markets["persistent"])


@pytest.mark.thorough
@pytest.mark.parametrize("variant", ["a", "b"])
def test_the_filter_is_the_sum_over_all_ways_that_regimes_can_go(variant):
    """Brute force: 2⁹ courses of the regime, each with its prior and the density of all returns."""
    num_bars = 9
    recipe = Regimes(3, 0.6, variant)
    market = build_market(hinted_panel(jax.random.key(8), recipe, num_bars), ())
    law, hint = market.labels.hint, hints_of(market)
    moves = np.diff(np.log(np.asarray(market.close, np.float64)), axis=0)
    fits = np.zeros((num_bars - 1, 2))
    for state, sign in ((0, 1), (1, -1)):
        size = law.sizes[state] * 0.01
        rest = moves - np.log1p(sign * 0.6 * size * hint[:-1])
        fits[:, state] = _log_density(rest, np.full(rest.shape, size * 0.8), 5.0).sum(axis=1)
    courses = np.array(list(itertools.product((0, 1), repeat=num_bars)))
    turned = np.abs(np.diff(courses, axis=1)) > 0
    prior = np.where(turned, 1 - law.stay, law.stay).prod(axis=1) / 2
    for t in range(num_bars):
        weight = prior * np.exp(fits[np.arange(t), courses[:, :t]].sum(axis=1) - fits[:t].max(initial=0))
        expected = weight[courses[:, t] == 1].sum() / weight.sum()
        assert regime_chances(market)[t] == pytest.approx(expected, abs=1e-9)


def test_the_density_of_the_rest_is_that_of_its_definition():
    rng = np.random.default_rng(0)
    variance = 0.02**2 * 1.5 / rng.gamma(2.5, size=400_000)
    drawn = np.sqrt(variance) * rng.normal(size=variance.size) - variance / 2
    edges = np.linspace(-0.06, 0.06, 25)
    counts = np.histogram(drawn, edges)[0] / drawn.size
    fine = np.linspace(-0.06, 0.06, 24 * 50 + 1)
    density = np.exp(_log_density(fine, np.full(fine.shape, 0.02), 5.0))
    cells = np.array([np.trapezoid(density[i * 50 : i * 50 + 51], fine[i * 50 : i * 50 + 51]) for i in range(24)])
    np.testing.assert_allclose(counts, cells, atol=4 * np.sqrt(cells.max() / drawn.size))


def test_bands_keep_in_between():
    signal = np.array([[0.0], [1.1], [0.5], [-0.5], [-1.1], [0.9], [1.1]])
    held = hold_between(signal, np.ones(1), -np.ones(1))
    assert held[:, 0].tolist() == [False, True, True, True, False, False, True]


@pytest.mark.thorough
def test_who_is_told_nothing_does_nothing():
    market = build_market(hinted_panel(jax.random.key(0), Persistent(3, 0.0), 60), ())
    assert np.isnan(oracle(market)).all() and (promised_returns(market) == 0).all()
    ledger = baselines_by_rule(market, FREE, rules_for(market))["oracle"]
    assert (ledger.equity == ledger.equity[0]).all() and ledger.fills.empty


def test_the_cost_of_a_side():
    market = build_market(hinted_panel(jax.random.key(0), Persistent(3), 60), ())
    config = EnvConfig(spread_bps=4, tick_size=None, slippage_bps=1, commission_bps=5, fees="none")
    np.testing.assert_allclose(side_cost(config, market), 8e-4)
    ticks = EnvConfig(spread_bps=0, tick_size=0.1, slippage_bps=0, fees="none")
    np.testing.assert_allclose(side_cost(ticks, market, 5), 0.05 / np.asarray(market.close[5]), rtol=1e-6)


@pytest.mark.thorough
def test_what_cannot_be_scored_is_refused(markets):
    drawn = HintedDraw(Regimes(2), 30, 2).stream(jax.random.key(0)).first()
    assert oracle(drawn).shape == (60, 2), "the filter needs no regimes"
    with pytest.raises(ValueError, match="regimes of a drawn market are kept nowhere"):
        promised_returns(drawn)
    with pytest.raises(ValueError, match="do not fit the market's 2500 bars of 20 assets"):
        expected_edge(np.zeros((5, 20)), np.zeros(5), markets["lag"])
    ledger = baselines_by_rule(drawn.window(0, 30), FREE, {"oracle": oracle})["oracle"]
    with pytest.raises(ValueError, match="its bars and tickers are not those of the market"):
        expected_edge_of(ledger, markets["lag"])
