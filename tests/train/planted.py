"""A market with a signal planted in it, and the settings of a short run that finds it.

One run of these settings serves the tests of the loop, of checkpoints and of the run folder: compiling is what costs.
"""

import functools

import jax

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Market, Panel
from ploutos_jax.market.synthetic.planted import planted_panel
from ploutos_jax.train.config import TrainConfig

NUM_BARS, NUM_ASSETS = 2000, 4
SPLIT = NUM_BARS // 2

CONFIG = TrainConfig(num_envs=64, rollout_length=32, total_timesteps=65_536, gamma=0.9)
ENV = TradingEnv(
    EnvConfig(
        spread_bps=0.0,
        tick_size=None,
        slippage_bps=0.0,
        fees="none",
        stop_loss=None,
        take_profit=None,
        buy_pct=1 / NUM_ASSETS,
        max_position_pct=1 / NUM_ASSETS,
        episode_length=200,
    )
)


@functools.cache
def panel() -> Panel:
    """Return a panel whose signal `hint`, at close t, correlates with the return of bar t+1; three more are noise."""
    return planted_panel(jax.random.key(0), NUM_ASSETS, NUM_BARS)


@functools.cache
def market() -> Market:
    """Return the whole market; its features are the signals alone."""
    return build_market(panel(), ())


def seen() -> Market:
    """Return the bars to train on."""
    return market().window(0, SPLIT)


def unseen() -> Market:
    """Return the bars after them."""
    return market().window(SPLIT, NUM_BARS)
