"""A report, written and read by a program: what an agent earned, against what, and how certain that is."""

# %%
import json

import jax
import pandas as pd

import ploutos_jax as pj

panel = pj.synthetic_panel(jax.random.key(7), num_assets=4, num_bars=600)
market = pj.build_market(panel, features="minimal")
env = pj.TradingEnv(pj.EnvConfig(action="weights", episode_length=60))
agent = pj.train(pj.TrainConfig(num_envs=16, total_timesteps=4_096), market.window(0, 450), env)

# %% One folder: a page that needs no network, pictures, and tables in Parquet and JSON.
ledger = pj.backtest(agent, market, start=450)
others = pj.baselines(market, env.config, start=450)
pj.write_report("report", ledger, others, sectors=market.sectors, facts={"data": "made"}, overwrite=True)

# %% The verdict first: what was tested, what it beats, how certain that is.
with open("report/metrics.json", encoding="utf-8") as file:
    metrics = json.load(file)
print(metrics["verdict"])

# %% Figures are net of costs; null is what is not defined.
names = ["total_return", "sharpe", "max_drawdown", "turnover", "total_cost"]
table = pd.DataFrame({"agent": metrics, **metrics["baselines"]}).T[names]
print(table.astype(float).round(3))

# %% How much of a Sharpe ratio may be luck.
print(json.dumps(metrics["evidence"], indent=2)[:600])

# %% The account by bar, every fill with what it cost, and round trips.
equity = pd.read_parquet("report/equity.parquet")
fills = pd.read_parquet("report/fills.parquet")
print(equity.tail(2), fills.tail(2), sep="\n")
