"""Banks: whole markets drawn inside a compiled program, whose paths know nothing of each other."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents.network import Network
from ploutos_jax.agents.scaling import ObservationScaling, RunningMoments, fit_features
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.sectors import sector_columns
from ploutos_jax.market.synthetic.multi_path import MarketSpec, draw_bank, draw_market, make_market
from ploutos_jax.market.synthetic.params import SyntheticParams, scale_volatility
from ploutos_jax.market.synthetic.returns import draw_assets, usual_volatility
from ploutos_jax.policy.actor_critic import PolicyConfig

RECIPE = MarketSpec(num_assets=5, num_bars=90, num_paths=3, features="core")
EPISODE = 20


@pytest.fixture(scope="module")
def draw():
    return jax.jit(lambda key: draw_market(key, RECIPE))


@pytest.fixture(scope="module")
def market(draw):
    return draw(jax.random.key(7))


@pytest.fixture(scope="module")
def make():
    """Features and what the broker knows, from a panel that is an argument."""
    path_end = draw_bank(jax.random.key(0), dataclasses.replace(RECIPE, num_bars=90)).path_end
    return jax.jit(lambda panel: make_market(panel.replace(path_end=path_end), RECIPE))


@pytest.fixture(scope="module")
def panel():
    return draw_bank(jax.random.key(7), RECIPE).replace(path_end=None)


@pytest.mark.thorough
def test_a_bank_is_a_whole_market_of_finite_numbers(market):
    assert market.features.shape[:2] == (270, 5) and market.num_features > 20
    assert all(np.isfinite(np.asarray(leaf, np.float64)).all() for leaf in jax.tree.leaves(market))
    np.testing.assert_array_equal(market.path_end, np.repeat([89, 179, 269], 90))
    np.testing.assert_array_equal(market.sector, sector_columns(RECIPE.labels.sectors))
    for name in ("atr", "volatility", "adv", "spread_scale"):
        assert getattr(market, name).shape == (270, 5)
    assert market.delisted is None and len(RECIPE.labels.times) == 270


@pytest.mark.thorough
def test_the_key_alone_decides_and_one_program_serves_all_keys(draw, market):
    again = draw(jax.random.key(7))
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(market), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(draw(jax.random.key(8)).close, market.close)
    assert draw._cache_size() == 1


@pytest.mark.thorough
def test_a_bank_is_what_build_market_makes_of_its_panel(market, panel):
    path = build_market(jax.tree.map(lambda x: x[90:180], panel), "core")
    for name in ("features", "atr", "volatility", "adv"):
        np.testing.assert_allclose(getattr(market, name)[90:180], getattr(path, name), rtol=2e-4, atol=2e-5)


@pytest.fixture(scope="module")
def disturbed(panel):
    """The panel with every bar of its middle path changed."""
    rng = np.random.default_rng(0)
    factor = np.ones((270, 5), np.float32)
    factor[90:180] = np.exp(np.cumsum(rng.normal(0, 0.1, (90, 5)), axis=0))
    prices = {name: np.asarray(getattr(panel, name)) * factor for name in ("open", "high", "low", "close")}
    return panel.replace(**prices, volume=np.asarray(panel.volume) * factor, spread_scale=panel.spread_scale * factor)


@pytest.mark.thorough
def test_no_indicator_observation_or_encoding_looks_across_a_path(make, panel, disturbed):
    """Changing one path leaves every other the same to the last bit."""
    before, after = make(panel), make(disturbed)
    kept = np.r_[0:90, 180:270]
    for name in ("features", "atr", "volatility", "adv", "close", "spread_scale", "volume"):
        values, changed = (np.asarray(getattr(market, name)) for market in (before, after))
        np.testing.assert_array_equal(values[kept], changed[kept])
        assert not np.array_equal(values[90:180], changed[90:180])

    network = Network.create(PolicyConfig(hidden=(8,), width=4), "discrete", 5, 2**20)
    features, unused = fit_features(before.features, before.tradable), RunningMoments.create(1)
    scaling = ObservationScaling(features=features, assets=unused, account=unused)
    weights = network.init(jax.random.key(0), before.num_features)
    tables = [network.encode(weights, scaling, each.features, each.tradable) for each in (before, after)]
    for a, b in zip(*map(jax.tree.leaves, tables), strict=True):
        np.testing.assert_array_equal(a[kept], b[kept])
        assert not np.array_equal(a[90:180], b[90:180])

    env = TradingEnv(EnvConfig(action="weights", episode_length=EPISODE))
    shown = [_last_account(env, each) for each in (before, after)]
    for a, b in zip(*map(jax.tree.leaves, shown), strict=True):
        np.testing.assert_array_equal(np.asarray(a)[[0, 2]], np.asarray(b)[[0, 2]])


def _last_account(env, market):
    """Return what is seen, and equity, at the end of an episode that ends with its path; one for each path."""
    params = env.default_params(market.replace(delisted=None))
    assert max(np.asarray(params.starts)) == 270 - 1 - EPISODE
    weights = jnp.full(market.num_assets, 1 / market.num_assets)

    def play(end):
        obs, state = env.reset_at(end - EPISODE, end, params)

        def step(carry, _):
            obs, state, *_ = env.step_env(jax.random.key(0), carry[1], weights, params)
            return (obs, state), None

        (obs, state), _ = jax.lax.scan(step, (obs, state), None, length=EPISODE)
        return obs, state.equity

    return jax.jit(jax.vmap(play))(jnp.array([89, 179, 269]))


@pytest.mark.thorough
def test_jitter_gives_each_path_its_own_numbers():
    still, shaken = (
        draw_bank(jax.random.key(3), dataclasses.replace(RECIPE, num_bars=90, jitter=jitter)) for jitter in (0.0, 0.2)
    )
    assert not np.allclose(still.close, shaken.close)
    with pytest.raises(ValueError, match=r"jitter=1.5 must lie in \[0, 1\)"):
        draw_bank(jax.random.key(3), dataclasses.replace(RECIPE, jitter=1.5))


def test_path_end_inside_a_program_must_be_known_to_it(panel):
    with pytest.raises(ValueError, match="Inside jit, path_end must be a NumPy array"):
        jax.jit(lambda x: build_market(x, "minimal"))(panel.replace(path_end=jnp.full(270, 269)))


@pytest.mark.thorough
def test_volatility_of_each_path_is_scaled_about_the_mean_of_its_regimes(panel):
    """With the same key: log returns are `mean + factor (return - mean)`, one factor a path."""
    recipe = dataclasses.replace(RECIPE, volatility_jitter=0.4)
    scaled = draw_bank(jax.random.key(7), recipe)
    scaled.validate()
    factors = []
    for path in range(3):
        rows = slice(90 * path, 90 * path + 90)
        one, other = (np.diff(np.log(np.asarray(p.close, np.float64)[rows]), axis=0) for p in (panel, scaled))
        # The mean of a regime is some thousandth part of a volatility's square: a line fits to rounding and a hair.
        slope, offset = np.polyfit(one.ravel(), other.ravel(), 1)
        assert np.abs(other - slope * one - offset).max() < 6e-4 and np.abs(offset) < 3e-4
        factors.append(slope)
        ranges = [np.log(np.asarray(p.high)[rows] / np.asarray(p.low)[rows]) for p in (panel, scaled)]
        np.testing.assert_allclose(ranges[1], slope * ranges[0], rtol=0.1, atol=1e-3)
    assert min(factors) >= 0.6 and max(factors) <= 1.4 and np.ptp(factors) > 0.02


def test_scaled_numbers_keep_every_mean_and_scale_every_volatility():
    params = SyntheticParams()
    scaled = scale_volatility(params, jnp.float32(1.3))
    means = [np.add(x.drift, np.multiply(x.jump_rate, x.jump_mean)) for x in (params, scaled)]
    np.testing.assert_allclose(means[1], means[0], atol=1e-9)
    assets = draw_assets(jax.random.key(0), params, 5)
    wider = draw_assets(jax.random.key(0), scaled, 5)
    ratio = usual_volatility(scaled, wider) / usual_volatility(params, assets)
    np.testing.assert_allclose(ratio, 1.3, rtol=1e-5)
