"""Under stress: crashes, droughts and halts laid over any bars, charged for by the broker, foreseen by nobody."""

# %%
import jax

import ploutos_jax as pj
from ploutos_jax.evaluate.stress.table import stress_table
from ploutos_jax.market.stress.apply import SCENARIOS

panel = pj.synthetic_panel(jax.random.key(4), num_assets=4, num_bars=600)
print(list(SCENARIOS))

# %% One scenario on one panel: what it did, and when.
crashed, shock = pj.stress(jax.random.key(0), panel, "flash_crash", severity=0.8)
print(repr(crashed), shock, sep="\n")

# %% An agent, and how it fares under draws of two scenarios, against the same bars without the shock.
market = pj.build_market(panel, features="minimal")
env = pj.TradingEnv(pj.EnvConfig(action="weights", episode_length=60))
agent = pj.train(pj.TrainConfig(num_envs=16, total_timesteps=4_096), market.window(0, 450), env)
table = stress_table(agent, panel, start=450, scenarios=["flash_crash", "low_liquidity"], draws=4)
print(table[["survival_rate", "return_change", "worst_drawdown", "filled_share", "shortfall_bps"]].round(4))

# %% A strategy of your own meets the same shock.
calm, shaken = (pj.run_strategy(lambda bars: {bars.symbols[0]: 1.0}, one, start=50) for one in (panel, crashed))
print(f"{calm.summary()['max_drawdown']:.1%} becomes {shaken.summary()['max_drawdown']:.1%}")
