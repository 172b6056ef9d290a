"""Own data and features: a DataFrame, a signal of your own, a feature of your own, checked for look-ahead.

A table in memory is read as a file is: names in any case, missing bars stay missing, and what was repaired is said.
"""

# %% Bars as you may have them: one row per day and ticker, a column of your own, a day without a bar.
import jax.numpy as jnp
import numpy as np
import pandas as pd

import ploutos_jax as pj

rng = np.random.default_rng(0)
days = pd.bdate_range("2019-01-01", periods=500)
parts = []
for ticker in ("AAA", "BBB", "CCC"):
    close = 50 * np.exp(np.cumsum(rng.normal(2e-4, 0.015, len(days))))
    opens = close * np.exp(rng.normal(0, 0.005, len(days)))
    parts.append(
        pd.DataFrame(
            {
                "Date": days,
                "Symbol": ticker,
                "Open": opens,
                "High": np.maximum(opens, close) * 1.006,
                "Low": np.minimum(opens, close) * 0.994,
                "Close": close,
                "Volume": rng.integers(1e5, 1e6, len(days)),
                "mood": rng.normal(size=len(days)),  # known at the close of its day
            }
        )
    )
frame = pd.concat(parts, ignore_index=True).drop(index=[100])

panel = pj.Panel.from_frame(frame)  # or pj.load_panel("bars.csv")
print(panel)


# %% A feature of your own: any function of the panel, row t from rows up to t. NaN is "not known yet".
def overnight(panel):
    """The open against the close before."""
    before = jnp.concatenate([jnp.full_like(panel.close[:1], jnp.nan), panel.close[:-1]])
    return panel.open / before - 1


def tomorrow(panel):
    """What nobody knows: the next day's return."""
    after = jnp.concatenate([panel.close[1:], jnp.full_like(panel.close[:1], jnp.nan)])
    return after / panel.close - 1


pj.check_causal(overnight, panel)
try:
    pj.check_causal(tomorrow, panel)
except ValueError as error:
    caught = str(error)
    print(caught)

# %% Built-in features, the signal (it joins by itself as signal_mood) and the function, in one table.
market = pj.build_market(panel, ["log_return_1", "close_over_sma_10", "rsi_14", "signal_mood", overnight])
print(market)

# %% An agent on the first 400 days, scored on the rest.
env = pj.TradingEnv(pj.EnvConfig(action="weights", episode_length=60))
config = pj.TrainConfig(num_envs=16, total_timesteps=4_096)
agent = pj.train(config, market.window(0, 400), env, progress=True)
ledger = pj.backtest(agent, market, start=400)
print(ledger)

# %% The bars as a table again.
print(panel.to_frame().head(3))
