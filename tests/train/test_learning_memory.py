"""A signal that only memory can put together is found with it, and not without."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from benchmarks.learning import Probe, environment
from benchmarks.policy_parts import lag
from ploutos_jax.evaluate.backtest.oracles.expected import expected_edge_of
from ploutos_jax.evaluate.backtest.run import backtest, baselines_by_rule
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Market
from ploutos_jax.market.synthetic.planted.hinted import hinted_panel
from ploutos_jax.market.synthetic.planted.persistent import Persistent
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.loop import train
from tests.train import planted

NUM_ASSETS, PERSISTENCE, SPLIT, NUM_BARS = 8, 0.95, 1400, 2200
ENV = dataclasses.replace(
    planted.ENV, config=dataclasses.replace(planted.ENV.config, buy_pct=1 / NUM_ASSETS, max_position_pct=1 / NUM_ASSETS)
)


@functools.cache
def markets() -> tuple[Market, Market]:
    """Return a market whose hint lasts, and the same one as agents see it: only how far the hint is from a decay.

    The hint is the sum of these changes with weights that fall by 5 % a bar.
    """
    told = build_market(hinted_panel(jax.random.key(1), Persistent(NUM_ASSETS, 0.3, PERSISTENCE), NUM_BARS), ())
    features = np.array(told.features)
    hint = features[..., told.feature_names.index("signal_hint")]
    hint[1:] = (hint[1:] - PERSISTENCE * hint[:-1]) / np.sqrt(1 - PERSISTENCE**2)
    return told, told.replace(features=features)


def edge_of_rule(signal: np.ndarray) -> float:
    """Return what holding the assets whose signal is above 0 is promised a year, over the unseen bars."""
    told, _ = markets()
    targets = (signal[SPLIT:] > 0) / NUM_ASSETS
    ledger = baselines_by_rule(told, ENV.config, {"rule": lambda *_: targets}, SPLIT)["rule"]
    return expected_edge_of(ledger, told).gross


def edge_of_agent(policy: PolicyConfig) -> float:
    told, seen = markets()
    agent = train(dataclasses.replace(planted.CONFIG, policy=policy), seen.window(0, SPLIT), ENV)
    return expected_edge_of(backtest(agent, seen, SPLIT), told).gross


@pytest.mark.slow
def test_what_has_to_be_put_together_over_time_is_found_with_memory_alone():
    told, seen = markets()
    place = told.feature_names.index("signal_hint")
    oracle, of_change = (edge_of_rule(np.asarray(market.features)[..., place]) for market in (told, seen))
    assert of_change < 0.35 * oracle, "a bar alone tells little"
    remembering = edge_of_agent(PolicyConfig(time="recurrent", time_width=16, time_layers=1)) / oracle
    alone = edge_of_agent(PolicyConfig()) / oracle
    assert remembering > 0.9, f"the agent that remembers is promised {remembering:.2f} of the oracle's edge"
    assert alone < 0.4, f"the one that does not {alone:.2f}"


@pytest.mark.slow
def test_hints_of_exactly_20_and_60_bars_ago_are_found_by_units_that_turn():
    """One history of 8,192 bars tells so much and no more: with five times as many it is above .9 (benchmarks)."""
    made, env = lag(131_072), environment(Probe(preset="default"), NUM_ASSETS)
    rule = baselines_by_rule(made.told.window(made.split), env.config, {"rule": made.rule})["rule"]
    found = {}
    for arm in ("lru", "none"):
        agent = train(dataclasses.replace(made.arms[arm], num_seeds=1), made.seen.window(0, made.split), env)
        found[arm] = expected_edge_of(backtest(agent, made.seen, made.split), made.told).net
    best = expected_edge_of(rule, made.told).net
    assert found["lru"] > 0.65 * best and found["none"] < 0.1 * best, f"{found} of {best}"
