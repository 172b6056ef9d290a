"""Costs and stops swept by `vmap`: every number of the environment is a leaf, so all accounts run in one program."""

# %%
import jax
import jax.numpy as jnp
import numpy as np

import ploutos_jax as pj

panel = pj.synthetic_panel(jax.random.key(2), num_assets=4, num_bars=600)
market = pj.build_market(panel, features="minimal")
rules = pj.EnvConfig(action="weights", episode_length=60)
env = pj.TradingEnv(rules)
agent = pj.train(pj.TrainConfig(num_envs=16, total_timesteps=4_096), market.window(0, 450), env)

# %% A table: one backtest for each combination, by settings in their own units.
table = pj.sweep(agent, market, {"spread_bps": [0, 2, 10, 50], "stop_loss": [0.01, 0.02, 0.05]}, start=450)
print(table[["spread_bps", "stop_loss", "total_return", "sharpe", "total_cost"]].round(4))

# %% What a trade costs, and where the stop lies, in one picture.
pj.heat_map(table, "spread_bps", "stop_loss", "total_return").savefig("sweep.png")

# %% The same by hand: `EnvParams` is a pytree of numbers, and `vmap` runs over any of them.
holding = pj.TradingEnv(pj.EnvConfig(episode_length=60).without_strategy_rules())
params = holding.default_params(market)
spreads = jnp.linspace(0.0, 0.005, 8)


def equity_after(spread, num_steps=50):
    """The account that buys equal parts at once and waits, at one spread."""
    own = params.replace(spread=spread)
    _, state = holding.reset_at(450, 450 + num_steps, own)

    def step(state, t):
        weights = jnp.full(market.num_assets, jnp.where(t == 0, 1 / market.num_assets, jnp.nan))
        _, state, *_ = holding.step_env(jax.random.key(0), state, weights, own)
        return state, state.equity

    return jax.lax.scan(step, state, jnp.arange(num_steps))[1][-1]


ends = np.asarray(jax.jit(jax.vmap(equity_after))(spreads))
print(dict(zip(np.round(1e4 * np.asarray(spreads)).tolist(), ends.round(2).tolist(), strict=True)))

# %% Numbers of PPO are leaves too; each is trained from the same seed and scored on later bars.
learner = pj.TrainConfig(num_envs=16, total_timesteps=4_096)
rates = pj.sweep(learner, market, {"learning_rate": [1e-4, 1e-3]}, start=450, env=env)
print(rates[["learning_rate", "seed", "total_return", "turnover"]].round(4))
