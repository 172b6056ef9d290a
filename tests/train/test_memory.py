"""What a rollout stores, and what the compiled update holds at once: never features of all samples."""

import dataclasses
import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train import loop
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.learning.looking import table_of
from ploutos_jax.train.memory import device_bytes, estimate_memory, fit_to_device
from tests.train.worlds import LITTLE_OPTIMISED, make_learner, random_market


def arrays_within(jaxpr):
    """Yield `(shape and dtype, primitive)` of every value computed in a jaxpr, inner ones included."""
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            yield variable.aval, equation.primitive.name
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
            if is_jaxpr(inner):
                yield from arrays_within(inner.jaxpr if isinstance(inner, core.ClosedJaxpr) else inner)


def is_jaxpr(value):
    return isinstance(value, core.Jaxpr | core.ClosedJaxpr)


def size_of(aval):
    return int(np.prod(aval.shape)) * getattr(aval.dtype, "itemsize", 8) if hasattr(aval, "shape") else 0


def too_large(jaxpr, limit):
    """Return a sentence for each value of more than `limit` bytes."""
    return sorted(
        {f"{name} {aval.str_short()}: {size_of(aval)}" for aval, name in arrays_within(jaxpr) if size_of(aval) > limit}
    )


def plant_in(wrapper):
    """Return a function that makes `[100, 40]` floats only inside one kind of nested program."""

    def plant(x):
        return (x[:, None] * jnp.ones(40)).sum(axis=1)

    with_rule = jax.custom_jvp(plant)
    with_rule.defjvp(lambda primals, tangents: (plant(*primals), tangents[0]))
    wrappers = {
        "jit": jax.jit(plant),
        "scan": lambda x: jax.lax.scan(lambda carry, _: (plant(carry), None), x, None, length=2)[0],
        "while": lambda x: jax.lax.while_loop(lambda carry: carry.sum() < 0, plant, x),
        "cond": lambda x: jax.lax.cond(x.sum() > 0, plant, lambda y: y, x),
        "map": lambda x: jax.lax.map(plant, jnp.stack([x, x])),
        "remat": jax.grad(lambda x: jax.checkpoint(plant)(x).sum()),
        "custom_jvp": with_rule,
    }
    return wrappers[wrapper]


@pytest.mark.parametrize("wrapper", ["jit", "scan", "while", "cond", "map", "remat", "custom_jvp"])
def test_the_walker_finds_a_planted_array(wrapper):
    jaxpr = jax.make_jaxpr(plant_in(wrapper))(jnp.ones(100)).jaxpr
    assert too_large(jaxpr, 4 * 100 * 40 - 1) and not too_large(jaxpr, 4 * 100 * 40)


def abstract_state(learner, params):
    return jax.eval_shape(lambda: learner.init(jax.random.key(0), params))


def stored_shapes(learner, state, params):
    table = jax.eval_shape(partial(table_of, learner.config, learner.network), state.agent, params.market)
    return jax.eval_shape(learner._rollout, state, params, table)[2][0]


def largest(tree):
    return max((size_of(x) for x in jax.tree.leaves(tree)), default=0)


@pytest.mark.thorough
@pytest.mark.parametrize("ratio", ["per_asset", "joint"])
@pytest.mark.parametrize(("action", "most"), [("discrete", 12), ("weights", 15)])
def test_a_stored_step_takes_at_most_sixteen_bytes_per_asset(action, most, ratio):
    """Observation, action and log-probability; credit by asset adds a reward and a value in half precision."""
    num_assets, num_envs, num_steps = 503, 4, 8
    config = TrainConfig(num_envs=num_envs, rollout_length=num_steps, ratio=ratio, policy=PolicyConfig(credit=ratio))
    market = random_market(num_bars=30, num_assets=num_assets, num_features=5)
    learner, params, _ = make_learner(config, market, EnvConfig(action=action, episode_length=10))
    stored = stored_shapes(learner, abstract_state(learner, params), params)
    assert all(x.shape[:2] == (num_steps, num_envs) for x in jax.tree.leaves(stored))
    per_step = sum(size_of(x) for x in jax.tree.leaves(stored)) / (num_envs * num_steps)
    of_credit = 4 if ratio == "per_asset" else 0
    assert (per_step - 60) / num_assets <= most + of_credit < 20, f"{per_step / num_assets:.2f} bytes per asset"
    assert most < 16


A, F, E, S = 50, 27, 256, 16
MINIBATCH = E * S // 4


def update_program(torso, num_bars, chunk_megabytes):
    """Return the jaxpr of one update, and the bytes of what it may hold whole."""
    hidden = (64, 64) if torso == "shared" else (128, 64)
    policy = PolicyConfig(torso=torso, hidden=hidden)
    config = TrainConfig(num_envs=E, rollout_length=S, chunk_megabytes=chunk_megabytes, policy=policy)
    market = random_market(num_bars=num_bars, num_assets=A, num_features=F)
    learner, params, hyper = make_learner(config, market, EnvConfig(episode_length=10))
    state = abstract_state(learner, params)
    jaxpr = jax.make_jaxpr(learner.update)(state, params, hyper).jaxpr
    table = jax.eval_shape(partial(table_of, learner.config, learner.network), state.agent, params.market)
    stored = stored_shapes(learner, state, params)
    may_hold = {
        "budget": int(chunk_megabytes * 2**20),
        "parameter": largest(state.agent.network),
        "stored array": largest(stored),
        # The table of a market with fewer rows than samples, and its features padded to whole chunks.
        "table": largest(table),
        "features": 0 if table is None else 1.1 * size_of(params.market.features),
    }
    return jaxpr, may_hold


@pytest.mark.thorough
@pytest.mark.parametrize("num_bars", [100, 5000], ids=["table", "gather"])
@pytest.mark.parametrize("torso", ["shared", "flat"])
def test_an_update_never_holds_the_features_of_its_samples(torso, num_bars):
    jaxpr, may_hold = update_program(torso, num_bars, chunk_megabytes=0.25)
    features_of_minibatch = 4 * MINIBATCH * A * F
    assert max(may_hold.values()) < features_of_minibatch / 2
    assert too_large(jaxpr, max(may_hold.values())) == []


@pytest.mark.thorough
def test_without_a_budget_the_walker_finds_them():
    jaxpr, _ = update_program("shared", 5000, chunk_megabytes=256.0)
    found = too_large(jaxpr, 4 * MINIBATCH * A * F - 1)
    assert any(f"[{MINIBATCH},{A},{F}]" in sentence for sentence in found)


SIZES = {
    "table": (TrainConfig(num_envs=256, rollout_length=32), {"num_bars": 500, "num_assets": 30, "num_features": 20}),
    "gather": (
        TrainConfig(num_envs=64, rollout_length=16, chunk_megabytes=4.0),
        {"num_bars": 3000, "num_assets": 50, "num_features": 27},
    ),
    "flat": (
        TrainConfig(num_envs=128, rollout_length=16, policy=PolicyConfig(torso="flat", hidden=(256, 128))),
        {"num_bars": 400, "num_assets": 30, "num_features": 30},
    ),
    "recurrent": (
        TrainConfig(num_envs=64, rollout_length=16, policy=PolicyConfig(time="recurrent")),
        {"num_bars": 1500, "num_assets": 30, "num_features": 20},
    ),
    "lru": (
        TrainConfig(num_envs=64, rollout_length=16, policy=PolicyConfig(time="recurrent", time_cell="lru")),
        {"num_bars": 1500, "num_assets": 30, "num_features": 20},
    ),
    "stretches": (
        TrainConfig(num_envs=64, rollout_length=32, policy=PolicyConfig(time="recurrent")),
        {"num_bars": 30_000, "num_assets": 5, "num_features": 20},
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name",
    ["table", *(pytest.param(name, marks=pytest.mark.slow) for name in SIZES if name != "table")],
)
def test_the_estimate_is_within_a_factor_of_two_of_the_compiled_program(name):
    config, sizes = SIZES[name]
    market = random_market(**sizes)
    learner, params, hyper = make_learner(config, market, EnvConfig(episode_length=100))
    update = jax.jit(learner.update, donate_argnums=0, compiler_options=LITTLE_OPTIMISED)
    analysis: Any = update.lower(abstract_state(learner, params), params, hyper).compile().memory_analysis()
    whole = analysis.argument_size_in_bytes + analysis.output_size_in_bytes + analysis.temp_size_in_bytes
    whole -= analysis.alias_size_in_bytes
    estimate = estimate_memory(config, market, "discrete")
    assert whole / 2 < estimate.total < 2 * whole, f"{estimate.total / whole:.2f}: {estimate}"


BIG = TrainConfig(num_envs=512, rollout_length=32, chunk_megabytes=64.0, num_seeds=2)


def test_chunks_shrink_until_a_run_fits():
    market = random_market(num_bars=500, num_assets=30, num_features=20)
    needed = estimate_memory(BIG, market, "discrete").total
    assert fit_to_device(BIG, market, "discrete", needed) is BIG
    assert fit_to_device(BIG, market, "discrete", None) is BIG
    fitting = fit_to_device(BIG, market, "discrete", int(0.7 * needed))
    assert 4 <= fitting.chunk_megabytes < 64
    assert dataclasses.replace(fitting, chunk_megabytes=64.0) == BIG
    assert estimate_memory(fitting, market, "discrete").total <= 0.7 * needed


@pytest.mark.thorough
def test_a_run_that_cannot_fit_is_told_what_to_lower_and_to_what(monkeypatch, tmp_path):
    market = random_market(num_bars=500, num_assets=30, num_features=200)
    limit = 40 * 2**20
    monkeypatch.setattr(loop, "device_bytes", lambda: limit)
    with pytest.raises(ValueError) as caught:
        loop.train(BIG, market, TradingEnv(EnvConfig(episode_length=100)), output=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    message = str(caught.value)
    assert re.match(r"This run needs about [\d.]+ .iB \(.*(rollout|working) .*\), the device has 40 MiB\.", message)
    found = {name: int(value) for name, value in re.findall(r"(num_envs|rollout_length|num_seeds) to (\d+)", message)}
    assert "num_envs" in found
    for name, value in found.items():
        smaller = dataclasses.replace(BIG, **{name: value})
        assert estimate_memory(fit_to_device(smaller, market, "discrete", limit), market, "discrete").total <= limit


@pytest.mark.thorough
def test_too_many_features_are_named():
    market = random_market(num_bars=500, num_assets=30, num_features=200)
    small = TrainConfig(num_envs=8, rollout_length=8, num_minibatches=2, chunk_megabytes=4.0)
    limit = estimate_memory(small, market, "discrete").total - 500 * 30 * 4 * 50
    with pytest.raises(ValueError, match=r"ower .*the number of features from 200 to \d+\.$") as caught:
        fit_to_device(small, market, "discrete", limit)
    fewer = int(str(caught.value)[:-1].rsplit(" ", 1)[1])
    for number, fits in ((fewer, True), (fewer + 1, False)):
        market = random_market(num_bars=500, num_assets=30, num_features=number)
        assert (estimate_memory(small, market, "discrete").total <= limit) == fits


def test_the_memory_of_this_machine_is_known():
    found = device_bytes()
    assert found is not None and found > 2**28
