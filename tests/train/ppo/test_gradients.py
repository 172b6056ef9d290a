"""The chunked two-stage gradient against `jax.grad` of the same loss written in one piece."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.scaling import ObservationScaling, RunningMoments, fit_features
from ploutos_jax.env.observation import ACCOUNT_FIELDS, ASSET_FIELDS
from ploutos_jax.env.types import Observation
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.learning import table_gradients
from ploutos_jax.train.learning.table_gradients import add_to_rows, pairs_per_chunk
from ploutos_jax.train.ppo.gradients import Samples, minibatch_gradients
from tests.marks import thorough_but
from tests.train.worlds import LITTLE_OPTIMISED, TORSOS, largest_difference, random_market

T, A, F, S, E = 41, 3, 4, 16, 6
PAIRS = np.array([9, 0, 4, 11, 2, 7, 5])
HUGE, TINY = 2**28, 2500


@functools.cache
def make_case(torso, ratio, action, x64):
    """Return everything that a gradient takes, in single or double precision, with a random policy and rollout."""
    with jax.enable_x64(x64):
        return draw_case(torso, ratio, action)


def draw_case(torso, ratio, action):
    rng = np.random.default_rng(0)
    market = jax.tree.map(jnp.asarray, random_market(num_bars=T, num_assets=A, num_features=F, missing=0.25))
    market = jax.tree.map(lambda x: x.astype(float) if x.dtype == jnp.float32 else x, market)
    config = TrainConfig(
        num_envs=E,
        rollout_length=S,
        num_minibatches=2,
        ratio=ratio,
        policy=dataclasses.replace(TORSOS[torso], credit=ratio),
    )
    network = Network.create(config.policy, action, A, HUGE)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), F))
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.4, x.shape)), shapes)

    def moments(size):
        mean, deviation = rng.normal(0, 0.3, size), rng.uniform(0.3, 1, size)
        return RunningMoments.create(size).merge(1e4, jnp.asarray(mean), jnp.asarray(deviation**2))

    scaling = ObservationScaling(
        features=fit_features(market.features, market.tradable),
        assets=moments(len(ASSET_FIELDS)),
        account=moments(len(ACCOUNT_FIELDS)),
    )
    agent = AgentParams(network=params, scaling=scaling)
    observation = Observation(
        t=jnp.asarray(rng.integers(0, T, (S, E)), jnp.int32),
        positions=jnp.asarray(rng.normal(size=(S, E, A, 2)), jnp.float16),
        levels=jnp.asarray(rng.integers(0, 256, (S, E, A, 3)), jnp.uint8),
        account=jnp.asarray(rng.normal(size=(S, E, len(ACCOUNT_FIELDS))), jnp.float16),
    )
    drawn = rng.integers(0, 3, (S, E, A)) if action == "discrete" else rng.normal(size=(S, E, A))
    width = A if ratio == "per_asset" else 1
    samples = Samples(
        observation=observation,
        action=jnp.asarray(drawn, network.head.action_dtype),
        log_prob=jnp.asarray(rng.normal(-1.1 * A / width, 0.3, (S, E, width))),
        advantage=jnp.asarray(rng.normal(0.5, 2, (S, E, network.model.num_values))),
        target=jnp.asarray(rng.normal(size=(S, E, network.model.num_values))),
        value=None,
    )
    return network, agent, market, samples, jax.tree.map(jnp.asarray, config.hyper()), config


def plain_loss(params, network, agent, market, samples, hyper, ratio):
    """Return the PPO loss of the minibatch: every sample's features, one network, one mean."""
    length = 8
    steps = (PAIRS // E * length)[:, None] + np.arange(length)
    pick = lambda x: x[steps, PAIRS[:, None] % E].reshape(-1, *x.shape[2:])  # noqa: E731
    obs, scaling = jax.tree.map(pick, samples.observation), agent.scaling
    mask = market.tradable[obs.t]
    outputs, value = network.model.apply(
        params, scaling.features(market.features[obs.t]), mask, scaling.assets(obs.assets), scaling.account(obs.account)
    )
    action = pick(samples.action)
    if outputs.shape[-1] == 3:
        log_p = jax.nn.log_softmax(outputs)
        entropy = -(jnp.exp(log_p) * log_p).sum(-1)
        log_prob = jnp.take_along_axis(log_p, action[..., None].astype(int), axis=-1)[..., 0]
    else:
        log_deviation = jnp.clip(outputs[..., 1], -5, 1)
        standard = (action - outputs[..., 0]) / jnp.exp(log_deviation)
        log_prob = -0.5 * standard**2 - log_deviation - 0.5 * np.log(2 * np.pi)
        entropy = 0.5 * np.log(2 * np.pi * np.e) + log_deviation
    count = jnp.maximum(mask.sum(-1), 1)
    advantage = pick(samples.advantage)
    by_asset = advantage.shape[-1] == mask.shape[-1]
    seen = mask.astype(advantage.dtype) if by_asset else jnp.ones_like(advantage)
    mean = (advantage * seen).sum() / seen.sum()
    deviation = jnp.sqrt((((advantage - mean) ** 2) * seen).sum() / seen.sum())
    advantage = (advantage - mean) / (deviation + 1e-8)
    old = pick(samples.log_prob)
    if ratio == "joint":
        rho = jnp.exp((log_prob * mask).sum(-1, keepdims=True) - old)
        weight = jnp.ones_like(rho)
    else:
        rho = jnp.exp(log_prob - old * mask)
        weight = mask / count[:, None]
    clipped = jnp.clip(rho, 1 - hyper.clip_range, 1 + hyper.clip_range)
    policy = -(jnp.minimum(rho * advantage, clipped * advantage) * weight).sum(-1).mean()
    errors = (value - pick(samples.target)) ** 2
    value_loss = 0.5 * ((errors * seen).sum(-1) / jnp.maximum(seen.sum(-1), 1)).mean()
    entropy = ((entropy * mask).sum(-1) / count).mean()
    total = policy + hyper.value_coef * value_loss - hyper.entropy_coef * entropy
    return total, {"policy": policy, "value": value_loss, "entropy": entropy}


@functools.cache
def plain_gradient(torso, ratio, action, x64):
    with jax.enable_x64(x64):
        network, agent, market, samples, hyper, _ = make_case(torso, ratio, action, x64)
        gradient = jax.jit(jax.grad(plain_loss, has_aux=True), static_argnums=(1, 6), compiler_options=LITTLE_OPTIMISED)
        return jax.device_get(gradient(agent.network, network, agent, market, samples, hyper, ratio))


def chunked_gradient(torso, ratio, action, x64, mode, chunk_bytes):
    with jax.enable_x64(x64):
        network, agent, market, samples, hyper, config = make_case(torso, ratio, action, x64)
        network = dataclasses.replace(network, chunk_bytes=chunk_bytes)
        gradient = jax.jit(minibatch_gradients, static_argnums=(0, 6, 7), compiler_options=LITTLE_OPTIMISED)
        return jax.device_get(gradient(network, agent, market, samples, jnp.asarray(PAIRS), hyper, config, mode))


def assert_matches(found, expected, tolerance):
    grads, sums = found
    expected_grads, losses = expected
    assert largest_difference(grads, expected_grads) < tolerance
    for name, loss in losses.items():
        np.testing.assert_allclose(getattr(sums, name), loss, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("torso", "ratio", "mode"),
    [
        ("flat", "per_asset", "table"),
        ("flat", "joint", "gather"),
        ("shared", "per_asset", "gather"),
        ("shared", "joint", "table"),
        pytest.param("flat", "per_asset", "gather", marks=pytest.mark.slow),
        pytest.param("flat", "joint", "table", marks=pytest.mark.slow),
        pytest.param("shared", "per_asset", "table", marks=pytest.mark.slow),
        pytest.param("shared", "joint", "gather", marks=pytest.mark.slow),
    ],
)
def test_gradient_in_chunks_is_that_of_the_plain_loss(torso, ratio, mode):
    case = (torso, ratio, "discrete", True)
    assert_matches(chunked_gradient(*case, mode, TINY), plain_gradient(*case), 1e-10)


@pytest.mark.parametrize(
    ("torso", "mode"), [("flat", "table"), pytest.param("shared", "gather", marks=pytest.mark.slow)]
)
def test_gradient_in_one_piece_is_that_of_the_plain_loss(torso, mode):
    case = (torso, "per_asset", "discrete", True)
    assert_matches(chunked_gradient(*case, mode, HUGE), plain_gradient(*case), 1e-10)


@pytest.mark.parametrize(
    ("torso", "mode"),
    [
        ("shared", "table"),
        pytest.param("shared", "gather", marks=pytest.mark.slow),
        pytest.param("flat", "table", marks=pytest.mark.slow),
        pytest.param("flat", "gather", marks=pytest.mark.slow),
    ],
)
def test_gradient_in_single_precision(torso, mode):
    case = (torso, "per_asset", "discrete")
    assert_matches(chunked_gradient(*case, False, mode, TINY), plain_gradient(*case, True), 1e-5)


def test_gradient_for_weights():
    case = ("shared", "joint", "weights", True)
    assert_matches(chunked_gradient(*case, "table", TINY), plain_gradient(*case), 1e-10)


@pytest.mark.parametrize("torso", ["flat", "shared"])
@pytest.mark.parametrize("mode", ["table", "gather"])
def test_the_small_budget_makes_several_chunks_with_padding(torso, mode):
    network, _, market, *_ = make_case(torso, "joint", "discrete", True)
    network = dataclasses.replace(network, chunk_bytes=TINY)
    per_chunk = pairs_per_chunk(network, market, 8, mode)
    assert 1 < per_chunk < len(PAIRS) and len(PAIRS) % per_chunk
    rows = TINY // network.row_bytes(F)
    assert 1 < rows < T and T % rows and not market.tradable.all()


@pytest.mark.parametrize("shape", thorough_but([(40,)], [(40,), (7, 3)]))
def test_rows_added_by_a_product_are_those_added_one_by_one(shape, monkeypatch):
    """What a GPU is given where results must repeat, against sums in double precision."""
    rng = np.random.default_rng(5)
    t = rng.integers(0, 11, 300)
    rows = (rng.normal(size=(300, *shape)) * 10.0 ** rng.integers(-6, 6, (300, *([1] * len(shape))))).astype(np.float32)
    table = rng.normal(size=(11, *shape)).astype(np.float32)
    expected = table.astype(np.float64)
    np.add.at(expected, t, rows.astype(np.float64))
    scale = np.abs(table).astype(np.float64)
    np.add.at(scale, t, np.abs(rows).astype(np.float64))
    for asked in (True, False):
        monkeypatch.setattr(table_gradients, "asked_to_repeat", lambda asked=asked: asked)
        added = jax.jit(lambda *inputs: add_to_rows(*inputs))(table, t, rows)
        assert added.dtype == np.float32
        assert (np.abs(added - expected) / scale).max() < 2e-6
