"""A reward of your own: a function of the account before and after a bar, alone or with others by weight."""

# %%
import jax
import jax.numpy as jnp

import ploutos_jax as pj

panel = pj.synthetic_panel(jax.random.key(0), num_assets=4, num_bars=600)
market = pj.build_market(panel, features="minimal")


# %% States hold the account: equity, cash, shares, cost, ... (`help(pj.EnvState)`). Only `jax.numpy` inside.
def cautious(before, after):
    """Growth, of which losses count twice."""
    growth = jnp.log(after.equity / before.equity)
    return jnp.where(growth < 0, 2 * growth, growth)


configs = {
    "log return": pj.EnvConfig(action="weights", episode_length=60),
    "cautious": pj.EnvConfig(action="weights", episode_length=60, reward=cautious),
    "cautious, turnover costs": pj.EnvConfig(
        action="weights", episode_length=60, reward=((cautious, 1.0), ("turnover", -0.01))
    ),
}

# %% The reward is all that differs; the broker, its costs and the bars are the same.
learner = pj.TrainConfig(num_envs=16, total_timesteps=4_096)
figures = {}
for name, rules in configs.items():
    agent = pj.train(learner, market.window(0, 450), pj.TradingEnv(rules))
    ledger = pj.backtest(agent, market, start=450, name=name)
    figures[name] = ledger.summary()
    print(rules, ledger, sep="\n")

# %%
print({name: round(one["turnover"], 2) for name, one in figures.items()})
