"""Bounds of numbers in settings: within them arithmetic stays finite and sizes stay those of a machine.

The docstring of every settings class states them, as its help does.
"""

import dataclasses
import functools
import math
import numbers
import reprlib
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 60
_repr.maxlong = 40
_repr.maxlevel = 2
_MOST_BITS = 200
_LONGEST = 200
"""Signs of a value that a message shows."""


@dataclasses.dataclass(frozen=True)
class Bound:
    """From where to where a number may lie.

    Attributes:
        low, high: the ends.
        above, below: whether the low, or the high end itself is out.
        whole: whether it has to be a whole number.
        several: whether the setting is a list of such numbers.
    """

    low: float
    high: float
    above: bool = False
    below: bool = False
    whole: bool = False
    several: bool = False

    def __str__(self) -> str:
        return f"{'(' if self.above else '['}{_written(self.low)}, {_written(self.high)}{')' if self.below else ']'}"

    def is_of_kind(self, value: Any) -> bool:
        """Return whether a value is a number, and an integer where it has to be whole."""
        return _is_number(value) and (not self.whole or isinstance(value, numbers.Integral))

    @property
    def kind(self) -> str:
        """What a value has to be, in words."""
        return "a whole number" if self.whole else "a number"

    def holds(self, value: Any) -> bool:
        """Return whether a value is a number within."""
        if not self.is_of_kind(value):
            return False
        is_low = value > self.low if self.above else value >= self.low
        return is_low and (value < self.high if self.below else value <= self.high)


def share(*, above: bool = False, below: bool = False) -> Bound:
    """Return the bound of a fraction."""
    return Bound(0, 1, above=above, below=below)


def whole(low: int, high: int) -> Bound:
    """Return the bound of a whole number."""
    return Bound(low, high, whole=True)


def check_kinds(settings: Any, bounds: Mapping[str, Bound], others: tuple[Any, ...] = (None,)) -> None:
    """Make sure that numbers of settings are numbers: what asks how large they are comes after.

    Args:
        settings: with an attribute for each name.
        bounds: by name.
        others: values besides numbers that are allowed.

    Raises:
        ValueError: naming the first that is none.
    """
    for name, value, one in _numbers(settings, bounds, others):
        # Of hundreds of digits none is within bounds, but many sums and messages fail of them.
        if not bounds[name].is_of_kind(one) or (isinstance(one, int) and one.bit_length() > _MOST_BITS):
            raise ValueError(f"{name}={shown(value)} must be {bounds[name].kind} in {bounds[name]}.")


def check_bounds(settings: Any, bounds: Mapping[str, Bound], others: tuple[Any, ...] = (None,)) -> None:
    """Make sure that numbers of settings lie within their bounds; arguments are those of `check_kinds`.

    Raises:
        ValueError: naming the first that does not, and what it may be.
    """
    for name, value, one in _numbers(settings, bounds, others):
        if isinstance(one, float) and not math.isfinite(one):
            raise ValueError(f"{name}={value} is not a finite number; give one, or leave the setting out.")
        if not bounds[name].holds(one):
            raise ValueError(f"{name}={shown(value)} must be {bounds[name].kind} in {bounds[name]}.")


def _numbers(settings: Any, bounds: Mapping[str, Bound], others: tuple[Any, ...]) -> Iterator[tuple[str, Any, Any]]:
    """Give name and value of each setting, and each number in it where it holds several."""
    for name in bounds:
        value = getattr(settings, name)
        for one in value if bounds[name].several and isinstance(value, tuple | list) else (value,):
            is_other = (one is None or isinstance(one, str)) and one in others
            if not (is_other and one in _words(type(settings), name)):
                yield name, value, one


@functools.cache
def _words(kind: type, name: str) -> tuple[Any, ...]:
    """Return what a setting may be that is no number, by its annotation: None, and words."""
    words: list[Any] = []
    for one in typing.get_args(typing.get_type_hints(kind)[name]):
        words += [None] if one is type(None) else typing.get_args(one)
    return tuple(words)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def shown(value: Any) -> str:
    """Return a value as messages show it: on one line, and short whatever it is."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > _MOST_BITS:
        return f"a number of about {int(value.bit_length() * math.log10(2)) + 1} digits"
    text = " ".join(str(value).split()) if isinstance(value, BaseException) else _repr.repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _written(number: float) -> str:
    if float(number).is_integer() and (abs(number) < 1e6 or number % 1e6):
        return f"{int(number):,}"
    return f"{number:g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


ENV_BOUNDS: dict[str, Bound] = {
    "episode_length": whole(1, 10_000_000),
    "initial_cash": Bound(1e-6, 1e12),
    "limit_offset_bps": Bound(0, 10_000, below=True),
    "buy_pct": share(above=True),
    "max_position_pct": share(above=True),
    "max_sector_pct": share(above=True),
    "target_volatility": Bound(0, 100, above=True),
    "risk_pct": share(above=True),
    "risk_atr": Bound(0, 1000, above=True),
    "bars_per_year": Bound(0, 1e8, above=True),
    "drawdown_scaling": share(above=True, below=True),
    "no_trade_band": Bound(0, 10),
    "min_order_cash": Bound(0, 1e12),
    "lot_size": Bound(0, 1e9, above=True),
    "max_participation": share(above=True),
    "min_holding_bars": whole(1, 10_000_000),
    "decide_every": whole(1, 1_000_000),
    "max_trades_per_day": whole(1, 1_000_000),
    "spread_bps": Bound(0, 20_000, below=True),
    "tick_size": Bound(0, 1e6),
    "slippage_bps": Bound(0, 10_000, below=True),
    "slippage_atr": Bound(0, 100),
    "slippage_volatility": Bound(0, 100),
    "slippage_noise": Bound(0, 5),
    "impact": Bound(0, 1000),
    "commission_bps": Bound(0, 10_000, below=True),
    "commission_per_share": Bound(0, 1e6),
    "commission_per_order": Bound(0, 1e9),
    "commission_min": Bound(0, 1e9),
    "stop_loss": share(above=True, below=True),
    "take_profit": Bound(0, 1e6, above=True),
    "trailing_stop": share(above=True, below=True),
    "break_even": Bound(0, 1e6, above=True),
    "stop_loss_atr": Bound(0, 1e6, above=True),
    "take_profit_atr": Bound(0, 1e6, above=True),
    "trailing_atr": Bound(0, 1e6, above=True),
    "max_holding_bars": whole(1, 10_000_000),
    "drawdown_halt": share(above=True, below=True),
    "settlement_days": whole(0, 5),
    "cash_rate": Bound(0, 10),
    "day_trade_equity": Bound(0, 1e12),
    "delisting_recovery": share(),
    "ruin_pct": share(),
    "reward_eta": share(above=True),
    "reward_volatility": Bound(1e-6, 1000),
    "reward_scaling": Bound(-1e6, 1e6),
}
"""Numbers of `EnvConfig`."""

MAX_WEIGHT = 1e6
"""Largest weight of a reward, of either sign."""
