"""EnvConfig: the rules of the environment and the numbers that `TradingEnv.default_params` turns into leaves."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ploutos_jax.env.bounds import ENV_BOUNDS, check_bounds, check_kinds, shown
from ploutos_jax.env.broker.fees import EXCHANGE, FeeSchedule, resolve_schedule
from ploutos_jax.env.cards import card_of
from ploutos_jax.env.rewards import RewardFunction, Terms, resolve_reward
from ploutos_jax.market.display import Card, Shown
from ploutos_jax.market.instrument import INSTRUMENTS

RewardSetting = str | RewardFunction | tuple[tuple[str | RewardFunction, float], ...]
FeeSetting = str | FeeSchedule

AUTO = "auto"
"""A cost that is left to the instrument; see `broker.instruments`."""


@dataclasses.dataclass(frozen=True, repr=False)
class EnvConfig(Shown):
    """Rules and numbers of the environment; `docs/broker.md` says what each does, in which order.

    A rule that is None (or "none") is off and not in the compiled program. Fractions unless named otherwise.

    Attributes:
        action: `discrete` is hold, buy or sell per asset; `weights` is a target share of equity per asset; `bands` is a
            lower and an upper share per asset, and a position outside is traded to the nearer of them; `levels` is
            keep, or 0, a quarter, a half or all of the largest position per asset.
        decide_every: bars between two decisions of the agent; in the bars between nothing is ordered, and exits work
            on. Episodes of training begin anywhere between two. In [1, 1e6].
        action_masks: which orders the agent cannot even give: `none`; `sound`, those that the account's rules will
            refuse whatever the next bar brings; `advised`, also buys with next to no room, settled cash or sector limit
            left for them.
        observation: what the agent sees of its account: `full`, all of `pj.ASSET_FIELDS` and `pj.ACCOUNT_FIELDS`, or
            `brief`, the first three of each.
        reward: a name, such as `log_return`, or several with weights, such as "log_return, -0.1*turnover"; in
            Python also your own function of the account before and after a bar, or a tuple of (name or function,
            weight).
        episode_length: bars in a training episode. In [1, 1e7].
        initial_cash: dollars at the start of an episode. In [1e-6, 1e12].

        fill: when orders decided at close t fill: `next_open`, `next_close`, or `same_close` (for comparison with
            other engines: it trades at the price it has seen).
        order_type: `market`, or `limit`: the agent buys `limit_offset_bps` below and sells as much above the close it
            has observed, in the next bar or not at all. It fills where the bar trades through that price, and pays
            fees, but no spread, slippage or impact. Stops and other exits stay market orders.
        limit_offset_bps: distance of limit orders from that close. In [0, 10,000).
        buy_pct: share of equity that one buy order spends. In (0, 1].
        max_position_pct: largest share of equity in one asset that a buy may reach; without it a quarter, of fewer than
            twelve assets three times an equal part, at most all; with `bands` and `levels` three times an equal part of
            any number. In (0, 1].
        max_sector_pct: largest share of equity in one sector that buys may reach. In (0, 1].
        sizing: how large a discrete buy is: `fixed` share `buy_pct`; `volatility` is `buy_pct` of an asset with the
            target volatility, less of a wilder one; `atr` loses `risk_pct` of equity in a move of `risk_atr` ATR.
        target_volatility: volatility of a year at which `volatility` sizing spends `buy_pct`. In (0, 100].
        risk_pct: share of equity that `atr` sizing puts at risk in one buy. In (0, 1].
        risk_atr: move against a position that `atr` sizing takes for that risk, in multiples of the ATR. In (0, 1,000].
        bars_per_year: bars in a year, by which volatility sizing, rewards and figures of training are annualised; those
            of the market's own calendar without it. In (0, 1e8].
        drawdown_scaling: buys shrink in proportion to the drawdown, to nothing at this one. In (0, 1).
        no_trade_band: changes of weight below this are not traded. In [0, 10].
        min_order_cash: buys and partial sales below this many dollars are not sent; it keeps dust out of the book. In
            [0, 1e12].
        lot_size: shares in a lot; None for fractional shares. In (0, 1e9].
        max_participation: largest share of a bar's volume that may be filled in it. In (0, 1].
        remainder: what happens to what that leaves unfilled: `cancel`, or `carry` into later bars.
        min_holding_bars: bars before the agent may sell a position. In [1, 1e7].
        holding_binds_stops: whether stops and other exits wait for `min_holding_bars` too.
        max_trades_per_day: fills in a session after which orders are refused. In [1, 1e6].

        instrument: what costs that are left to it suit: `us-equity`, `crypto`, `fx`, `futures`, `generic` (basis points
            only), or `auto`, found for each ticker from its name, its exchange and its bars.
        spread_bps: full quoted bid-ask spread; each side of a trade pays half of it. In [0, 20,000).
        tick_size: smallest step of a price of $1 or more, in dollars, a hundredth of it below: no spread is narrower.
            `auto` is the instrument's, and none for prices that are not those traded. In [0, 1e6].
        slippage_bps: further adverse move of every market order and stop, per side. In [0, 10,000).
        slippage_atr: the same adverse move in multiples of the average true range. In [0, 100].
        slippage_volatility: the same adverse move in multiples of the volatility of a bar. In [0, 100].
        slippage_noise: standard deviation of the logarithm of a random factor on slippage. In [0, 5].
        impact: factor of the square-root law of market impact, about 1. In [0, 1,000].
        fees: fee schedule of broker and regulators: `auto` is `alpaca` for US equities, and for other instruments a
            usual fee in basis points, unless a commission is set; `none`, `alpaca` (by date), `alpaca@2024-05-22`
            (that day's, at all times), `conservative`, `doc_compat`, `percent`, or a `FeeSchedule`; `exchange` is what
            the exchange of each ticker says of itself, in the file beside the bars of `download --vendor ccxt`: taker
            fee (maker fee of limit orders), lot, least order, and tick unless it is set.
        fee_rounding: `none`, `fill` or `day` (up to the cent); None for the schedule's own.
        commission_bps: commission in proportion to the traded value, per side. In [0, 10,000).
        commission_per_share: dollars per share traded, per side. In [0, 1e6].
        commission_per_order: dollars per fill. In [0, 1e9].
        commission_min: least dollars per fill. In [0, 1e9].

        stop_loss: loss from the average fill price at which a position is closed. In (0, 1).
        take_profit: gain from the average fill price at which a position is closed. In (0, 1e6].
        trailing_stop: fall from the highest price since entry at which a position is closed. In (0, 1).
        break_even: gain after which the stop stands at the average fill price. In (0, 1e6].
        stop_loss_atr: distance of a stop loss in multiples of the ATR at entry. In (0, 1e6].
        take_profit_atr: distance of a target in multiples of the ATR at entry. In (0, 1e6].
        trailing_atr: distance of a trailing stop in multiples of the ATR at entry. In (0, 1e6].
        max_holding_bars: bars after which a position is closed at the open. In [1, 1e7].
        drawdown_halt: drawdown at which everything is sold and nothing is bought for the rest of the episode. In (0,
            1).
        both_touched: a bar that touches stop and target: `pessimistic` takes the stop, `target` the target, `path` the
            one on the side of the extreme nearer to the open.
        strict_targets: whether the price must go through a target, not only to it.

        settlement_days: sessions before the proceeds of a sale can buy again. In [0, 5].
        cash_rate: interest of a year on cash. In [0, 10].
        day_trade_rule: `pdt_2001` limits day trades of small accounts; `by_date` does so before 2026-06-04, when the
            rule ended.
        day_trade_mode: what it refuses: the `entry` that could become a fourth day trade, the `exit`, or `both`.
        day_trade_equity: dollars from which on the rule does not bind. In [0, 1e12].
        delisting_recovery: share of the last close that a holder gets when an asset ends. In [0, 1].
        ruin_pct: the episode ends for good when equity falls below this share of `initial_cash`. In [0, 1].

        reward_eta: weight of the newest return in the moving averages of the differential rewards. In (0, 1].
        reward_volatility: return of a bar by which those averages are begun. In [1e-6, 1,000].
        reward_scaling: factor on the `five_term` reward. In [-1e6, 1e6].
    """

    action: Literal["discrete", "weights", "bands", "levels"] = "discrete"
    decide_every: int | None = None
    action_masks: Literal["none", "sound", "advised"] = "none"
    observation: Literal["full", "brief"] = "full"
    reward: RewardSetting = "log_return"
    episode_length: int = 252
    initial_cash: float = 100_000.0

    fill: Literal["next_open", "next_close", "same_close"] = "next_open"
    order_type: Literal["market", "limit"] = "market"
    limit_offset_bps: float = 10.0
    buy_pct: float = 0.10
    max_position_pct: float | None = None
    max_sector_pct: float | None = None
    sizing: Literal["fixed", "volatility", "atr"] = "fixed"
    target_volatility: float = 0.20
    risk_pct: float = 0.01
    risk_atr: float = 2.0
    bars_per_year: float | None = None
    drawdown_scaling: float | None = None
    no_trade_band: float | None = None
    min_order_cash: float = 1.0
    lot_size: float | None = None
    max_participation: float | None = None
    remainder: Literal["cancel", "carry"] = "cancel"
    min_holding_bars: int | None = None
    holding_binds_stops: bool = False
    max_trades_per_day: int | None = None

    instrument: Literal["auto", "us-equity", "crypto", "fx", "futures", "generic"] = "auto"
    spread_bps: float = 2.0
    tick_size: float | Literal["auto"] | None = "auto"
    slippage_bps: float = 1.0
    slippage_atr: float | None = None
    slippage_volatility: float | None = None
    slippage_noise: float | None = None
    impact: float | None = None
    fees: FeeSetting = "auto"
    fee_rounding: Literal["none", "fill", "day"] | None = None
    commission_bps: float = 0.0
    commission_per_share: float = 0.0
    commission_per_order: float = 0.0
    commission_min: float = 0.0

    stop_loss: float | None = 0.02
    take_profit: float | None = 0.04
    trailing_stop: float | None = None
    break_even: float | None = None
    stop_loss_atr: float | None = None
    take_profit_atr: float | None = None
    trailing_atr: float | None = None
    max_holding_bars: int | None = None
    drawdown_halt: float | None = None
    both_touched: Literal["pessimistic", "path", "target"] = "pessimistic"
    strict_targets: bool = False

    settlement_days: int = 0
    cash_rate: float | None = None
    day_trade_rule: Literal["none", "pdt_2001", "by_date"] = "none"
    day_trade_mode: Literal["entry", "exit", "both"] = "entry"
    day_trade_equity: float = 25_000.0
    delisting_recovery: float = 1.0
    ruin_pct: float = 0.10

    reward_eta: float = 1 / 252
    reward_volatility: float = 0.01
    reward_scaling: float = 1.0

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                words = ", ".join(map(repr, allowed[:-1])) + f" or {allowed[-1]!r}"
                raise ValueError(f"{name}={shown(getattr(self, name))} is unknown; use {words}.")
        check_kinds(self, ENV_BOUNDS, (None, AUTO))
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name}={value} must be a finite number.")
        for names, is_good, must in _RANGES:
            for name in names:
                value = getattr(self, name)
                if value is not None and not (value == AUTO and name == "tick_size") and not is_good(value):
                    raise ValueError(f"{name}={shown(value)} must {must}.")
        if self.spread_bps / 2 + self.slippage_bps + self.commission_bps >= 10_000:
            raise ValueError("spread_bps / 2 + slippage_bps + commission_bps must stay below 10,000 (100 %).")
        check_bounds(self, ENV_BOUNDS, (None, AUTO))
        if self.remainder == "carry" and self.max_participation is None:
            raise ValueError("remainder='carry' has nothing to carry: set max_participation, the cap on volume, too.")
        if self.order_type == "limit" and self.fill != "next_open":
            raise ValueError(
                f"order_type='limit' works in the whole bar after the decision: fill={self.fill!r} is for market orders"
                " alone; leave it at 'next_open'."
            )
        if self.order_type == "limit" and self.remainder != "cancel":
            raise ValueError(
                "order_type='limit' cancels what the bar does not fill: remainder='carry' would trade yesterday's"
                " price; leave it at 'cancel'."
            )
        resolve_schedule(self.fees)
        resolve_reward(self.reward)

    def _card(self) -> Card:
        return card_of(self)

    def without_strategy_rules(self) -> "EnvConfig":
        """Return the rules for following target weights to the letter: same costs and account, no exits, no limits.

        Orders are market orders: a rule that trades once would never trade where its limit is not reached.
        """
        off = dict.fromkeys(_STRATEGY_RULES)
        fixed: dict[str, Any] = {"action": "weights", "action_masks": "none", "order_type": "market"}
        return dataclasses.replace(self, **fixed, max_position_pct=1.0, **off)

    @property
    def is_choice(self) -> bool:
        """Whether an action is one of a few, numbered from 0, which leaves a position alone; else it is numbers."""
        return self.action in ("discrete", "levels")

    @property
    def is_by_exchange(self) -> bool:
        """Whether fees, lots and least orders are those of each ticker's exchange."""
        return self.fees == EXCHANGE

    @property
    def has_lots(self) -> bool:
        """Whether orders are rounded to lots."""
        return self.lot_size is not None or self.is_by_exchange

    @property
    def masks_actions(self) -> bool:
        """Whether a rule takes actions away from the agent, which `Observation.valid` then tells."""
        return self.decide_every is not None or self.action_masks != "none"

    @property
    def schedule(self) -> FeeSchedule:
        """The fee schedule, with the rounding chosen."""
        schedule = resolve_schedule(self.fees)
        return schedule if self.fee_rounding is None else dataclasses.replace(schedule, rounding=self.fee_rounding)

    def to_plain(self) -> dict[str, Any]:
        """Return the settings as JSON and YAML write them; functions of your own are left out for the default."""
        plain = dataclasses.asdict(self)
        if not isinstance(self.reward, str):
            terms = () if callable(self.reward) else self.reward
            names = [f"{weight}*{name}" for name, weight in terms if isinstance(name, str)]
            plain["reward"] = ", ".join(names) if names and len(names) == len(terms) else "log_return"
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "EnvConfig":
        """Return the configuration that `to_plain` wrote."""
        fees = plain.get("fees", cls.fees)
        return cls(**{**plain, "fees": FeeSchedule.from_plain(fees) if isinstance(fees, Mapping) else fees})

    @property
    def reward_terms(self) -> Terms:
        """The functions of the reward and their weights."""
        return resolve_reward(self.reward)

    @property
    def has_trailing(self) -> bool:
        """Whether a stop follows the highest price."""
        return (self.trailing_stop, self.trailing_atr) != (None, None)

    @property
    def has_atr_exits(self) -> bool:
        """Whether an exit's distance is measured in ATR."""
        return (self.stop_loss_atr, self.take_profit_atr, self.trailing_atr) != (None, None, None)

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of the market, in addition to its prices, that the rules read."""
        users = {
            "atr": self.has_atr_exits or self.slippage_atr is not None or self.sizing == "atr",
            "volatility": (self.slippage_volatility, self.impact) != (None, None) or self.sizing == "volatility",
            "adv": (self.impact, self.max_trades_per_day) != (None, None) or self.day_trade_rule != "none",
        }
        return tuple(name for name, used in users.items() if used)


EXIT_RULES = (
    "stop_loss",
    "take_profit",
    "trailing_stop",
    "break_even",
    "stop_loss_atr",
    "take_profit_atr",
    "trailing_atr",
    "max_holding_bars",
    "drawdown_halt",
)
"""Rules that close positions at an event; None is off."""
_STRATEGY_RULES = (
    "decide_every",
    *EXIT_RULES,
    "drawdown_scaling",
    "no_trade_band",
    "min_holding_bars",
    "max_trades_per_day",
    "max_sector_pct",
)

_CHOICES: dict[str, tuple[Any, ...]] = {
    "action": ("discrete", "weights", "bands", "levels"),
    "action_masks": ("none", "sound", "advised"),
    "observation": ("full", "brief"),
    "fill": ("next_open", "next_close", "same_close"),
    "order_type": ("market", "limit"),
    "sizing": ("fixed", "volatility", "atr"),
    "instrument": (AUTO, *INSTRUMENTS),
    "remainder": ("cancel", "carry"),
    "fee_rounding": ("none", "fill", "day", None),
    "both_touched": ("pessimistic", "path", "target"),
    "day_trade_rule": ("none", "pdt_2001", "by_date"),
    "day_trade_mode": ("entry", "exit", "both"),
}

_RANGES: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (("episode_length",), lambda x: x >= 1, "be at least 1 bar"),
    (("initial_cash",), lambda x: x > 0, "be above 0 dollars"),
    (
        ("buy_pct", "max_position_pct", "max_sector_pct", "risk_pct", "max_participation", "reward_eta"),
        lambda x: 0 < x <= 1,
        "lie in (0, 1]: it is a fraction",
    ),
    (("delisting_recovery", "ruin_pct"), lambda x: 0 <= x <= 1, "lie in [0, 1]"),
    (
        ("stop_loss", "trailing_stop", "drawdown_halt", "drawdown_scaling"),
        lambda x: 0 < x < 1,
        "lie in (0, 1), such as 0.02 for 2 %, or be None",
    ),
    (
        ("take_profit", "break_even", "stop_loss_atr", "take_profit_atr", "trailing_atr", "lot_size"),
        lambda x: x > 0,
        "be above 0, or None",
    ),
    (
        ("target_volatility", "risk_atr", "bars_per_year", "reward_volatility"),
        lambda x: x > 0,
        "be above 0",
    ),
    (
        ("min_holding_bars", "max_holding_bars", "max_trades_per_day", "decide_every"),
        lambda x: x >= 1 and x == int(x),
        "be a whole number of at least 1, or None",
    ),
    (("settlement_days",), lambda x: 0 <= x <= 5 and x == int(x), "be a whole number from 0 to 5"),
    (
        (
            "limit_offset_bps",
            "spread_bps",
            "tick_size",
            "slippage_bps",
            "slippage_atr",
            "slippage_volatility",
            "slippage_noise",
            "impact",
            "no_trade_band",
            "commission_bps",
            "commission_per_share",
            "commission_per_order",
            "commission_min",
            "min_order_cash",
            "cash_rate",
            "day_trade_equity",
        ),
        lambda x: x >= 0,
        "not be negative",
    ),
)
