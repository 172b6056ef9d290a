"""Many seeds at once, how far they lie apart, and all of them as one agent."""

# %%
import jax
import pandas as pd

import ploutos_jax as pj

panel = pj.synthetic_panel(jax.random.key(3), num_assets=4, num_bars=600, edge=0.05)
market = pj.build_market(panel, features="minimal")
env = pj.TradingEnv(pj.EnvConfig(action="weights", episode_length=60))

# %% Four agents in one program. One good seed proves nothing: look at all of them.
config = pj.TrainConfig(num_envs=16, total_timesteps=4_096, num_seeds=4)
agents = pj.train_seeds(config, market.window(0, 450), env)
ledgers = {f"seed {seed}": pj.backtest(one, market, start=450) for seed, one in zip(config.seeds, agents, strict=True)}
figures = pd.DataFrame({name: one.summary() for name, one in ledgers.items()}).T[["total_return", "sharpe", "turnover"]]
print(figures.astype(float).round(3))
sharpe = figures["sharpe"].astype(float)
print(f"Sharpe {sharpe.mean():.2f} on average, deviation {sharpe.std():.2f}")

# %% One agent that trades the mean of what they want: what one buys of another is bought of nobody.
together = pj.ensemble(agents)
ledger = pj.backtest(together, market, start=450, name="ensemble")
print(together, ledger, sep="\n")
print("turnover of the mean:", round(ledger.summary()["turnover"], 2), "mean turnover:", figures["turnover"].mean())
