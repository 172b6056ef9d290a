"""Types of the environment: numeric parameters, the account, the observation, fills."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ploutos_jax.market.panel import Market

Array = jax.Array

HOLD, BUY, SELL = 0, 1, 2
"""Discrete actions of one asset."""

NOT_HELD = -1
"""`EnvState.entry_bar` of an asset without a position."""

NO_FILL, ORDER, STOP, TARGET, TRAILING, TIME, HALT, DELISTED = range(8)
"""Why a fill happened: `Fill.reason`."""

REASON_NAMES = ("", "order", "stop", "target", "trailing", "time", "halt", "delisted")
"""Words for `Fill.reason`."""

DAY_TRADE_WINDOW = 5
"""Sessions over which day trades are counted."""


class EnvParams(struct.PyTreeNode):
    """Everything that the step reads as a number; every field is a leaf, so that `vmap` can sweep it.

    Fields that are not listed are those of `EnvConfig` of the same name; a rule that is off has 0 here and is not read.

    Attributes:
        market: the market, shared by all environments (`in_axes=None`).
        starts: `[N]` int32 rows at which an episode may start.
        sector_columns: `[11, A]` 1 where an asset belongs to the sector of an observation's column.
        sector_members: `[G, A]` 1 where an asset belongs to a sector, or None without a limit on sectors.
        fee_rates, fee_caps: `[K, T]` what the K kinds of the fee schedule charge in each bar.
        reward_weights: `[R]` weights of the rewards that are added up.
        day_trade_end: int32, the first session without the day-trade rule.
        spread, slippage, commission: fractions of price (`spread` is the full quoted one).
        commission_per_share_cash, commission_per_order_cash, commission_min_cash, day_trade_equity_cash: dollars.
    """

    market: Market
    starts: Array
    sector_columns: Array
    sector_members: Array | None
    fee_rates: Array
    fee_caps: Array
    reward_weights: Array
    day_trade_end: Array
    initial_cash: Array
    buy_pct: Array
    max_position_pct: Array
    max_sector_pct: Array
    target_volatility: Array
    risk_pct: Array
    risk_atr: Array
    bars_per_year: Array
    drawdown_scaling: Array
    no_trade_band: Array
    min_order_cash: Array
    lot_size: Array
    max_participation: Array
    min_holding_bars: Array
    spread: Array
    tick_size: Array
    slippage: Array
    slippage_atr: Array
    slippage_volatility: Array
    slippage_noise: Array
    impact: Array
    commission: Array
    commission_per_share_cash: Array
    commission_per_order_cash: Array
    commission_min_cash: Array
    stop_loss: Array
    take_profit: Array
    trailing_stop: Array
    break_even: Array
    stop_loss_atr: Array
    take_profit_atr: Array
    trailing_atr: Array
    max_holding_bars: Array
    drawdown_halt: Array
    cash_rate: Array
    day_trade_equity_cash: Array
    delisting_recovery: Array
    ruin_pct: Array
    reward_eta: Array
    reward_volatility: Array
    reward_scaling: Array


class ReturnStats(struct.PyTreeNode):
    """What rewards remember of an episode's simple returns R per bar; scalars.

    Attributes:
        count: int32 number of returns.
        mean, squares: mean of the returns, and sum of their squared deviations from it.
        downside_count, downside_squares: number of negative returns and sum of their squares.
        sharpe_mean, sharpe_square: moving averages of R and R² (the A and B of the differential Sharpe ratio).
        downside_square: moving average of min(R, 0)².
        turnover: value traded in the last bar over equity before it.
        num_trades: int32 fills in the last bar.
        is_last: bool, whether the episode ends here.
        scaling, bars_per_year: the numbers of `EnvParams`, for functions that see states only.
    """

    count: Array
    mean: Array
    squares: Array
    downside_count: Array
    downside_squares: Array
    sharpe_mean: Array
    sharpe_square: Array
    downside_square: Array
    turnover: Array
    num_trades: Array
    is_last: Array
    scaling: Array
    bars_per_year: Array


class EnvState(struct.PyTreeNode):
    """One account at the close of bar t. Money is in dollars, `_low` parts are the compensation of float rounding.

    What a rule that is off would need is None.

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
        highest_price: `[A]` highest price since the position's first fill; 0 where flat.
        entry_atr: `[A]` ATR (fraction of price) known when the position was opened; 0 where flat.
        working_shares: `[A]` signed shares of orders still to be filled.
        unsettled_cash: `[D]` proceeds of sales that cannot buy yet, those of this session last.
        fee_day_cash: `[K]` what each kind of fee has charged in this session, not rounded.
        opened_today: `[A]` bool, bought in this session and not sold since.
        day_trades, session_fills: `[5]` int32 counts of the last sessions, this one first.
        flagged: bool, marked as a pattern day trader.
        session_equity: equity at the last close of the session before.
        trades_today: int32 fills in this session.
        halted: bool, the drawdown halt has happened.
        stats: what rewards remember.
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
    highest_price: Array | None = None
    entry_atr: Array | None = None
    working_shares: Array | None = None
    unsettled_cash: Array | None = None
    fee_day_cash: Array | None = None
    opened_today: Array | None = None
    day_trades: Array | None = None
    session_fills: Array | None = None
    flagged: Array | None = None
    session_equity: Array | None = None
    trades_today: Array | None = None
    halted: Array | None = None
    stats: ReturnStats | None = None


class Observation(struct.PyTreeNode):
    """What the agent sees at the close of bar t: the row of the market, by its index, and the account.

    Attributes:
        t: int32 row of `market.features`.
        positions: `[A, 2]` float16, the first of `observation.ASSET_FIELDS`.
        levels: `[A, 3]` uint8, the others, in 1/255.
        account: `[G]` float16, see `observation.ACCOUNT_FIELDS`.
    """

    t: Array
    positions: Array
    levels: Array
    account: Array

    @property
    def assets(self) -> Array:
        """`[A, K]` float32 values of `observation.ASSET_FIELDS`."""
        return jnp.concatenate([self.positions.astype(jnp.float32), self.levels.astype(jnp.float32) / 255], axis=-1)


class Costs(struct.PyTreeNode):
    """What the fee of fills consists of, and the price they were meant to get; `[A]` each, known when they fill.

    Commission and fees add up to `Fill.fee_cash` but where that is limited to the value traded.

    Attributes:
        commission_cash: the broker's, dollars.
        fees_cash: dollars of each of the K kinds of the fee schedule.
        aim: dollars a share: `Fill.reference`, but for a stop that the open has gapped through its level.
    """

    commission_cash: Array
    fees_cash: tuple[Array, ...]
    aim: Array


class Fill(struct.PyTreeNode):
    """What was traded of each asset at one moment of a bar; `[A]` each, 0 where nothing was.

    Attributes:
        shares: bought (above 0) or sold (below 0).
        price: fill price.
        reference: market price before spread and slippage.
        fee_cash: fees in dollars.
        fee_cash_by_kind: the part of each kind of the fee schedule, where fees are rounded by day.
        reason: int8, `ORDER`, `STOP`, ...; `NO_FILL` where nothing was.
        spread, slippage, impact: fractions of `reference` that a market order pays away from it, one for all assets
            where no rule makes them differ; `impact` is None without that rule. Exits at a limit pay none of them, and
            have `price` equal to `reference`.
        costs: None unless the environment itemises; see `TradingEnv`.
    """

    shares: Array
    price: Array
    reference: Array
    fee_cash: Array
    fee_cash_by_kind: tuple[Array, ...]
    reason: Array
    spread: Array
    slippage: Array
    impact: Array | None
    costs: Costs | None = None


Info = dict[str, Any]
