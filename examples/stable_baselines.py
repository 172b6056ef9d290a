"""Stable-Baselines3 trains on the same broker and bars, and is scored beside an agent (extra `bench`)."""

# %%
import jax
import numpy as np
from stable_baselines3 import PPO

import ploutos_jax as pj
from ploutos_jax.env.adapters.gymnasium import GymnasiumEnv
from ploutos_jax.env.adapters.stable_baselines import StableBaselinesVecEnv

panel = pj.synthetic_panel(jax.random.key(2), num_assets=4, num_bars=600)
market = pj.build_market(panel, features="minimal")
training, start = market.window(0, 450), 450
rules = pj.EnvConfig(action="weights", episode_length=60)
env = pj.TradingEnv(rules)

# %% Its own vector of environments: 16 accounts step in one compiled call.
vector = StableBaselinesVecEnv(env, env.default_params(training), num_envs=16)
model = PPO("MlpPolicy", vector, n_steps=64, batch_size=256, n_epochs=4, seed=0, device="cpu")
model.learn(total_timesteps=4_096)

# %% One account over the bars that were held out: an episode as long as they are.
span = market.window(start, None)
whole = pj.TradingEnv(pj.EnvConfig(action="weights", episode_length=span.num_bars - 1))
account = GymnasiumEnv(whole, whole.default_params(span))
observation, _ = account.reset(seed=0)
equity, ended = [], False
while not ended:
    action, _ = model.predict(observation, deterministic=True)
    observation, reward, terminated, truncated, info = account.step(action)
    equity.append(float(info["equity"]))
    ended = terminated or truncated

# %% An agent of this package with as many steps, and what needs no thought, on the same bars at the same costs.
agent = pj.train(pj.TrainConfig(num_envs=16, total_timesteps=4_096), training, env)
gain = {
    "Stable-Baselines3": equity[-1] / rules.initial_cash - 1,
    "agent": pj.backtest(agent, market, start=start).summary()["total_return"],
    "equal weight": pj.baselines(market, rules, start=start)["equal weight"].summary()["total_return"],
}
for name, value in gain.items():
    print(f"{name:<18} {value:+.2%}")
print(f"bars traded        {len(equity)}", f"account from ${np.min(equity):,.0f} to ${np.max(equity):,.0f}", sep="\n")
print("Steps are far too few to learn anything, for either.")
