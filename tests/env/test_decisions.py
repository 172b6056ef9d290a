"""Decisions that lie several bars apart: which bars they fall on, what happens between, what the agent is told."""

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rollout import rollout, start_runner
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import MAY_BUY, MAY_SELL, EnvParams, Observation
from tests.env.scenes import BUY_BOTH, FLAT, SELL_BOTH, fills, near, reasons, trade
from tests.env.worlds import make_config, random_actions, random_market, random_numbers, simulate

EVERY, NUM_ENVS, LENGTH = 5, 400, 21
LEAN: dict[str, Any] = {"fees": "none", "tick_size": None}
ENV = TradingEnv(EnvConfig(episode_length=LENGTH, decide_every=EVERY, stop_loss=None, take_profit=None, **LEAN))


@pytest.fixture(scope="module")
def params() -> EnvParams:
    return ENV.default_params(random_market(3, plain=True))


@pytest.mark.parametrize("reset", [ENV.reset, ENV.reset_staggered], ids=["reset", "staggered"])
def test_episodes_of_training_begin_anywhere_between_two_decisions(params: EnvParams, reset: Any):
    keys = jax.random.split(jax.random.key(0), NUM_ENVS)
    obs, state = jax.jit(jax.vmap(reset, in_axes=(0, None)))(keys, params)
    until_first = np.asarray(state.phase - state.t)
    counts = np.bincount(until_first, minlength=EVERY)
    assert len(counts) == EVERY, "the first decision comes within that distance"
    assert (np.abs(counts - NUM_ENVS / EVERY) < 4.5 * np.sqrt(NUM_ENVS / EVERY)).all(), counts
    # The bar at which an episode starts tells nothing of when the first decision comes.
    assert abs(np.corrcoef(until_first, state.t)[0, 1]) < 4.5 / np.sqrt(NUM_ENVS)
    np.testing.assert_array_equal(obs.valid > 0, np.broadcast_to((until_first == 0)[:, None], obs.valid.shape))


def test_a_given_start_is_a_decision(params: EnvParams):
    for start in (0, 3, 11):
        obs, state = ENV.reset_at(start, start + LENGTH, params)
        assert int(state.phase) == start and (obs.valid == (MAY_BUY | MAY_SELL)).all()


@pytest.mark.thorough
def test_fills_follow_the_bars_that_the_observation_says(params: EnvParams):
    """Through rollouts with episodes that end and begin anew: an action has an effect where its bits are set."""

    def policy(keys: Any, obs: Observation) -> tuple[Any, Any]:
        del obs
        return jax.vmap(lambda key: jax.random.randint(key, (4,), 0, 3))(keys), None

    def record(step: Any) -> tuple[Any, ...]:
        return step.observation.valid, step.observation.t, step.info["num_trades"], step.info["rejected_orders"]

    runner = start_runner(ENV, params, jax.random.key(1), 20, staggered=True)
    run = jax.jit(lambda runner: rollout(ENV, params, policy, runner, 100, record))
    _, _, (valid, t, trades, rejected) = jax.device_get(run(runner))
    may = (valid > 0).all(axis=-1)
    assert (may == (valid > 0).any(axis=-1)).all()
    assert not trades[~may].any() and not rejected[~may].any()
    assert trades[may].any() and may.mean() == pytest.approx(1 / EVERY, abs=0.03)
    follows = np.diff(t, axis=0) == 1
    for env in range(20):
        at, runs = np.flatnonzero(may[:, env]), follows[:, env]
        gaps = [b - a for a, b in itertools.pairwise(at) if runs[a:b].all()]
        assert set(gaps) == {EVERY}


def test_stops_work_between_decisions_and_orders_do_not():
    bars = [FLAT, FLAT, FLAT, (100.0, 100.0, 97.0, 99.0), FLAT, FLAT, FLAT, FLAT]
    compiled = {"decide_every": 5, "stop_loss": 0.02, "take_profit": None, "spread_bps": 0.0, "slippage_bps": 0.0}
    # Bought at the open of bar 1; sales decided at bars 1 to 4 are none; the stop at 98 fills in bar 3.
    trace = trade(bars, [BUY_BOTH, *[SELL_BOTH] * 4, BUY_BOTH], compiled=compiled, stop_loss=0.02)
    assert reasons(trace, 0) == ["order"] and fills(trace, 0, 1) == [(near(100), 100)]
    assert fills(trace, 2) == [(near(-100), near(98))] and reasons(trace, 2) == ["stop"]
    assert [fills(trace, step, 1) for step in (1, 2, 3, 4)] == [[]] * 4
    assert [reasons(trace, step) for step in (1, 3, 4, 5)] == [[], [], [], ["order"]]
    assert trace.info["rejected_orders"].tolist()[1:5] == [0] * 4


@pytest.mark.thorough
def test_what_waits_or_still_works_goes_on_between_decisions():
    gap = {(1, 0): False, (2, 0): False}
    compiled = {"decide_every": 4, "stop_loss": None, "take_profit": None, "spread_bps": 0.0, "slippage_bps": 0.0}
    waited = trade([FLAT], [BUY_BOTH, SELL_BOTH, SELL_BOTH], compiled=compiled, tradable=gap)
    assert [len(fills(waited, step)) for step in range(4)] == [0, 0, 1, 0]
    carry = compiled | {"max_participation": 0.5, "remainder": "carry"}
    worked = trade(
        [FLAT], [BUY_BOTH, SELL_BOTH, SELL_BOTH], compiled=carry, known={"volume": 80.0}, max_participation=0.5
    )
    assert [fills(worked, step) for step in range(4)] == [[(near(40), 100)], [(near(40), 100)], [(near(20), 100)], []]


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["discrete", "weights", "bands", "levels"])
def test_a_decision_in_every_bar_is_no_rule(kind: str):
    market, numbers, actions = random_market(4), random_numbers(4), random_actions(4, kind)
    often = simulate(make_config(kind, decide_every=1), market, numbers, actions)
    always = simulate(make_config(kind), market, numbers, actions)
    assert always.info["num_trades"].any()
    assert (often.state.phase == 0).all()
    jax.tree.map(
        np.testing.assert_array_equal,
        (often.state.replace(phase=None), often.reward, often.info),
        (always.state, always.reward, always.info),
    )


@pytest.mark.parametrize("kind", ["discrete", "weights", "bands", "levels"])
def test_actions_between_decisions_change_nothing(kind: str):
    market, numbers = random_market(6), random_numbers(6)
    config = make_config(kind, decide_every=4)
    one, two = random_actions(6, kind), random_actions(7, kind)
    two[::4] = one[::4]
    assert (one != two).any()
    traces = [simulate(config, market, numbers, actions) for actions in (one, two)]
    jax.tree.map(np.testing.assert_array_equal, *traces)


@pytest.mark.parametrize("kind", ["discrete", "weights"])
def test_without_the_rule_neither_account_nor_observation_know_of_it(kind: str):
    programs = []
    for rules in ({}, {"decide_every": EVERY}):
        env = TradingEnv(make_config(kind, **rules))
        params = env.default_params(random_market(3, plain=True))
        obs, state = env.reset(jax.random.key(0), params)
        assert [obs.valid is None, state.phase is None] == [not rules] * 2
        assert len(jax.tree.leaves(obs)) == 4 + len(rules)
        action = jnp.zeros(4, jnp.int32 if kind == "discrete" else jnp.float32)
        step = partial(env.step_env, params=params)
        programs.append(str(jax.make_jaxpr(step)(jax.random.key(0), state, action)))
    assert [" rem " in program for program in programs] == [False, True], "only a phase needs a remainder"


def test_the_rule_is_for_the_agent_and_not_for_baselines():
    assert ENV.config.without_strategy_rules().decide_every is None
    for bad in (0, -1, 1.5):
        with pytest.raises(ValueError, match="decide_every"):
            EnvConfig(decide_every=bad)  # type: ignore[arg-type]
