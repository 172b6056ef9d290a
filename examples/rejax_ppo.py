"""A JAX trainer of others on the same broker: rejax's PPO, compiled with the environment (pip install rejax)."""

# %%
import jax
import jax.numpy as jnp
from rejax import PPO

import ploutos_jax as pj
from ploutos_jax.env.adapters.gymnax import GymnaxEnv

# One asset: gymnax has no space of several discrete actions. Weights of many assets are a box.
panel = pj.synthetic_panel(jax.random.key(3), num_assets=1, num_bars=600)
market = pj.build_market(panel, features="minimal")
rules = pj.EnvConfig(action="discrete", episode_length=60, buy_pct=1.0, stop_loss=None, take_profit=None)
env = pj.TradingEnv(rules)

# %% Trainers written for gymnax before 1.0 know one flag for the end of an episode.
view = GymnaxEnv(env, env.default_params(market.window(0, 450)), joint_done=True)
ppo = PPO.create(
    env=view,
    env_params=view.default_params,
    num_envs=16,
    num_steps=16,
    num_epochs=2,
    num_minibatches=4,
    total_timesteps=4_096,
    eval_freq=1_024,
    learning_rate=1e-3,
)

# %% The whole training is one call, and two seeds are one `vmap`.
state, (lengths, returns) = jax.vmap(ppo.train)(jax.random.split(jax.random.key(0), 2))
print("mean return of an episode, by seed and time of evaluation:")
print(jnp.round(returns.mean(axis=-1), 4))
print("length of an episode:", int(lengths.max()))

# %% What the environment itself returns is the account.
observation, account = view.reset(jax.random.key(1), view.default_params)
observation, account, reward, done, info = view.step(jax.random.key(2), account, 1, view.default_params)
print(f"after a buy: equity ${float(info['equity']):,.2f}, cost ${float(info['cost']):,.2f}")
print(f"reward: {float(reward):+.5f}")
print("bar observed:", int(account.t))
