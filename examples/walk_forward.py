"""Walk-forward: trained again as time goes on, and one account over all tests, each bar by an agent that never saw it.

`ploutos validate` does this with the choice of checkpoints and seeds, purging, and a verdict.
"""

# %%
import jax

import ploutos_jax as pj
from ploutos_jax.datasets.splits import walk_forward
from ploutos_jax.evaluate.backtest.handover import play_segments

panel = pj.synthetic_panel(jax.random.key(5), num_assets=4, num_bars=620)
market = pj.build_market(panel, features="minimal")  # causal: a window of it starts with warm indicators
rules = pj.EnvConfig(action="weights", episode_length=60)
env, config = pj.TradingEnv(rules), pj.TrainConfig(num_envs=16, total_timesteps=4_096)

# %% 300 bars to train, 20 left out between, 100 to test; then all of it 100 bars later.
plan = walk_forward(market.num_bars, train=300, validation=20, test=100)
segments = []
for split in plan.splits:
    (train,), (test,) = split.train, split.test
    agent = pj.train(config, market.window(train.start, train.stop), env)
    segments.append((test, agent))
    print(f"trained on rows {train.start} to {train.stop}, tests {test.start} to {test.stop}")

# %% Positions are handed over from one agent to the next; nothing is sold for the change.
ledger = play_segments("walk-forward", market, segments, rules)
print(ledger)
first, last = ledger.times[0], ledger.times[-1]
hold = pj.baselines(market, rules, first, last)["buy and hold"]
print(hold)
ledger.plot(hold).savefig("walk_forward.png")
