"""Trading figures against NumPy in float64, from what the environment said of every step."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rollout import rollout, start_runner
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.train.learning.rollout_metrics import (
    no_trading,
    projected_month,
    recent_growth,
    trading_figures,
    trading_numbers,
)
from tests.train.worlds import LITTLE_OPTIMISED, random_market

NUM_ENVS, NUM_STEPS = 6, 50
CONFIG = EnvConfig(episode_length=20, cash_rate=0.05, commission_bps=5.0, bars_per_year=100.0)


@pytest.fixture(scope="module")
def played():
    """Figures of a rollout of random actions, and what the environment said of each step, `[S, E]` in float64."""
    env = TradingEnv(CONFIG)
    params = env.default_params(random_market(num_bars=120))

    def policy(keys, obs):
        return jax.vmap(lambda key: jax.random.randint(key, (3,), 0, 3))(keys), None

    def record(step):
        kept = {name: step.info[name] for name in ("equity", "num_trades", "cost")}
        return kept | {"done": step.terminated | step.truncated}

    def play(key):
        runner = start_runner(env, params, key, NUM_ENVS, staggered=True)
        tally = (lambda step: trading_numbers(step, params), no_trading(NUM_ENVS))
        runner, _, (steps, sums) = rollout(env, params, policy, runner, NUM_STEPS, record, tally=tally)
        return trading_figures(sums, NUM_STEPS * NUM_ENVS, runner, params), steps

    figures, steps = jax.jit(play, compiler_options=LITTLE_OPTIMISED)(jax.random.key(0))
    return jax.tree.map(float, figures), jax.tree.map(lambda x: np.asarray(x, np.float64), steps)


def returns_of(steps):
    before = np.full(NUM_ENVS, CONFIG.initial_cash)
    returns = []
    for equity, done in zip(steps["equity"], steps["done"], strict=True):
        returns.append(equity / before - 1)
        before = np.where(done, CONFIG.initial_cash, equity)
    return np.array(returns)


def test_returns_and_ratio(played):
    figures, steps = played
    returns = returns_of(steps)
    assert figures["growth_per_step"] == pytest.approx(np.log1p(returns).mean(), abs=1e-7)
    assert figures["sharpe"] == pytest.approx(returns.mean() / returns.std() * np.sqrt(100.0), rel=1e-3)


def test_episodes_and_trades(played):
    figures, steps = played
    done = steps["done"] > 0
    assert figures["episodes"] == done.sum() > 0
    finals = steps["equity"][done] / CONFIG.initial_cash - 1
    assert figures["total_return_mean"] == pytest.approx(finals.mean(), rel=1e-4)
    assert figures["trades"] == steps["num_trades"].sum() > 0
    assert figures["cost_per_step"] == pytest.approx((steps["cost"] / steps["equity"]).mean(), rel=1e-4)


def test_accounts_at_the_end(played):
    figures, steps = played
    before = np.full(NUM_ENVS, CONFIG.initial_cash)
    peak = before.copy()
    for equity, done in zip(steps["equity"], steps["done"], strict=True):
        peak = np.where(done > 0, CONFIG.initial_cash, np.maximum(peak, equity))
        before = np.where(done > 0, CONFIG.initial_cash, equity)
    assert figures["equity"] == pytest.approx(before.mean(), rel=1e-6)
    drawdown = 1 - before / peak
    assert figures["drawdown_mean"] == pytest.approx(drawdown.mean(), abs=1e-6)
    assert figures["drawdown_max"] == pytest.approx(drawdown.max(), abs=1e-6) and drawdown.max() > 0


@pytest.mark.thorough
def test_an_account_that_never_moves_has_no_ratio():
    zero = jnp.zeros(3)
    env = TradingEnv(CONFIG)
    params = env.default_params(random_market(num_bars=40))
    runner = start_runner(env, params, jax.random.key(0), 2)
    names = ("episodes", "episode_return", "total_return", "terminated", "cost", "turnover", "invested", "reward")
    names += ("growth", "gain", "squared_gain", "num_trades", "rejected_orders")
    exits = ("exit_stop", "exit_target", "exit_trailing", "exit_time", "exit_halt")
    figures = trading_figures(dict.fromkeys((*names, *exits), zero), 6, runner, params)
    assert float(figures["sharpe"]) == 0 and float(figures["equity"]) == CONFIG.initial_cash
    assert math.isnan(float(figures["total_return_mean"])), "no episode has ended"


def test_months_are_compounded():
    assert projected_month(math.log(1.001), 21) == pytest.approx(1.001**21 - 1)
    assert projected_month(math.log(1.00001), 22, 390.0) == pytest.approx(1.00001 ** (22 * 390) - 1)
    rows = [{"growth_per_step": float(i)} for i in range(1, 31)]
    assert recent_growth(rows) == 29.0, "of the last tenth"
    assert recent_growth([]) is None and recent_growth([{"loss": 1.0}]) is None
