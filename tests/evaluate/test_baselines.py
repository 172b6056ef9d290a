"""The oracle of planted markets: what it holds, what it earns, and that no other market has one."""

import jax
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.evaluate.backtest import baselines_by_rule
from ploutos_jax.evaluate.baselines import RULES, oracle, rules_for
from ploutos_jax.market.features import build_market
from ploutos_jax.market.planted import planted_panel
from ploutos_jax.market.synthetic import synthetic_panel

NUM_ASSETS, NUM_BARS = 4, 300
FREE = EnvConfig(spread_bps=0, tick_size=None, slippage_bps=0, fees="none", min_order_cash=0)


@pytest.fixture(scope="module")
def panel():
    return planted_panel(jax.random.key(0), NUM_ASSETS, NUM_BARS)


def test_the_oracle_holds_what_the_hint_promises(panel):
    market = build_market(panel, "minimal")
    targets = oracle(market)
    np.testing.assert_array_equal(targets, (np.asarray(panel.signals["hint"]) > 0) / NUM_ASSETS)
    span = market.window(100, 200)
    np.testing.assert_array_equal(oracle(span), targets[100:200])


def test_the_oracle_earns_the_returns_of_what_it_holds(panel):
    market = build_market(panel, ())
    ledger = baselines_by_rule(market, FREE, rules_for(market))["oracle"]
    close = np.asarray(panel.close, np.float64)
    held = (oracle(market)[:-1] * (close[1:] / close[:-1] - 1)).sum(axis=1)
    np.testing.assert_allclose(ledger.equity[1:] / ledger.equity[:-1], 1 + held, atol=2e-5)
    assert ledger.cost.sum() == 0 and held.mean() > 3 * held.std() / np.sqrt(held.size)


def test_only_planted_markets_have_an_oracle(panel):
    made = build_market(synthetic_panel(jax.random.key(0), NUM_ASSETS, NUM_BARS).replace(signals=panel.signals), ())
    without = build_market(panel, ["signal_noise_1"])
    for market in (made, without):
        assert rules_for(market) == RULES
        with pytest.raises(ValueError, match="the feature 'signal_hint' of a planted market"):
            oracle(market)
    assert list(rules_for(build_market(panel, ()))) == [*RULES, "oracle"]
