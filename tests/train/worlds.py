"""Small markets and learners for the tests of training; those that use the same learner share its compiled update."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.agents.network import Network
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.market.instrument import US_EQUITY, Instrument
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.config import Hyper, TrainConfig
from ploutos_jax.train.ppo.learner import Learner

FLAT = PolicyConfig(torso="flat", hidden=(16, 8))
SHARED = PolicyConfig(torso="shared", hidden=(12, 8), width=8)
TORSOS = {"flat": FLAT, "shared": SHARED}

LITTLE_OPTIMISED = {"xla_backend_optimization_level": 0}
"""Compiler options for programs that run once: compiling takes half the time."""


def random_market(
    seed: int = 0, num_bars: int = 80, num_assets: int = 3, num_features: int = 4, missing: float = 0.1
) -> Market:
    """Draw a market of random walks with normal features; a share of the bars is missing, each asset's own."""
    rng = np.random.default_rng(seed)
    shape = (num_bars, num_assets)
    tradable = rng.random(shape) >= missing
    close = 100 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=0))
    opens = close * np.exp(0.005 * rng.standard_normal(shape))
    features = rng.standard_normal((*shape, num_features)) * tradable[..., None]
    prices = {
        "open": opens,
        "high": np.maximum(opens, close) * 1.005,
        "low": np.minimum(opens, close) * 0.995,
        "close": close,
        "volume": np.full(shape, 1e6),
    }
    return Market(
        **{name: x.astype(np.float32) for name, x in prices.items()},
        tradable=tradable,
        delisted=None,
        sessions=np.arange(num_bars, dtype=np.int32) + 18_000,
        path_end=np.full(num_bars, num_bars - 1, np.int32),
        features=features.astype(np.float32),
        labels=Labels(
            symbols=tuple(f"S{i}" for i in range(num_assets)),
            sectors=("Unknown",) * num_assets,
            times=np.datetime64("2019-04-14", "ns") + np.arange(num_bars) * np.timedelta64(1, "D"),
            instruments=(Instrument(US_EQUITY),) * num_assets,
        ),
        feature_names=tuple(f"f{i}" for i in range(num_features)),
    )


def make_learner(config: TrainConfig, market: Market, env: EnvConfig) -> tuple[Learner, EnvParams, Hyper]:
    """Return a learner with the numbers that its update takes, as `train` would make them."""
    trading = TradingEnv(env)
    sizes = config.policy, env.action, market.num_assets, config.chunk_bytes
    network = Network.create(*sizes, observation=env.observation)
    hyper = jax.tree.map(jnp.float32, config.hyper())
    return Learner(config=config, env=trading, network=network), trading.default_params(market), hyper


@functools.cache
def compiled_update(learner: Learner) -> Any:
    """Return the learner's update, compiled once."""
    return jax.jit(learner.update, compiler_options=LITTLE_OPTIMISED)


def largest_difference(a: Any, b: Any) -> float:
    """Return the largest difference between the leaves of two trees, relative to the largest value of each leaf."""
    worst = 0.0
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        worst = max(worst, float(np.abs(x - y).max() / max(np.abs(y).max(), 1e-30)))
    return worst


def assert_identical(a: Any, b: Any) -> None:
    """Make sure that two trees hold the same bits."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), y in zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype, path
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y), err_msg=jax.tree_util.keystr(path))
