"""A strategy of your own beside an agent and the baselines: the same bars, the same broker, the same costs."""

# %%
import jax
import numpy as np

import ploutos_jax as pj

panel = pj.synthetic_panel(jax.random.key(1), num_assets=4, num_bars=600)
market = pj.build_market(panel, features="minimal")
start = 450


# %% Ten lines: what is above its average of 50 days, in equal parts, decided anew on every fifth bar.
def trend(bars):
    if bars.num_bars % 5:
        return None  # leave everything as it is
    average = bars.adjusted[-50:].mean(axis=0)
    is_up = bars.adjusted[-1] > average
    return np.where(is_up, 1 / bars.num_assets, 0.0)


ledger = pj.run_strategy(trend, panel, start=start)
print(ledger)


# %% A strategy can look at its account, name tickers, and remember.
class StopAtTenPercent:
    def __init__(self):
        self.highest = 0.0

    def __call__(self, bars):
        self.highest = max(self.highest, bars.equity)
        if bars.equity < 0.9 * self.highest:
            return np.zeros(bars.num_assets)
        return {bars.symbols[0]: 0.5, bars.symbols[1]: 0.3} if bars.weights.sum() == 0 else None


stopped = pj.run_strategy(StopAtTenPercent(), panel, start=start)

# %% An agent, and what needs no thought.
rules = pj.EnvConfig(action="weights", episode_length=60)
agent = pj.train(pj.TrainConfig(num_envs=16, total_timesteps=4_096), market.window(0, start), pj.TradingEnv(rules))
learned = pj.backtest(agent, market, start=start)
others = pj.baselines(market, rules, start=start)
for one in (ledger, stopped, learned, others["buy and hold"], others["equal weight"]):
    print(repr(one), f"Sharpe {one.summary()['sharpe']:.2f}")

# %% Equity, drawdown and exposure; the trades in one ticker; returns for other libraries.
picture = ledger.plot(learned, others["buy and hold"], title="Trend against agent")
picture.savefig("own_strategy.png")
ledger.plot(ticker=panel.symbols[0]).savefig("own_strategy_trades.png")
returns = ledger.to_quantstats()  # quantstats.reports.html(returns, output="tearsheet.html")
print(returns.tail(3), ledger.trades.tail(3), sep="\n")
