"""Quantiles of the return to come are learnt as the payoffs have them; the tail weighs as the one-period form says."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.policy.quantiles import first_bias, quantile_loss, to_quantiles
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.ppo.distribution import Tail, penalised, replaced_returns
from tests.train.worlds import compiled_update, make_learner, random_market

S, E, N = 8, 256, 64
PAYOFFS = {
    "normal": (lambda key: jax.random.normal(key, (E,)), stats.norm.ppf, 1.0),
    "lognormal": (
        lambda key: jnp.exp(jax.random.normal(key, (E,))),
        lambda p: np.exp(stats.norm.ppf(p)),
        np.sqrt((np.e - 1) * np.e),
    ),
    "two points": (
        lambda key: jnp.where(jax.random.bernoulli(key, 0.3, (E,)), 2.0, -1.0),
        lambda p: np.where(p < 0.7, -1.0, 2.0),
        3 * np.sqrt(0.21),
    ),
}


@jax.jit
def learn(payoffs):
    """Learn quantiles of what an episode of S steps pays at its end, of every state the same: it is a martingale."""
    outputs = jnp.asarray(first_bias(N))
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, len(payoffs)))

    def step(carry, inputs):
        outputs, state = carry
        key, payoff = inputs
        reward = jnp.zeros((S, E)).at[-1].set(payoff)
        last = jnp.zeros((S, E), bool).at[-1].set(True)
        following = jnp.broadcast_to(to_quantiles(outputs), (S, E, N))
        targets = replaced_returns(key, reward, following, last, ~last & False, 1.0, 0.9)
        targets = targets.reshape(-1, N)
        of_all = lambda x: jnp.broadcast_to(to_quantiles(x), targets.shape)  # noqa: E731
        grads = jax.grad(lambda x: quantile_loss(of_all(x), targets).mean())(outputs)
        changes, state = optimizer.update(grads, state)
        return (optax.apply_updates(outputs, changes), state), None

    keys = jax.random.split(jax.random.key(1), len(payoffs))
    (outputs, _), _ = jax.lax.scan(step, (outputs, optimizer.init(outputs)), (keys, payoffs))
    return to_quantiles(outputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAYOFFS)
def test_quantiles_come_to_lie_where_the_payoffs_do(name):
    draw, true, deviation = PAYOFFS[name]
    payoffs = jax.vmap(draw)(jax.random.split(jax.random.key(0), 1600))
    found = np.asarray(learn(payoffs))
    fine = (np.arange(N * 64) + 0.5) / (N * 64)
    distance = np.abs(np.repeat(found, 64) - true(fine)).mean()
    # The medians of 64 equal parts, which quantiles aim at, are .039 deviations from a lognormal law already.
    most = 0.055 if name == "lognormal" else 0.05
    assert distance <= most * deviation, f"W1 of {distance / deviation:.3f} deviations"


def test_draws_are_those_of_a_geometric_number_of_steps():
    """With a reward of 1 a step and nothing beyond, the mean draw is the λ-return; an end cuts what follows."""
    rng = np.random.default_rng(0)
    reward, following = rng.normal(size=(S, 1)), rng.normal(size=(S, 1, 2))
    terminated, truncated = np.arange(S)[:, None] == 3, np.arange(S)[:, None] == 5
    keys = jax.random.split(jax.random.key(0), 20_000)
    arrays = [jnp.asarray(x) for x in (reward, following, terminated, truncated)]
    draws = jax.jit(jax.vmap(lambda key: replaced_returns(key, *arrays, 0.9, 0.7)))(keys)
    mean = np.zeros((S, 2))
    later = following[-1, 0]
    for t in range(S - 1, -1, -1):
        ahead = 0 if terminated[t] else following[t, 0]
        if not terminated[t] and not truncated[t]:
            ahead = 0.7 * later + 0.3 * ahead
        later = mean[t] = reward[t] + 0.9 * ahead
    error = np.asarray(draws[:, :, 0].std(axis=0)) / np.sqrt(len(keys))
    assert (np.abs(np.asarray(draws[:, :, 0].mean(axis=0)) - mean) <= 5 * error + 1e-5).all()


def test_the_running_quantile_finds_the_tail():
    rng = np.random.default_rng(3)
    growth = jnp.asarray(rng.normal(0.02, 0.1, (600, 4, 32)), jnp.float32)
    done = jnp.asarray(rng.random((600, 4, 32)) < 0.25)
    step = lambda tail, x: (tail.after(*x, 0.1), tail.quantile)  # noqa: E731
    _, path = jax.jit(lambda *x: jax.lax.scan(step, Tail.create(), x))(growth, done)
    assert float(path[300:].mean()) == pytest.approx(stats.norm.ppf(0.1, 0.02, 0.1), abs=0.015)


@pytest.mark.thorough
def test_the_weight_that_pays_most_is_that_of_the_closed_form():
    """One risky asset, one period: what rewards with the penalty prefer, its quantile found on the way, within 10 %."""
    mu, sigma, alpha, eta = 0.012, 0.05, 0.1, 0.1
    rng = np.random.default_rng(4)
    returns = rng.normal(mu, sigma, 200_000).clip(-0.3, 0.3)
    hyper = dataclasses.replace(TrainConfig(tail=alpha, cvar_weight=eta)).hyper()
    weights = np.linspace(0.5, 5, 46)
    worth = []
    for weight in weights:
        growth = jnp.asarray(np.log1p(weight * returns.clip(-0.19, None)).reshape(-1, 100), jnp.float32)
        done = jnp.ones(growth.shape, bool)
        tail = Tail(quantile=jnp.quantile(growth, alpha), distance=jnp.ones(()))
        reward = penalised(growth[..., None], growth, done, tail, hyper, jnp.ones(()))
        worth.append(float(reward.mean() + eta * tail.quantile))
    found = weights[np.argmax(worth)]
    # Maximise E ln(1 + w r) + η CVaR by numbers of its own: the mean of the worst tenth is an integral of quantiles.
    grid = np.linspace(0.5, 5, 451)
    quantiles = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000, mu, sigma).clip(-0.19, 0.3)
    growths = np.log1p(grid[:, None] * quantiles)
    closed = grid[np.argmax(growths.mean(axis=1) + eta * growths[:, : int(alpha * 20_000)].mean(axis=1))]
    neutral = grid[np.argmax(growths.mean(axis=1))]
    assert abs(found / closed - 1) < 0.1 and closed < 0.9 * neutral


@pytest.mark.thorough
def test_an_update_learns_quantiles_beside_the_mean_and_counts_the_tail():
    config = TrainConfig(
        num_envs=8,
        rollout_length=16,
        num_minibatches=2,
        num_epochs=2,
        cvar_weight=0.5,
        policy=PolicyConfig(hidden=(8,), width=8, quantiles=8, credit="joint"),
        ratio="joint",
    )
    learner, params, hyper = make_learner(config, random_market(), EnvConfig(episode_length=10))
    state = learner.init(jax.random.key(0), params)
    after, metrics = compiled_update(learner)(state, params, hyper)
    assert np.isfinite(float(metrics["quantile_loss"])) and float(after.tail.distance) > 0
    plain = dataclasses.replace(config, cvar_weight=0.0, policy=dataclasses.replace(config.policy, quantiles=0))
    learner, params, hyper = make_learner(plain, random_market(), EnvConfig(episode_length=10))
    without = learner.init(jax.random.key(0), params)
    assert without.tail is None
    _, other = compiled_update(learner)(without, params, hyper)
    assert "quantile_loss" not in other
    # The same rollout, and the same mean critic before any step.
    assert float(metrics["episode_return_mean"]) == pytest.approx(float(other["episode_return_mean"]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cvar_weight": 1.0, "algorithm": "pathwise"}, "a part of PPO"),
        ({"cvar_weight": 1.0, "advantage": "position"}, "judges how episodes end"),
        ({"policy": PolicyConfig(quantiles=8), "algorithm": "mixed"}, "a part of PPO"),
    ],
)
def test_what_they_do_not_go_with(changes, said):
    with pytest.raises(ValueError, match=said):
        TrainConfig(**changes)
