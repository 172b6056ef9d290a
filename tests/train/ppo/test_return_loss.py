"""The auxiliary loss on returns: its labels, what they leave alone, and that a network learns by it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.market.experts.ridge_fit import HORIZONS, forward_scores
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.synthetic.planted import planted_panel
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.loop import train
from ploutos_jax.train.ppo.gradients import minibatch_gradients
from ploutos_jax.train.ppo.return_loss import of_table, return_errors, return_labels
from tests.evaluate.backtest.test_baselines import ragged_panel
from tests.train.ppo.test_gradients import HUGE, PAIRS, make_case

LONGEST = max(HORIZONS)


@pytest.fixture(scope="module")
def ragged():
    """Missing bars, a late listing, an end, splits and dividends."""
    return build_market(ragged_panel(), "minimal")


@pytest.mark.thorough
def test_labels_are_those_of_the_regression_horizon_by_horizon(ragged):
    labels = np.asarray(return_labels(ragged))
    for place, k in enumerate(HORIZONS):
        exact = forward_scores(ragged, [k])
        np.testing.assert_array_equal(np.isfinite(labels[..., place]), np.isfinite(exact))
        np.testing.assert_allclose(labels[..., place], exact, atol=2e-3)
    assert np.isnan(labels[-1]).all() and np.isfinite(labels[-3, :, 0]).any()


@pytest.mark.thorough
def test_labels_know_nothing_beyond_their_horizon_or_their_path(ragged):
    labels = np.asarray(return_labels(ragged))
    row = 200
    later = np.arange(ragged.num_bars)[:, None] > row
    moved = ragged.replace(
        **{name: jnp.where(later, getattr(ragged, name) * 2, getattr(ragged, name)) for name in ("open", "close")}
    )
    changed = np.asarray(return_labels(moved))
    for place, k in enumerate(HORIZONS):
        np.testing.assert_allclose(changed[: row - k, :, place], labels[: row - k, :, place], atol=1e-5)
    ends = np.where(np.arange(ragged.num_bars) <= row, row, ragged.num_bars - 1).astype(np.int32)
    parted = np.asarray(return_labels(ragged.replace(path_end=jnp.asarray(ends))))
    for place, k in enumerate(HORIZONS):
        assert np.isnan(parted[row - k : row + 1, :, place]).all()


@pytest.mark.thorough
def test_one_asset_is_compared_with_its_own_past():
    market = build_market(planted_panel(jax.random.key(0), 1, 300, 0.3), ())
    labels = np.asarray(return_labels(market))
    np.testing.assert_allclose(labels[..., 1], forward_scores(market, [5]), atol=2e-3)


def case_with_head(mode="shared"):
    network, agent, market, samples, hyper, config = make_case("shared", "per_asset", "discrete", False)
    policy = dataclasses.replace(config.policy, return_loss=0.3)
    network = dataclasses.replace(network, model=network.model.clone(config=policy))
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), market.num_features))
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.4, x.shape), jnp.float32), shapes)
    return network, agent.replace(network=params), market, samples, hyper, dataclasses.replace(config, policy=policy)


def gradients(case, mode, labels, chunk_bytes=HUGE):
    network, agent, market, samples, hyper, config = case
    network = dataclasses.replace(network, chunk_bytes=chunk_bytes)
    return minibatch_gradients(network, agent, market, samples, jnp.asarray(PAIRS), hyper, config, mode, labels=labels)


def largest(tree) -> float:
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


@pytest.mark.thorough
def test_its_gradient_joins_that_of_ppo_and_labels_that_are_missing_have_none():
    case = case_with_head()
    network, agent, market = case[:3]
    labels = jnp.asarray(np.random.default_rng(2).normal(size=(*market.close.shape, 3)), jnp.float32)
    none = jnp.full(labels.shape, jnp.nan)
    plain, _ = gradients(case, "table", None)
    blank, sums = gradients(case, "table", none)
    assert largest(jax.tree.map(lambda a, b: a - b, plain, blank)) == 0 and float(sums.returns) == 0
    joined, sums = gradients(case, "table", labels)

    def loss(params):
        rows = network.encode(params, agent.scaling, market.features, market.tradable)
        return 0.3 * return_errors(network, params, rows, labels).mean()

    alone = jax.grad(loss)(agent.network)
    difference = jax.tree.map(lambda a, b, c: a - b - c, joined, plain, alone)
    assert largest(difference) < 1e-5 * max(largest(joined), 1)
    assert float(sums.returns) == pytest.approx(float(loss(agent.network)) / 0.3, rel=1e-5)
    gathered, _ = gradients(case, "gather", none)
    assert largest(jax.tree.map(lambda a, b: a - b, gathered, plain)) < 1e-5 * max(largest(plain), 1)


@pytest.mark.thorough
def test_samples_that_are_gathered_in_chunks_give_the_gradient_of_one_piece():
    case = case_with_head()
    labels = jnp.asarray(np.random.default_rng(2).normal(size=(*case[2].close.shape, 3)), jnp.float32)
    labels = labels.at[::3].set(jnp.nan)
    whole, one = gradients(case, "gather", labels)
    parts, other = gradients(case, "gather", labels, 2500)
    assert largest(jax.tree.map(lambda a, b: a - b, whole, parts)) < 1e-5 * max(largest(whole), 1)
    assert float(one.returns) == pytest.approx(float(other.returns), rel=1e-5)


@pytest.mark.thorough
def test_a_market_stage_learns_what_a_hint_tells():
    market = build_market(planted_panel(jax.random.key(0), 6, 400, 0.5), ())
    env = TradingEnv(EnvConfig(action="bands", stop_loss=None, take_profit=None, episode_length=60))
    policy = PolicyConfig(hidden=(8,), width=8, return_loss=1.0)
    config = TrainConfig(num_envs=8, rollout_length=16, total_timesteps=128 * 40, learning_rate=1e-2, policy=policy)
    figures = []
    agent = train(config, market, env, observers=[lambda seen: figures.extend(row["return_loss"] for row in seen.rows)])
    labels = return_labels(market)
    rows = agent.network.encode(agent.params.network, agent.params.scaling, market.features, market.tradable)
    forecast = agent.network.model.apply(agent.params.network, rows, method="forecast_returns")
    known = np.isfinite(np.asarray(labels[..., 0]))
    assert np.corrcoef(np.asarray(forecast[..., 0])[known], np.asarray(labels[..., 0])[known])[0, 1] > 0.3
    assert figures[-1] < figures[0]
    value, grads, _ = of_table(agent.network, agent.params.network, rows, labels)
    assert np.isfinite(value) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_it_is_refused_where_there_is_no_asset_to_forecast_of_or_no_loss_to_join():
    with pytest.raises(ValueError, match="return_loss=0.1 forecasts by what the market stage says of each asset"):
        PolicyConfig(torso="flat", credit="joint", return_loss=0.1)
    with pytest.raises(ValueError, match="return_loss=0.1 is a part of PPO's loss, which algorithm='pathwise'"):
        TrainConfig(algorithm="pathwise", policy=PolicyConfig(return_loss=0.1))
