"""What a fill costs: how far its price is from the market's, and its fees."""

from collections import Counter
from collections.abc import Sequence
from math import ceil, exp, sqrt
from typing import NamedTuple

from tests.reference.bars import Bars
from tests.reference.settings import FeeKind, Settings, zero_if_off

BUY_SIDE, SELL_SIDE = 1, -1

SQUARE_ROOT_FROM = 0.001
"""Below this share of a usual bar's value, impact grows in proportion to it."""


class Known(NamedTuple):
    """What is known at close t, and the luck of the step.

    Attributes:
        equity: dollars at close t.
        drawdown: `1 - equity / highest equity`, at close t.
        atr, volatility, adv: A numbers each, 0 where unknown.
        noise: A standard normal numbers.
    """

    equity: float
    drawdown: float
    atr: Sequence[float]
    volatility: Sequence[float]
    adv: Sequence[float]
    noise: Sequence[float]


def round_up_to_cents(dollars: float) -> float:
    return ceil(100 * dollars - 1e-6) / 100


class Costs:
    """Prices and fees of fills under some settings; `events` counts how often a limit among them was reached."""

    def __init__(self, settings: Settings, bars: Bars, events: Counter[str]) -> None:
        self.bars, self.events = bars, events
        self.tick_size = zero_if_off(settings.tick_size)
        self.spread = settings.spread_bps * 1e-4
        self.slippage = settings.slippage_bps * 1e-4
        self.slippage_atr = zero_if_off(settings.slippage_atr)
        self.slippage_volatility = zero_if_off(settings.slippage_volatility)
        self.slippage_noise = zero_if_off(settings.slippage_noise)
        self.impact_factor = zero_if_off(settings.impact)
        self.commission = settings.commission_bps * 1e-4
        self.commission_per_share = settings.commission_per_share
        self.commission_per_order = settings.commission_per_order
        self.commission_min = settings.commission_min
        self.kinds = tuple(settings.fees)
        self.rounding = settings.fee_rounding

    def move(self, asset: int, price: float, value: float, known: Known, bar: int) -> float:
        """Return how far from `price` a market order over `value` dollars fills in `bar`, as a fraction."""
        scale, spread = self.bars.spread_scale[bar][asset], self.spread * self.bars.spread_scale[bar][asset]
        self.events["spread wider than usual"] += scale > 1
        self.events["impact scaled"] += self.bars.impact_scale[bar][asset] != 1 and self.impact_factor > 0
        self.events["spread narrower than usual"] += scale < 1
        tick = self.tick_size if price >= 1 else self.tick_size / 100
        half_spread = max(spread / 2, tick / (2 * price))
        self.events["spread of a tick"] += half_spread > spread / 2
        slippage = (
            self.slippage + self.slippage_atr * known.atr[asset] + self.slippage_volatility * known.volatility[asset]
        ) * exp(self.slippage_noise * known.noise[asset])
        return half_spread + slippage + self.impact(asset, value, known) * self.bars.impact_scale[bar][asset]

    def impact(self, asset: int, value: float, known: Known) -> float:
        if known.adv[asset] == 0:
            return 0.0
        x = value / known.adv[asset]
        self.events["impact in proportion"] += x < SQUARE_ROOT_FROM
        self.events["impact by the root"] += x >= SQUARE_ROOT_FROM
        root = sqrt(x) if x >= SQUARE_ROOT_FROM else x / sqrt(SQUARE_ROOT_FROM)
        return self.impact_factor * known.volatility[asset] * root

    def fee(self, side: int, notional: float, shares: float, bar: int) -> tuple[float, list[float]]:
        """Return the fee of a fill in dollars, and of it what each kind of the schedule charges."""
        proportional = notional * self.commission + shares * self.commission_per_share
        commission = max(proportional + self.commission_per_order, self.commission_min)
        charges = [self._charge(kind, side, notional, shares, bar) for kind in self.kinds]
        if self.rounding == "fill":
            charges = [round_up_to_cents(charge) for charge in charges]
        total = commission + sum(charges)
        self.events["fee of the whole trade"] += total > notional
        return min(total, notional), charges

    def _charge(self, kind: FeeKind, side: int, notional: float, shares: float, bar: int) -> float:
        if not _pays(kind, side):
            return 0.0
        charge, cap = _proportional(kind, notional, shares, bar), kind.caps[bar]
        self.events["fee capped"] += charge > cap
        return min(charge, cap)

    def proportional_buy_fee(self, notional: float, shares: float, bar: int) -> float:
        """Return the part of a buy's fee that grows with its size."""
        paid = notional * self.commission + shares * self.commission_per_share
        return paid + sum(_proportional(k, notional, shares, bar) for k in self.kinds if _pays(k, BUY_SIDE))

    def fixed_buy_fee(self) -> float:
        """Return an upper bound of the part of a buy's fee that does not grow with its size."""
        cents = 0.01 * sum(_pays(kind, BUY_SIDE) for kind in self.kinds) if self.rounding == "fill" else 0.0
        return self.commission_per_order + self.commission_min + cents

    def reserve(self) -> float:
        """Return the dollars kept back for the rounding at the end of the day."""
        return 0.01 * len(self.kinds) if self.rounding == "day" else 0.0


def _pays(kind: FeeKind, side: int) -> bool:
    return kind.sides == "both" or side == SELL_SIDE


def _proportional(kind: FeeKind, notional: float, shares: float, bar: int) -> float:
    return (notional if kind.unit == "notional" else shares) * kind.rates[bar]
