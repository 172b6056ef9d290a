"""A market with a signal planted in it, and the settings of a short run that finds it.

One run of these settings serves the tests of the loop, of checkpoints and of the run folder: compiling is what costs.
"""

import functools

import numpy as np

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.market.features import build_market
from ploutos_jax.market.panel import Labels, Market, Panel
from ploutos_jax.train.config import TrainConfig

NUM_BARS, NUM_ASSETS, CORRELATION, DEVIATION = 2000, 4, 0.3, 0.01
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
    rng = np.random.default_rng(0)
    shape = (NUM_BARS, NUM_ASSETS)
    returns = DEVIATION * rng.standard_t(5, (NUM_BARS + 1, NUM_ASSETS)) / np.sqrt(5 / 3)
    close = 100 * np.exp(np.cumsum(returns[:NUM_BARS], axis=0))
    opens = np.vstack([close[:1], close[:-1]])
    hint = CORRELATION * returns[1:] / DEVIATION + np.sqrt(1 - CORRELATION**2) * rng.standard_normal(shape)
    days = np.busday_offset("2010-01-04", np.arange(NUM_BARS), roll="forward")
    return Panel(
        open=opens,
        high=np.maximum(opens, close),
        low=np.minimum(opens, close),
        close=close,
        volume=np.full(shape, 1e6),
        tradable=np.ones(shape, bool),
        sessions=days.astype(np.int32),
        signals={"hint": hint, **{f"noise_{i}": rng.standard_normal(shape) for i in range(3)}},
        labels=Labels(
            symbols=tuple(f"P{i}" for i in range(NUM_ASSETS)),
            sectors=("Unknown",) * NUM_ASSETS,
            times=days.astype("datetime64[ns]"),
        ),
    )


@functools.cache
def market() -> Market:
    """Return the whole market; its features are the signals alone."""
    return build_market(panel(), [f"signal_{name}" for name in panel().signals])


def seen() -> Market:
    """Return the bars to train on."""
    return market().window(0, SPLIT)


def unseen() -> Market:
    """Return the bars after them."""
    return market().window(SPLIT, NUM_BARS)
