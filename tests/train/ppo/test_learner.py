"""One update: the first gradient step sees the rollout's own policy, every number matters, NaN does no harm."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.observation import ACCOUNT_FIELDS
from ploutos_jax.env.rewards import log_return
from ploutos_jax.env.rollout import rollout
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import Observation
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train import updates
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.evolution_config import EvolutionConfig
from ploutos_jax.train.learning.divergence import FAULTS
from ploutos_jax.train.learning.looking import table_of
from ploutos_jax.train.loop import train
from ploutos_jax.train.ppo.credit import credited
from ploutos_jax.train.ppo.gradients import minibatch_gradients
from ploutos_jax.train.ppo.losses import joined_log_prob
from tests.train.worlds import (
    LITTLE_OPTIMISED,
    SHARED,
    assert_identical,
    compiled_update,
    largest_difference,
    make_learner,
    random_market,
)

CONFIG = TrainConfig(
    num_envs=8,
    rollout_length=16,
    total_timesteps=8 * 16 * 10,
    num_minibatches=2,
    num_epochs=3,
    value_clip=10.0,
    policy=SHARED,
)
SPOILED_FROM = 40


def log_return_or_nan(before, after):
    return jnp.where(before.t >= SPOILED_FROM, jnp.nan, log_return(before, after))


ENV = EnvConfig(episode_length=12, reward=log_return_or_nan)


def start_between(params, first, last):
    """Return params whose episodes start at some of the bars `first` to `last`."""
    return params.replace(starts=first + jnp.arange(params.starts.size, dtype=jnp.int32) % (last - first + 1))


@functools.cache
def standard():
    """Return a learner, its numbers and its state after two updates (statistics and policy have moved)."""
    learner, params, hyper = make_learner(CONFIG, random_market(), ENV)
    params = start_between(params, 0, SPOILED_FROM - ENV.episode_length - 1)
    state = learner.init(jax.random.key(0), params)
    for _ in range(2):
        state, _ = compiled_update(learner)(state, params, hyper)
    return learner, params, hyper, state


def first_step(learner):
    """Return a compiled `(state, params, hyper) -> (log ratios [S, E, A or 1], losses)` of a new rollout's first step.

    Log-probabilities are computed once more from gathered rows, the losses by the function that trains.
    """

    def run(state, params, hyper):
        table = table_of(learner.config, learner.network, state.agent, params.market)
        runner, ends, (stored, _) = learner._rollout(state, params, table)
        market, network, agent = params.market, learner.network, state.agent
        obs = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), stored.observation)
        mask = market.tradable[obs.t]
        rows = network.encode(agent.network, agent.scaling, market.features[obs.t], mask)
        outputs, _ = network.act(agent.network, agent.scaling, rows, mask, obs.assets, obs.account)
        action = stored.action.reshape(mask.shape)
        log_prob = joined_log_prob(network.head.log_prob(outputs, action), mask, learner.config.ratio)
        samples, _ = learner.samples(state, params, hyper, table, runner, ends, stored)
        pairs, config = jnp.arange(4), learner.config
        _, losses = minibatch_gradients(network, agent, market, samples, pairs, hyper, config, "table")
        return log_prob.reshape(stored.log_prob.shape) - stored.log_prob, losses

    return jax.jit(run, compiler_options=LITTLE_OPTIMISED)


def moved_agent(agent, num_assets):
    """Return an agent far from indifferent, with statistics of observations that are not those of a fresh one."""
    waves = jax.tree.map(lambda x: 0.3 * np.cos(np.arange(x.size, dtype=np.float32)).reshape(x.shape), agent.network)
    seen = Observation(
        t=np.zeros((1, 2), np.int32),
        positions=np.full((1, 2, num_assets, 2), 0.2, np.float16),
        levels=np.full((1, 2, num_assets, 3), 50, np.uint8),
        account=np.full((1, 2, len(ACCOUNT_FIELDS)), 0.1, np.float16),
    )
    scaling = agent.scaling.observe(seen)
    return agent.replace(network=jax.tree.map(jnp.add, agent.network, waves), scaling=scaling)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("num_assets", "ratio", "action"),
    [
        pytest.param(1, "joint", "discrete", marks=pytest.mark.slow),
        pytest.param(1, "per_asset", "weights", marks=pytest.mark.thorough),
        pytest.param(30, "per_asset", "discrete", marks=pytest.mark.thorough),
        (30, "joint", "weights"),
        pytest.param(1, "per_asset", "discrete", marks=pytest.mark.slow),
        pytest.param(1, "joint", "weights", marks=pytest.mark.slow),
        pytest.param(30, "joint", "discrete", marks=pytest.mark.slow),
        pytest.param(30, "per_asset", "weights", marks=pytest.mark.slow),
    ],
)
def test_the_first_ratio_is_one(num_assets, ratio, action):
    config = dataclasses.replace(CONFIG, ratio=ratio, policy=dataclasses.replace(SHARED, credit=ratio))
    env = EnvConfig(episode_length=12, action=action)
    learner, params, hyper = make_learner(config, random_market(num_assets=num_assets), env)
    state = learner.init(jax.random.key(3), params)
    state = state.replace(agent=moved_agent(state.agent, num_assets))
    log_ratio, losses = first_step(learner)(state, params, hyper)
    assert log_ratio.shape == (16, 8, num_assets if ratio == "per_asset" else 1)
    assert np.abs(np.expm1(log_ratio)).max() < 1e-5 * np.sqrt(num_assets)
    assert 0 <= float(losses.kl) < 1e-6 and float(losses.clipped) == 0


@pytest.mark.slow
def test_the_first_ratio_is_near_one_in_bfloat16():
    """The products are the same, but a float32 sum in another order may be rounded to the other bfloat16 beside it."""
    config = dataclasses.replace(CONFIG, policy=dataclasses.replace(SHARED, precision="bfloat16"))
    learner, params, hyper = make_learner(config, random_market(), EnvConfig(episode_length=12))
    state = learner.init(jax.random.key(3), params)
    state = state.replace(agent=moved_agent(state.agent, 3))
    log_ratio, losses = first_step(learner)(state, params, hyper)
    assert np.abs(np.expm1(log_ratio)).max() < 1e-5
    assert 0 <= float(losses.kl) < 1e-6 and float(losses.clipped) == 0


@pytest.mark.thorough
def test_metrics_tell_the_first_kl():
    learner, params, hyper, state = standard()
    _, metrics = compiled_update(learner)(state, params, hyper)
    assert 0 <= float(metrics["first_kl"]) < 1e-6
    assert float(metrics["approx_kl"]) > 100 * float(metrics["first_kl"]), "later minibatches see another policy"


CHANGED = {
    "learning_rate": 2.0,
    "decay": 0.0,
    "cosine_decay": 1.0,
    "num_updates": 2.0,
    "gamma": 0.9,
    "gae_lambda": 0.5,
    "clip_range": 0.001,
    "entropy_coef": 5.0,
    "entropy_decay": 1.0,
    "value_coef": 2.0,
    "value_clip": 1e-4,
    "max_grad_norm": 0.01,
    "target_kl": 1e-9,
}


def test_every_number_is_tried():
    _, _, hyper, _ = standard()
    # The average is no part of the update of the network, the tail is off, and the others are of learners that
    # differentiate a rollout.
    elsewhere = {"average", "tail", "cvar_weight", "turnover_penalty", "risk_aversion", "mix"}
    assert set(CHANGED) | elsewhere == {field.name for field in dataclasses.fields(hyper)}


@pytest.mark.thorough
def test_averaged_parameters_follow_the_trained_ones_and_act():
    config = dataclasses.replace(CONFIG, average=0.75)
    learner, params, hyper = make_learner(config, random_market(), ENV)
    params = start_between(params, 0, SPOILED_FROM - ENV.episode_length - 1)
    state = learner.init(jax.random.key(0), params)
    after, _ = jax.jit(learner.update)(state, params, hyper)
    plain, _, hyper = make_learner(CONFIG, random_market(), ENV)
    same, _ = jax.jit(plain.update)(state.replace(average=None), params, hyper)
    # What is trained is not changed by being averaged.
    for one, other in zip(jax.tree.leaves(after.agent), jax.tree.leaves(same.agent), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    moved = lambda tree: largest_difference(tree, state.agent.network)  # noqa: E731
    assert 0 < moved(after.acting.network) < moved(after.agent.network)
    assert after.acting.scaling is after.agent.scaling and same.acting is same.agent
    assert float(hyper.average) == 0.0


@pytest.mark.parametrize("name", CHANGED)
def test_every_number_changes_the_update(name):
    learner, params, hyper, state = standard()
    if name == "entropy_decay":
        hyper = hyper.replace(entropy_coef=jnp.float32(0.1))
    usual, _ = compiled_update(learner)(state, params, hyper)
    factor = CHANGED[name]
    value = factor if name.endswith(("decay", "target_kl")) else getattr(hyper, name) * factor
    other, _ = compiled_update(learner)(state, params, hyper.replace(**{name: jnp.float32(value)}))
    assert largest_difference(other.agent.network, usual.agent.network) > 1e-5


def test_an_update_moves_everything_on():
    learner, params, hyper, state = standard()
    after, metrics = compiled_update(learner)(state, params, hyper)
    assert int(after.update) == 3 and int(after.skipped) == 0
    assert int(after.runner.step) == 3 * CONFIG.rollout_length
    assert float(after.agent.scaling.assets.count) == pytest.approx(3 * 8 * 16 * 3)
    assert float(after.returns.moments.count) == pytest.approx(3 * 8 * 16 * 3), "one sum per asset"
    assert (jax.random.key_data(after.key) != jax.random.key_data(state.key)).any()
    for old, new in zip(jax.tree.leaves(state.agent.network), jax.tree.leaves(after.agent.network), strict=True):
        assert (np.asarray(old) != np.asarray(new)).any()
    assert_identical(after.agent.scaling.features, state.agent.scaling.features)
    assert all(np.isfinite(value) for value in metrics.values())


def test_a_tiny_target_kl_stops_after_the_first_epoch():
    learner, params, hyper, state = standard()
    stopped, _ = compiled_update(learner)(state, params, hyper.replace(target_kl=jnp.float32(1e-9)))
    assert int(stopped.optimizer.count - state.optimizer.count) == CONFIG.num_minibatches
    usual, metrics = compiled_update(learner)(state, params, hyper)
    assert int(usual.optimizer.count - state.optimizer.count) == CONFIG.num_minibatches * CONFIG.num_epochs
    generous = hyper.replace(target_kl=100 * metrics["approx_kl"])
    assert_identical(compiled_update(learner)(state, params, generous)[0].agent, usual.agent)


@pytest.mark.slow
def test_a_stopped_update_is_one_of_one_epoch():
    learner, params, hyper, state = standard()
    stopped, metrics = compiled_update(learner)(state, params, hyper.replace(target_kl=jnp.float32(1e-9)))
    one_epoch, *_ = make_learner(dataclasses.replace(CONFIG, num_epochs=1), random_market(), ENV)
    expected, expected_metrics = compiled_update(one_epoch)(state, params, hyper)
    assert largest_difference(stopped.agent.network, expected.agent.network) < 1e-6
    for name in ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "grad_norm"):
        np.testing.assert_allclose(metrics[name], expected_metrics[name], rtol=1e-4, atol=1e-7, err_msg=name)


def test_nan_rewards_skip_gradient_steps_and_pass():
    learner, params, hyper, _ = standard()
    update = compiled_update(learner)
    broken = start_between(params, SPOILED_FROM + 5, SPOILED_FROM + 10)
    state = learner.init(jax.random.key(0), broken)

    spoiled, metrics = update(state, broken, hyper)
    num_steps = CONFIG.num_minibatches * CONFIG.num_epochs
    assert int(spoiled.skipped) == int(metrics["skipped_steps"]) == num_steps
    assert int(spoiled.skipped_in_row) == int(metrics["skipped_in_row"]) == num_steps
    assert list(FAULTS)[int(metrics["fault"]) - 1] == "rewards"
    assert_identical(spoiled.agent.network, state.agent.network)
    assert_identical(spoiled.optimizer, state.optimizer)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(spoiled.agent))

    # Episodes under way still end in NaN; once they are over, learning goes on as if nothing had been.
    state, _ = update(spoiled, params, hyper)
    recovered, metrics = update(state, params, hyper)
    assert int(recovered.skipped) == int(state.skipped) and int(recovered.skipped_in_row) == 0
    assert int(metrics["fault"]) == int(metrics["skipped_in_row"]) == 0
    assert largest_difference(recovered.agent.network, state.agent.network) > 1e-4
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((recovered.agent, recovered.returns)))
    assert np.isfinite(metrics["policy_loss"]) and np.isfinite(metrics["value_loss"])


def test_numbers_of_an_update_follow_their_schedules():
    learner, params, hyper, state = standard()
    half = state.replace(update=jnp.int32(5))
    for decay, cosine, at_two, at_five in ((1, 0, 0.8, 0.5), (0, 1, (1 + np.cos(0.2 * np.pi)) / 2, 0.5), (0, 0, 1, 1)):
        numbers = hyper.replace(
            decay=jnp.float32(decay), cosine_decay=jnp.float32(cosine), entropy_decay=jnp.float32(decay)
        )
        for now, share in ((state, at_two), (half, at_five)):
            _, metrics = compiled_update(learner)(now, params, numbers)
            assert float(metrics["learning_rate"]) == pytest.approx(share * CONFIG.learning_rate)
            expected = CONFIG.entropy_coef * (share if decay else 1)
            assert float(metrics["entropy_coef"]) == pytest.approx(expected)
    late = state.replace(update=jnp.int32(1000))
    assert float(compiled_update(learner)(late, params, hyper)[1]["learning_rate"]) == 0


def test_environments_start_staggered_and_independent():
    runner = standard()[0].init(jax.random.key(0), standard()[1]).runner
    left = np.asarray(runner.state.end - runner.state.t)
    assert left.min() >= 1 and left.max() <= ENV.episode_length and len(np.unique(left)) > 3
    assert len(np.unique(jax.random.key_data(runner.keys), axis=0)) == CONFIG.num_envs


@pytest.mark.thorough
def test_rewards_by_asset_add_up_to_the_reward_and_hold_each_profit():
    learner, params, _ = make_learner(CONFIG, random_market(), EnvConfig(episode_length=12, reward="five_term"))
    state = learner.init(jax.random.key(3), params)

    def record(step):
        names = ("profit", "equity", "fee_rounding", "reward_slope")
        return credited(step), step.reward, *(step.info[name] for name in names)

    def policy(keys, obs):
        return jax.vmap(lambda key: jax.random.randint(key, (3,), 0, 3, jnp.int8))(keys), None

    trading = dataclasses.replace(learner.env, with_slope=True)
    run = jax.jit(lambda runner: rollout(trading, params, policy, runner, 40, record)[2])
    shares, reward, profit, equity, rounding, slope = (np.asarray(x, np.float64) for x in run(state.runner))
    np.testing.assert_allclose(shares.sum(axis=-1), reward, rtol=1e-4, atol=1e-5)
    own = profit / (equity - profit.sum(axis=-1) + rounding)[..., None] * slope[..., None]
    assert own.std() > 1e-4
    for a in range(2):  # what is not an asset's own is shared evenly
        np.testing.assert_allclose(shares[..., a] - own[..., a], shares[..., 2] - own[..., 2], rtol=1e-3, atol=1e-5)


OTHER_NUMBERS = {
    "tail": 0.2,
    "turnover_penalty": 0.5,
    "risk_aversion": 2.0,
    "seed": 7,
    "total_timesteps": 123_456,
    "learning_rate": 3e-4,
    "learning_rate_schedule": "cosine",
    "gamma": 0.9,
    "gae_lambda": 0.5,
    "clip_range": 0.1,
    "entropy_coef": 0.1,
    "entropy_schedule": "linear",
    "value_coef": 0.1,
    "max_grad_norm": 2.0,
    "target_kl": 0.01,
    "market_refresh": 3,
    "time_gradient": 5,  # of networks that remember
    "checkpoint_every": 1000,
    "keep_checkpoints": 9,
    "eval_every": 1000,
}
"""Every setting that is no part of a compiled update, with another value than CONFIG has."""
OTHER_PROGRAMS = {
    "cvar_weight": 0.5,
    "algorithm": "pathwise",
    "objective": "sharpe",
    "mix": 0.25,
    "num_envs": 24,
    "rollout_length": 8,
    "num_minibatches": 4,
    "num_epochs": 2,
    "value_clip": None,
    "ratio": "joint",
    "num_seeds": 2,
    "advantage": "position",
    "average": 0.5,
    "chunk_megabytes": 1.0,
    "policy": PolicyConfig(hidden=(8,), width=8),
    "evolution": EvolutionConfig(population=4),
}


def test_learners_are_equal_exactly_where_their_programs_are():
    """Equal learners share a compiled program: whatever a program reads must tell them apart."""
    assert OTHER_NUMBERS.keys() | OTHER_PROGRAMS.keys() | {"batch_size"} == {
        field.name for field in dataclasses.fields(TrainConfig)
    }
    learner, params, hyper, state = standard()
    program = jax.make_jaxpr(learner.update)(state, params, hyper)
    numbers = OTHER_NUMBERS | {"rollout_length": CONFIG.steps_per_rollout}
    other = dataclasses.replace(learner, config=dataclasses.replace(CONFIG, **numbers))
    assert other == learner
    assert hash(other) == hash(learner)
    # Addresses of functions stand in the text of a program.
    text = lambda jaxpr: re.sub(r"0x[0-9a-f]+", "", str(jaxpr))  # noqa: E731
    assert text(jax.make_jaxpr(other.update)(state, params, hyper)) == text(program)
    for name, value in OTHER_PROGRAMS.items():
        assert getattr(CONFIG, name) != value
        changed = {name: value} | ({"policy": dataclasses.replace(SHARED, credit="joint")} if name == "ratio" else {})
        changed |= {"objective": {"algorithm": "pathwise"}, "mix": {"algorithm": "mixed"}}.get(name, {})
        if name == "advantage":
            with pytest.raises(ValueError, match="action='discrete' does not say"):
                dataclasses.replace(learner, config=dataclasses.replace(CONFIG, **changed))
            continue
        assert dataclasses.replace(learner, config=dataclasses.replace(CONFIG, **changed)) != learner, name


@pytest.mark.thorough
def test_a_second_training_in_a_process_compiles_nothing():
    config = dataclasses.replace(CONFIG, total_timesteps=CONFIG.timesteps_per_update)
    market, env = random_market(), TradingEnv(EnvConfig(episode_length=12))
    first = train(config, market, env)
    programs = dict(updates._PROGRAMS)
    changed = dataclasses.replace(config, seed=5, learning_rate=3e-3, total_timesteps=2 * config.total_timesteps)
    second = train(changed, market, env)
    assert dict(updates._PROGRAMS) == programs
    assert largest_difference(first.params.network, second.params.network) > 0


def test_another_precision_of_products_is_another_program():
    function = jax.jit(lambda size, x: (x @ x).sum() * size, static_argnums=0)
    x = jnp.ones((4, 4))
    once = updates.compile_once(function, (2,), x)
    assert updates.compile_once(function, (2,), x + 1) is once
    with jax.default_matmul_precision("float32"):
        assert updates.compile_once(function, (2,), x) is not once
