"""Types of the environment: numeric parameters, the account, the observation, fills."""

import typing
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Float16, Int, Int8, Num, UInt8

from ploutos_jax.market.panel import Market

Action = Num[Array | np.ndarray, " actions *edges"]
"""`[A]` integers or weights, `[A + 1]` weights with cash last, or `[A, 2]` bands; see `TradingEnv`."""

HOLD, BUY, SELL = 0, 1, 2
"""Discrete actions of one asset."""

LEVELS = (0.0, 0.25, 0.5, 1.0)
"""Shares of the largest position that `levels` 1, 2, ... stand for; 0 is `HOLD`."""

MAY_BUY, MAY_SELL = 1, 2
"""Bits of `Observation.valid`."""

NOT_HELD = -1
"""`EnvState.entry_bar` of an asset without a position."""

NO_FILL, ORDER, STOP, TARGET, TRAILING, TIME, HALT, DELISTED = range(8)
"""Why a fill happened: `Fill.reason`."""

REASON_NAMES = ("", "order", "stop", "target", "trailing", "time", "halt", "delisted")
"""Words for `Fill.reason`."""

DAY_TRADE_WINDOW = 5
"""Sessions over which day trades are counted."""


@typing.no_type_check
class EnvParams(struct.PyTreeNode):
    """Everything that the step reads as a number; every field is a leaf, so that `vmap` can sweep it.

    Fields that are not listed are those of `EnvConfig` of the same name; a rule that is off has 0 here and is not read.

    Attributes:
        market: the market, shared by all environments (`in_axes=None`).
        has_gaps: present where some asset has no tradable bar in some row: its orders then wait for its next one. None
            where there is no such row; nothing of waiting orders is compiled then.
        starts: `[starts]` int32 rows at which an episode may start.
        sector_columns: `[11, A]` 1 where an asset belongs to the sector of an observation's column.
        sector_members: `[sectors, A]` 1 where an asset belongs to a sector, or None without a limit on sectors.
        fee_rates, fee_caps: `[J, T]` what the J kinds of the fee schedule charge in each bar.
        fee_applies: `[2, A]` 1 where fees of the schedule by value, and by share, are charged, else 0; None where all
            are.
        reward_weights: `[rewards]` weights of the rewards that are added up.
        day_trade_end: int32, the first session without the day-trade rule.
        limit_offset, spread, slippage, commission: fractions of price (`spread` is the full quoted one).
        tick_size, commission, lot_size, min_order_cash: `[A]` where assets differ in it, else one number.
        maker: what the agent's limit orders pay in the place of `commission`; None where it is the same.
        commission_per_share_cash, commission_per_order_cash, commission_min_cash, day_trade_equity_cash: dollars.
    """

    market: Market
    has_gaps: Bool[Array, ""] | None
    starts: Int[Array, " starts"]
    sector_columns: Float[Array, "11 A"]
    sector_members: Float[Array, "sectors A"] | None
    fee_rates: Float[Array, "J T"]
    fee_caps: Float[Array, "J T"]
    fee_applies: Float[Array, "2 A"] | None
    reward_weights: Float[Array, " rewards"]
    day_trade_end: Int[Array, ""]
    initial_cash: Float[Array, ""]
    limit_offset: Float[Array, ""]
    buy_pct: Float[Array, ""]
    max_position_pct: Float[Array, ""]
    max_sector_pct: Float[Array, ""]
    target_volatility: Float[Array, ""]
    risk_pct: Float[Array, ""]
    risk_atr: Float[Array, ""]
    bars_per_year: Float[Array, ""]
    drawdown_scaling: Float[Array, ""]
    no_trade_band: Float[Array, ""]
    min_order_cash: Float[Array, " *A"]
    lot_size: Float[Array, " *A"]
    max_participation: Float[Array, ""]
    min_holding_bars: Int[Array, ""]
    spread: Float[Array, ""]
    tick_size: Float[Array, " *A"]
    slippage: Float[Array, ""]
    slippage_atr: Float[Array, ""]
    slippage_volatility: Float[Array, ""]
    slippage_noise: Float[Array, ""]
    impact: Float[Array, ""]
    commission: Float[Array, " *A"]
    maker: Float[Array, " *A"] | None
    commission_per_share_cash: Float[Array, ""]
    commission_per_order_cash: Float[Array, ""]
    commission_min_cash: Float[Array, ""]
    stop_loss: Float[Array, ""]
    take_profit: Float[Array, ""]
    trailing_stop: Float[Array, ""]
    break_even: Float[Array, ""]
    stop_loss_atr: Float[Array, ""]
    take_profit_atr: Float[Array, ""]
    trailing_atr: Float[Array, ""]
    max_holding_bars: Int[Array, ""]
    drawdown_halt: Float[Array, ""]
    cash_rate: Float[Array, ""]
    day_trade_equity_cash: Float[Array, ""]
    delisting_recovery: Float[Array, ""]
    ruin_pct: Float[Array, ""]
    reward_eta: Float[Array, ""]
    reward_volatility: Float[Array, ""]
    reward_scaling: Float[Array, ""]


@typing.no_type_check
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

    count: Int[Array, ""]
    mean: Float[Array, ""]
    squares: Float[Array, ""]
    downside_count: Int[Array, ""]
    downside_squares: Float[Array, ""]
    sharpe_mean: Float[Array, ""]
    sharpe_square: Float[Array, ""]
    downside_square: Float[Array, ""]
    turnover: Float[Array, ""]
    num_trades: Int[Array, ""]
    is_last: Bool[Array, ""]
    scaling: Float[Array, ""]
    bars_per_year: Float[Array, ""]


@typing.no_type_check
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
        waiting: `[A]` actions (`[A, 2]` of bands) that wait for their asset's next bar; hold, or NaN of numbers, where
            none does.
        phase: int32 a bar at which the agent decides; others lie `decide_every` bars apart.
        working_shares: `[A]` signed shares of orders still to be filled.
        unsettled_cash: `[settlement_days]` proceeds of sales that cannot buy yet, those of this session last.
        fee_day_cash: `[J]` what each kind of fee has charged in this session, not rounded.
        opened_today: `[A]` bool, bought in this session and not sold since.
        day_trades, session_fills: `[5]` int32 counts of the last sessions, this one first.
        flagged: bool, marked as a pattern day trader.
        session_equity: equity at the last close of the session before.
        trades_today: int32 fills in this session.
        halted: bool, the drawdown halt has happened.
        stats: what rewards remember.
    """

    t: Int[Array, ""]
    end: Int[Array, ""]
    cash: Float[Array, ""]
    cash_low: Float[Array, ""]
    shares: Float[Array, " A"]
    entry_price: Float[Array, " A"]
    entry_bar: Int[Array, " A"]
    equity: Float[Array, ""]
    peak_equity: Float[Array, ""]
    cost: Float[Array, ""]
    cost_low: Float[Array, ""]
    episode_return: Float[Array, ""]
    highest_price: Float[Array, " A"] | None = None
    entry_atr: Float[Array, " A"] | None = None
    waiting: Num[Array, " A *edges"] | None = None
    phase: Int[Array, ""] | None = None
    working_shares: Float[Array, " A"] | None = None
    unsettled_cash: Float[Array, " settlement_days"] | None = None
    fee_day_cash: Float[Array, " J"] | None = None
    opened_today: Bool[Array, " A"] | None = None
    day_trades: Int[Array, "5"] | None = None
    session_fills: Int[Array, "5"] | None = None
    flagged: Bool[Array, ""] | None = None
    session_equity: Float[Array, ""] | None = None
    trades_today: Int[Array, ""] | None = None
    halted: Bool[Array, ""] | None = None
    stats: ReturnStats | None = None


@typing.no_type_check
class Observation(struct.PyTreeNode):
    """What the agent sees at the close of bar t: the row of the market, by its index, and the account.

    Attributes:
        t: int32 row of `market.features`.
        positions: `[A, 2]` float16, the first of `observation.ASSET_FIELDS`.
        levels: `[A, 3]` uint8, the others, in 1/255; `[A, 1]` where `EnvConfig.observation` is `brief`.
        account: `[G]` float16, see `observation.ACCOUNT_FIELDS`; the first of them where it is.
        valid: `[A]` uint8, which actions there are beside holding: the bits `MAY_BUY` and `MAY_SELL`; None where no
            rule takes any away. Numbers (weights, bands) and levels count where either bit is set.
    """

    t: Int[Array, ""]
    positions: Float16[Array, "A 2"]
    levels: UInt8[Array, "A levels"]
    account: Float16[Array, " G"]
    valid: UInt8[Array, " A"] | None = None

    @property
    def assets(self) -> Float[Array, "*batch A H"]:
        """`[A, H]` float32 values of `observation.ASSET_FIELDS`."""
        return jnp.concatenate([self.positions.astype(jnp.float32), self.levels.astype(jnp.float32) / 255], axis=-1)


@typing.no_type_check
class Costs(struct.PyTreeNode):
    """What the fee of fills consists of, and the price they were meant to get; `[A]` each, known when they fill.

    Commission and fees add up to `Fill.fee_cash` but where that is limited to the value traded.

    Attributes:
        commission_cash: the broker's, dollars.
        fees_cash: dollars of each of the K kinds of the fee schedule.
        aim: dollars a share: `Fill.reference`, but for a stop that the open has gapped through its level.
    """

    commission_cash: Float[Array, " A"]
    fees_cash: tuple[Float[Array, " A"], ...]
    aim: Float[Array, " A"]


@typing.no_type_check
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
            where no rule makes them differ; `impact` is None without that rule. Orders and exits at a limit pay none of
            them, and have `price` equal to `reference`.
        costs: None unless the environment itemises; see `TradingEnv`.
    """

    shares: Float[Array, " A"]
    price: Float[Array, " A"]
    reference: Float[Array, " A"]
    fee_cash: Float[Array, " A"]
    fee_cash_by_kind: tuple[Float[Array, " A"], ...]
    reason: Int8[Array, " A"]
    spread: Float[Array, " *A"]
    slippage: Float[Array, " *A"]
    impact: Float[Array, " *A"] | None
    costs: Costs | None = None


Info = dict[str, Any]
