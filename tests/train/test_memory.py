"""What a rollout stores, and what the compiled update holds at once: never features of all samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.config import TrainConfig
from tests.train.worlds import make_learner, random_market


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
    table = jax.eval_shape(learner._table, state.agent, params)
    return jax.eval_shape(learner._rollout, state, params, table)[2][0]


def largest(tree):
    return max((size_of(x) for x in jax.tree.leaves(tree)), default=0)


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
    table = jax.eval_shape(learner._table, state.agent, params)
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


@pytest.mark.parametrize("num_bars", [100, 5000], ids=["table", "gather"])
@pytest.mark.parametrize("torso", ["shared", "flat"])
def test_an_update_never_holds_the_features_of_its_samples(torso, num_bars):
    jaxpr, may_hold = update_program(torso, num_bars, chunk_megabytes=0.25)
    features_of_minibatch = 4 * MINIBATCH * A * F
    assert max(may_hold.values()) < features_of_minibatch / 2
    assert too_large(jaxpr, max(may_hold.values())) == []


def test_without_a_budget_the_walker_finds_them():
    jaxpr, _ = update_program("shared", 5000, chunk_megabytes=256.0)
    found = too_large(jaxpr, 4 * MINIBATCH * A * F - 1)
    assert any(f"[{MINIBATCH},{A},{F}]" in sentence for sentence in found)
