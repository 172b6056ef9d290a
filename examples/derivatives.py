"""Learning by derivatives through the broker, and what one more basis point of cost does to an agent."""

# %%
import dataclasses

import jax
import pandas as pd

import ploutos_jax as pj

panel = pj.synthetic_panel(jax.random.key(4), num_assets=4, num_bars=600, edge=0.1)
market = pj.build_market(panel, features="minimal")
env = pj.TradingEnv(pj.EnvConfig(action="bands", stop_loss=None, take_profit=None, episode_length=60))

# %% The account itself is differentiated, so an objective may be any function of what it does: here Sharpe, and growth.
config = pj.TrainConfig(
    algorithm="pathwise", num_envs=16, rollout_length=16, total_timesteps=8_192, num_epochs=1, learning_rate=1e-2
)
agents = {
    objective: pj.train(dataclasses.replace(config, objective=objective), market.window(0, 450), env)
    for objective in ("log_growth", "sharpe")
}
figures = pd.DataFrame({name: pj.backtest(agent, market, start=450).summary() for name, agent in agents.items()}).T
print(figures[["total_return", "sharpe", "turnover"]].astype(float).round(3))

# %% The same derivatives of a whole backtest: what costs do to it, decisions as they were, and with all decided anew.
asked = ("spread", "slippage", "commission")
found = pj.gradient_of("annual_return", agents["log_growth"], market, start=450, by=asked, step=1e-4)
table = pd.DataFrame({"as decided": found.slopes, "decided anew": found.moved}) * 1e-4
print(f"annual return {found.value:.2%}; for one more basis point of")
print(table.map("{:+.4%}".format))
