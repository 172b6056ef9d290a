"""Rewards: each against its definition, what they remember of an episode, and how several are added up."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env import rewards
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rewards import REWARDS, resolve_reward
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvState
from tests.env.scenes import BUY_BOTH, BUY_ONE, FLAT, near, trade
from tests.env.worlds import make_config, random_actions, random_market, simulate

ETA, PRIOR = 1 / 252, 0.01
LEAN: dict[str, Any] = {"fees": "none", "tick_size": None, "stop_loss": None, "take_profit": None}
CONFIG = make_config(
    reward="differential_sharpe, differential_downside, five_term, sortino_bonus, drawdown_increment",
    bars_per_year=252.0,
)


def relive(
    returns: np.ndarray, names: tuple[str, ...], *, num_trades: int = 0, reward_scaling: float = 1.0
) -> dict[str, np.ndarray]:
    """Lead an account through returns `[S, N]`; give each reward after each step, `[S, N]`, in float64."""
    with jax.enable_x64(True):
        env = TradingEnv(CONFIG)
        params = env.default_params(random_market(0, dtype=np.float64)).replace(
            reward_scaling=jnp.float64(reward_scaling)
        )
        _, begun = env.reset_at(0, len(returns), params)

        def step(before: EnvState, ret: jax.Array) -> tuple[EnvState, Any]:
            equity = before.equity * (1 + ret)
            peak = jnp.maximum(before.peak_equity, equity)
            after = before.replace(equity=equity, peak_equity=peak, t=before.t + 1)
            none = jnp.zeros(())
            after = rewards.update_reward_state(CONFIG.reward_terms, params, before, after, none, jnp.int32(num_trades))
            return after, {name: REWARDS[name](before, after) for name in names}

        run = jax.jit(jax.vmap(lambda path: jax.lax.scan(step, begun, path)[1], in_axes=1, out_axes=1))
        return jax.device_get(run(jnp.asarray(returns)))


def averages(returns: np.ndarray) -> list[tuple[float, float, float]]:
    """Return the moving averages of R, R² and min(R, 0)² before each return."""
    mean, square, downside = 0.0, PRIOR**2, PRIOR**2 / 2
    rows = []
    for ret in returns:
        rows.append((mean, square, downside))
        mean += ETA * (ret - mean)
        square += ETA * (ret**2 - square)
        downside += ETA * (min(ret, 0) ** 2 - downside)
    return rows


RETURNS = np.random.default_rng(0).normal(5e-4, 0.01, 400)


def slope(ratio: Any) -> float:
    """Return the derivative of a function of eta at 0."""
    return (ratio(1e-6) - ratio(-1e-6)) / 2e-6


def test_differential_sharpe_is_the_derivative_of_the_sharpe_ratio_by_eta():
    found = relive(RETURNS[:, None], ("differential_sharpe",))["differential_sharpe"][:, 0]
    for ret, (a, b, _), value in zip(RETURNS, averages(RETURNS), found, strict=True):

        def ratio(eta: float, ret: float = ret, a: float = a, b: float = b) -> float:
            mean, square = a + eta * (ret - a), b + eta * (ret**2 - b)
            return mean / np.sqrt(square - mean**2)

        assert value == pytest.approx(slope(ratio), rel=1e-6, abs=1e-7)


def test_differential_downside_is_the_derivative_of_the_downside_ratio_by_eta():
    found = relive(RETURNS[:, None], ("differential_downside",))["differential_downside"][:, 0]
    for ret, (a, _, d), value in zip(RETURNS, averages(RETURNS), found, strict=True):

        def ratio(eta: float, ret: float = ret, a: float = a, d: float = d) -> float:
            return (a + eta * (ret - a)) / np.sqrt(d + eta * (min(ret, 0) ** 2 - d))

        assert value == pytest.approx(slope(ratio), rel=1e-6, abs=1e-7)


def test_the_first_differential_reward_is_finite_and_on_scale():
    found = relive(np.array([[0.01, -0.01, 0.0, 0.5, -0.5]]), ("differential_sharpe", "differential_downside"))
    assert found["differential_sharpe"][0] == near([1, -1, 0, 10, -10])
    downside = 0.01 / np.sqrt(PRIOR**2 / 2)
    assert found["differential_downside"][0] == near([downside, -downside, 0, 10, -10])


def test_differential_rewards_of_one_distribution_have_a_deviation_of_one():
    returns = np.random.default_rng(1).normal(0, 0.01, (1000, 60))
    found = relive(returns, ("differential_sharpe", "differential_downside"))
    assert found["differential_sharpe"].std() == pytest.approx(1.0, abs=0.02)
    assert 1.2 < found["differential_downside"].std() < 1.7
    assert np.abs(found["differential_sharpe"]).max() < 6


def test_differential_downside_does_not_punish_gains_as_differential_sharpe_does():
    path = np.r_[np.tile([0.01, -0.002], 200), 0.0][:, None] * np.ones(2)
    path[-1] = [0.02, 0.08]
    found = relive(path, ("differential_sharpe", "differential_downside"))
    small, large = found["differential_sharpe"][-1]
    assert large < small
    small, large = found["differential_downside"][-1]
    assert large > small


def test_drawdown_increments_add_up_to_each_decline():
    path = np.array([0.1, -0.05, -0.10, 0.03, -0.05, 0.3, -0.2])
    found = relive(path[:, None], ("drawdown_increment",))["drawdown_increment"][:, 0]
    equity = np.cumprod(1 + path)
    fall = 1 - equity / np.maximum.accumulate(np.r_[1, equity])[1:]
    assert found == near(-np.maximum(np.diff(np.r_[0, fall]), 0))
    assert found[1:3].sum() == near(-(1 - 0.95 * 0.90))
    assert found[3] == found[5] == 0  # a recovery costs nothing


def sortino(returns: np.ndarray) -> float:
    return returns.mean() / np.sqrt((np.minimum(returns, 0) ** 2).mean()) * np.sqrt(252)


def test_sortino_bonus_comes_at_the_end_and_needs_five_losing_bars():
    four, five = np.full(40, 0.001), np.full(40, 0.001)
    four[[3, 9, 20, 31]], five[[3, 9, 20, 31, 38]] = -0.02, -0.008
    wild = np.full(40, 0.02)
    wild[[3, 9, 20, 31, 38]] = -0.001
    found = relive(np.stack([four, five, wild, -wild], axis=1), ("sortino_bonus",))["sortino_bonus"]
    assert not found[:-1].any()
    assert found[-1] == near([0, sortino(five), 3, -3])


def test_five_term_reward_by_hand():
    # 30 quiet returns, so that the rest has a Sharpe ratio.
    path = np.r_[np.tile([-0.001, 0.0005], 15), 0.03, -0.05, -0.08, 0.001, 0.0199, 0.0201]
    one, many = (relive(path[:, None], ("five_term",), num_trades=n)["five_term"][:, 0] for n in (1, 4))
    equity = np.cumprod(1 + path)
    fall = 1 - equity / np.maximum.accumulate(np.r_[1, equity])[1:]
    expected = []
    for i, ret in enumerate(path):
        so_far = path[: i + 1]
        sharpe = so_far.mean() / so_far.std() * np.sqrt(252) if i >= 29 else 0.0
        reward = 100 * ret - (10 * fall[i] if fall[i] > 0.10 else 0) + min(0.1 * sharpe, 0) + 0.5 * (ret > 0.02)
        expected.append(reward)
    assert (fall > 0.10).any() and (fall[fall > 0] < 0.10).any() and expected[29] < -0.3
    assert one == near(expected)
    assert many == near(np.array(expected) - 0.04)


@pytest.mark.parametrize(
    "path",
    [
        np.where(np.arange(29) % 2, -0.0010, -0.0011),
        -1e-5 * (1 + 1e-3 * np.arange(29)),
        np.r_[0.0, 0.0, np.full(27, -1e-7)],
    ],
    ids=["a slow fall", "a fall that hardly changes", "costs of an idle account"],
)
def test_few_returns_have_no_sharpe_ratio(path: np.ndarray):
    found = relive(path[:, None], ("five_term",), num_trades=1)["five_term"][:, 0]
    assert found == near(100 * path)


def test_a_sharpe_ratio_of_quiet_bars_outweighs_the_return_but_not_the_bound():
    path = -1e-5 * (1 + 1e-3 * (np.arange(60) % 2))
    found = relive(path[:, None], ("five_term",), num_trades=1)["five_term"][:, 0]
    assert found[28] == near(100 * path[28]) and (found[29:] == -rewards.MAX_FIVE_TERM).all()


def test_five_term_is_scaled_and_then_clipped():
    path = np.array([0.004, -0.06, 0.03, 0.3, -0.5])
    plain = relive(path[:, None], ("five_term",))["five_term"][:, 0]
    small, large = (relive(path[:, None], ("five_term",), reward_scaling=x)["five_term"][:, 0] for x in (0.25, 2.0))
    terms = 100 * path + 0.5 * (path > 0.02)
    terms[4] -= 10 * 0.5
    assert plain == near(np.clip(terms, -10, 10))
    assert small == near(np.clip(terms / 4, -10, 10)) and small[3] == near(30.5 / 4)
    assert large == near(np.clip(2 * terms, -10, 10))


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize("width", [1e-7, 1e-3, 0.02, 0.3])
def test_every_reward_is_bounded_over_random_episodes(name: str, width: float):
    rng = np.random.default_rng(7)
    # Drifts of either sign, quiet and wild; nothing falls by more than nine tenths in a bar.
    returns = rng.normal(rng.normal(0, width, 60), width, (120, 60)).clip(-0.9, 1.0)
    found = relive(returns, (name,), num_trades=3)[name]
    assert np.isfinite(found).all() and np.abs(found).max() <= 10


@pytest.mark.thorough
def test_log_and_simple_returns_are_net_of_costs():
    trace = trade([FLAT, (100, 110, 100, 110)], [BUY_ONE], commission=0.01)
    assert trace.reward[0] == near(np.log(1.009))
    before, after = (EnvState(*[jnp.float32(x)] * 12) for x in (100.0, 102.0))
    assert float(rewards.simple_return(before, after)) == pytest.approx(0.02, rel=1e-5)
    assert float(rewards.log_return(before, after.replace(equity=jnp.float32(0.0)))) < -80  # finite all the same


TERMS = "log_return, -0.1*turnover, 0.5*drawdown_increment"


def doubled(before: EnvState, after: EnvState) -> jax.Array:
    return 2 * (after.equity - before.equity) / before.equity


@pytest.mark.thorough
def test_rewards_add_up_with_their_weights():
    market, actions = random_market(1, dtype=np.float64), random_actions(1)
    config = make_config(reward=TERMS, **LEAN)
    trace = simulate(config, market, {}, actions)
    equity = np.concatenate([np.full_like(trace.state.equity[:1], 100_000), trace.state.equity])
    peak = np.maximum.accumulate(equity, axis=0)
    growth = np.diff(np.log(equity), axis=0)
    worse = np.maximum(np.diff(1 - equity / peak, axis=0), 0)
    np.testing.assert_allclose(trace.reward, growth - 0.1 * trace.info["turnover"] - 0.5 * worse, atol=1e-12)
    np.testing.assert_allclose(trace.state.episode_return, trace.reward.cumsum(axis=0), atol=1e-12)
    # Weights are numbers of the parameters: the same program with others.
    other = simulate(config, market, {"reward_weights": [0.0, 1.0, 0.0]}, actions)
    np.testing.assert_allclose(other.reward, trace.info["turnover"], atol=1e-12)
    mixed = simulate(make_config(reward=((doubled, 0.5), ("turnover", 1.0)), **LEAN), market, {}, actions)
    simple = np.diff(equity, axis=0) / equity[:-1]
    np.testing.assert_allclose(mixed.reward, simple + trace.info["turnover"], atol=1e-12)


def test_weights_of_rewards_can_be_swept_by_vmap():
    env = TradingEnv(EnvConfig(bars_per_year=252.0, reward="log_return, -1*turnover", episode_length=5, **LEAN))
    params = env.default_params(random_market(1, plain=True))
    weights = jnp.array([[1.0, 0.0], [1.0, -1.0], [0.0, -2.0]])
    axes = jax.tree.map(lambda _: None, params).replace(reward_weights=0)
    _, state = env.reset_at(0, 5, params)
    step = jax.jit(jax.vmap(env.step_env, in_axes=(None, None, None, axes)))
    _, _, reward, _, _, info = step(
        jax.random.key(0), state, jnp.ones(4, jnp.int32), params.replace(reward_weights=weights)
    )
    growth, turnover = np.log(info["equity"][0] / 100_000), info["turnover"][0]
    assert turnover > 0.2
    np.testing.assert_allclose(reward, [growth, growth - turnover, -2 * turnover], rtol=1e-5, atol=1e-6)


def test_turnover_and_trades_are_those_of_the_bar():
    trace = trade([FLAT], [BUY_BOTH], compiled={"reward": "turnover", **LEAN})
    assert trace.reward == near([0.2, 0, 0, 0, 0, 0, 0])
    assert trace.state.stats.num_trades.tolist() == [2, 0, 0, 0, 0, 0, 0]
    assert trace.state.stats.is_last.tolist() == [False] * 6 + [True]


def test_a_reward_setting_names_functions_and_weights():
    assert resolve_reward("turnover") == ((rewards.turnover, 1.0),)
    assert resolve_reward(" log_return ,-2.5 * turnover") == ((rewards.log_return, 1.0), (rewards.turnover, -2.5))
    assert resolve_reward(doubled) == ((doubled, 1.0),)
    assert resolve_reward(((doubled, 2), ("log_return", 0.5))) == ((doubled, 2.0), (rewards.log_return, 0.5))
    for name, function in REWARDS.items():
        assert resolve_reward(name) == ((function, 1.0),)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ("sharpe", "reward='sharpe' is unknown; use 'log_return', .* or a function"),
        ("log_return, sharpe", "reward='log_return, sharpe' is unknown"),
        ("", "reward='' is unknown"),
        ("log_return,", "is unknown"),
        ("much*turnover", "'much' is not a finite number; write such as -0.1\\*turnover"),
        ("nan*turnover", "reward='nan.turnover': 'nan' is not a finite number"),
        ("inf*turnover", "'inf' is not a finite number"),
        ((), "names no reward"),
        ((("sharpe", 1.0),), "is unknown"),
        ((("turnover", float("nan")),), "reward=.*: nan is not a finite number"),
        ((("turnover", "much"),), "'much' is not a finite number"),
    ],
)
def test_bad_rewards_are_refused(reward: Any, message: str):
    with pytest.raises(ValueError, match=message):
        EnvConfig(reward=reward)


def test_a_reward_that_remembers_refuses_an_account_without_memory():
    bare = EnvState(*[jnp.float32(1.0)] * 12)
    with pytest.raises(ValueError, match="carries no memory of returns"):
        rewards.differential_sharpe(bare, bare)
