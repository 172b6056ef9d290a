"""A run folder: what is in it, an agent from it, going on where it ended, and an agent as plain files."""

# %%
import jax
import numpy as np

import ploutos_jax as pj

panel = pj.synthetic_panel(jax.random.key(6), num_assets=4, num_bars=600)
market = pj.build_market(panel, features="minimal")
training, env = market.window(0, 450), pj.TradingEnv(pj.EnvConfig(action="weights", episode_length=60))
config = pj.TrainConfig(num_envs=16, total_timesteps=4_096, keep_checkpoints=20)

# %% With an output folder, checkpoints and figures are written as the run goes.
agent = pj.train(config, training, env, output="runs/first", progress=True)
restored = pj.restore("runs/first")
print(restored)
same = pj.backtest(agent, market, start=450), pj.backtest(restored, market, start=450)
print("the same to the bit:", np.array_equal(same[0].equity, same[1].equity))

# %% An older checkpoint of the same run.
early = pj.restore("runs/first", step=0)
print("before any update:", repr(early))

# %% The same call with resume goes on after Ctrl+C or a kill; of a finished run it returns the agent.
again = pj.train(config, training, env, output="runs/first", resume=True)
print(again.step == agent.step)

# %% As npz and JSON, which any program can read, and nothing in it is ever executed.
pj.export_policy("runs/first", "exported")
print(repr(pj.load_policy("exported")))

# %% What it would do at the next open, from cash or from what you hold.
print(pj.orders_for_today(restored, panel, cash=10_000.0, holdings={panel.symbols[0]: 20}))
