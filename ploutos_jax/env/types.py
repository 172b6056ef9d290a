"""Types of the environment: static choices, numeric parameters, the account, the observation."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
from flax import struct

from ploutos_jax.market.panel import Market

Array = jax.Array

HOLD, BUY, SELL = 0, 1, 2
"""Discrete actions of one asset."""

NOT_HELD = -1
"""`EnvState.entry_bar` of an asset without a position."""


@dataclasses.dataclass(frozen=True)
class EnvConfig:
    """Rules of the environment, and the numbers that `TradingEnv.default_params` turns into leaves.

    Attributes:
        action: `discrete` is hold, buy or sell per asset; `weights` is a target share of equity per asset.
        reward: `log_return`, or a function of the account before and after a bar (see `env/rewards.py`).
        episode_length: bars in a training episode.
        initial_cash: dollars at the start of an episode.
        buy_pct: share of equity that one buy order spends.
        max_position_pct: largest share of equity in one asset that a buy may reach.
        stop_loss: loss from the average fill price at which a position is closed, as a fraction; None = no stop.
        take_profit: gain from the average fill price at which a position is closed, a fraction; None = no target.
        spread_bps: full quoted bid-ask spread; each side of a trade pays half of it.
        slippage_bps: further adverse move of every market order and stop, per side.
        commission_bps: fee in proportion to the traded value, per side.
        commission_per_share: dollars per share traded, per side.
        min_order_cash: buys and partial sales below this many dollars are not sent; it keeps dust out of the book.
        delisting_recovery: share of the last close that a holder gets when an asset ends.
        ruin_pct: the episode ends for good when equity falls below this share of `initial_cash`.
    """

    action: Literal["discrete", "weights"] = "discrete"
    reward: str | Callable[["EnvState", "EnvState"], Array] = "log_return"
    episode_length: int = 252
    initial_cash: float = 100_000.0
    buy_pct: float = 0.10
    max_position_pct: float = 0.25
    stop_loss: float | None = 0.02
    take_profit: float | None = 0.04
    spread_bps: float = 2.0
    slippage_bps: float = 1.0
    commission_bps: float = 0.0
    commission_per_share: float = 0.0
    min_order_cash: float = 1.0
    delisting_recovery: float = 1.0
    ruin_pct: float = 0.10

    def __post_init__(self) -> None:
        if self.action not in ("discrete", "weights"):
            raise ValueError(f"action={self.action!r} is unknown; use 'discrete' or 'weights'.")
        if self.episode_length < 1:
            raise ValueError(f"episode_length={self.episode_length} must be at least 1 bar.")
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name}={value} must be a finite number.")
        if not self.initial_cash > 0:
            raise ValueError(f"initial_cash={self.initial_cash} must be above 0 dollars.")
        for name in ("buy_pct", "max_position_pct"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie in (0, 1]: it is a fraction of equity.")
        for name in ("delisting_recovery", "ruin_pct"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie in [0, 1].")
        if self.stop_loss is not None and not 0 < self.stop_loss < 1:
            raise ValueError(f"stop_loss={self.stop_loss} must lie in (0, 1), such as 0.02 for -2 %, or be None.")
        if self.take_profit is not None and not self.take_profit > 0:
            raise ValueError(f"take_profit={self.take_profit} must be above 0, such as 0.04 for +4 %, or be None.")
        for name in ("spread_bps", "slippage_bps", "commission_bps", "commission_per_share", "min_order_cash"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative.")
        if self.spread_bps / 2 + self.slippage_bps + self.commission_bps >= 10_000:
            raise ValueError("spread_bps / 2 + slippage_bps + commission_bps must stay below 10,000 (100 %).")


class EnvParams(struct.PyTreeNode):
    """Everything that the step reads as a number; every field is a leaf, so that `vmap` can sweep it.

    Attributes:
        market: the market, shared by all environments (`in_axes=None`).
        starts: `[N]` int32 rows at which an episode may start.
        initial_cash, min_order_cash, commission_per_share_cash: dollars.
        buy_pct, max_position_pct, stop_loss, take_profit, delisting_recovery, ruin_pct: fractions.
        spread, slippage, commission: fractions of price (`spread` is the full quoted one).
    """

    market: Market
    starts: Array
    initial_cash: Array
    buy_pct: Array
    max_position_pct: Array
    stop_loss: Array
    take_profit: Array
    spread: Array
    slippage: Array
    commission: Array
    commission_per_share_cash: Array
    min_order_cash: Array
    delisting_recovery: Array
    ruin_pct: Array


class EnvState(struct.PyTreeNode):
    """One account at the close of bar t. Money is in dollars, `_low` parts are the compensation of float rounding.

    Attributes:
        t: int32, the bar observed.
        end: int32, the episode's last bar; reaching it truncates the episode.
        cash, cash_low: cash is their sum.
        shares: `[A]` signed shares held.
        entry_price: `[A]` average fill price of the open position, fees excluded; 0 where flat.
        entry_bar: `[A]` int32 bar of the position's first fill; `NOT_HELD` where flat.
        equity: cash plus positions at the close of t.
        peak_equity: highest equity of the episode so far.
        cost, cost_low: fees, spread and slippage paid since the start of the episode.
        episode_return: sum of the episode's rewards so far.
    """

    t: Array
    end: Array
    cash: Array
    cash_low: Array
    shares: Array
    entry_price: Array
    entry_bar: Array
    equity: Array
    peak_equity: Array
    cost: Array
    cost_low: Array
    episode_return: Array


class Observation(struct.PyTreeNode):
    """What the agent sees at the close of bar t: the row of the market, by its index, and the account.

    Attributes:
        t: int32 row of `market.features`.
        assets: `[A, K]` float16, see `observation.ASSET_FIELDS`.
        account: `[G]` float16, see `observation.ACCOUNT_FIELDS`.
    """

    t: Array
    assets: Array
    account: Array


class Bar(struct.PyTreeNode):
    """One row of the market as the broker reads it; every field is `[A]`, absent ones None."""

    open: Array
    high: Array
    low: Array
    close: Array
    tradable: Array
    delisted: Array | None
    dividend: Array | None
    split: Array | None


class Fill(struct.PyTreeNode):
    """What was traded of each asset at one moment of a bar; `[A]` each, 0 where nothing was.

    Attributes:
        shares: bought (above 0) or sold (below 0).
        price: fill price.
        reference: market price before spread and slippage.
        fee_cash: commission in dollars.
    """

    shares: Array
    price: Array
    reference: Array
    fee_cash: Array


Info = dict[str, Any]
