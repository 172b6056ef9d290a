"""The bars that the reference broker trades on, checked once and kept as plain lists of floats."""

from typing import Any

import numpy as np


class Bars:
    """Broker-ready arrays of T bars and A assets.

    Args:
        open, high, low, close: `[T, A]` prices as traded, finite; a missing bar carries a price that marks positions,
            a bar before the first listing is 0.
        tradable: `[T, A]` bool, False where nothing fills.
        buyable: `[T, A]` bool, False where nothing is bought; None where whatever trades may be.
        volume: `[T, A]` shares traded in the bar; None where no rule asks for it.
        sessions: `[T]` trading days since 1970-01-01; None for a session per bar.
        delisted: `[T, A]` bool, True in the bar in which what is left of an asset is closed; None for never.
        dividend: `[T, A]` dollars per (new) share held over the open of the bar; None for none.
        split: `[T, A]` new shares per old share at the open of the bar; None for none.
        atr, volatility: `[T, A]` fractions of the price, known at close t, 0 where unknown; None for nowhere known.
        adv: `[T, A]` dollars traded in a usual bar, known at close t, 0 where unknown; None for nowhere known.
        spread_scale, impact_scale: `[T, A]` multiples of spread and impact of the fills in a bar; None for 1.

    Attributes:
        The same names, as lists of T lists of A floats or bools (`sessions`: T ints).

    Raises:
        ValueError: if an array has the wrong shape or a value that no market has.
    """

    def __init__(
        self,
        open: Any,
        high: Any,
        low: Any,
        close: Any,
        tradable: Any,
        volume: Any = None,
        sessions: Any = None,
        delisted: Any = None,
        dividend: Any = None,
        split: Any = None,
        atr: Any = None,
        volatility: Any = None,
        adv: Any = None,
        spread_scale: Any = None,
        impact_scale: Any = None,
        buyable: Any = None,
    ) -> None:
        shape = np.shape(close)
        none, never = np.zeros(shape), np.zeros(shape, bool)
        prices = {"open": open, "high": high, "low": low, "close": close}
        read = {name: _not_negative(name, values, shape) for name, values in prices.items()}
        for name, values in {"volume": volume, "atr": atr, "volatility": volatility, "adv": adv}.items():
            read[name] = none if values is None else _not_negative(name, values, shape)
        can_trade = _numbers("tradable", tradable, shape).astype(bool)
        if ((read["open"] <= 0) | (read["low"] <= 0))[can_trade].any():
            raise ValueError("A tradable bar has a price of 0; mark it as not tradable.")
        ratio = np.ones(shape) if split is None else _numbers("split", split, shape)
        for name, values in {"spread_scale": spread_scale, "impact_scale": impact_scale}.items():
            read[name] = np.ones(shape) if values is None else _not_negative(name, values, shape)
        if not (ratio > 0).all():
            raise ValueError("split holds a ratio that is not above 0; write 1 where there is no split.")
        days = np.arange(shape[0]) if sessions is None else np.asarray(sessions)
        if days.shape != shape[:1] or (np.diff(days) < 0).any():
            raise ValueError(f"sessions has shape {days.shape}; give {shape[0]} days that never go back.")

        self.num_bars, self.num_assets = shape
        self.open, self.high, self.low, self.close = (read[name].tolist() for name in prices)
        self.volume, self.atr = read["volume"].tolist(), read["atr"].tolist()
        self.volatility, self.adv = read["volatility"].tolist(), read["adv"].tolist()
        self.spread_scale, self.impact_scale = read["spread_scale"].tolist(), read["impact_scale"].tolist()
        self.tradable = can_trade.tolist()
        self.buyable = (~never if buyable is None else _numbers("buyable", buyable, shape).astype(bool)).tolist()
        self.delisted = (never if delisted is None else _numbers("delisted", delisted, shape).astype(bool)).tolist()
        self.dividend = (none if dividend is None else _numbers("dividend", dividend, shape)).tolist()
        self.split = ratio.tolist()
        self.sessions = days.tolist()

    def ends_session(self, bar: int) -> bool:
        """Return whether no later bar belongs to the session of `bar`."""
        return bar + 1 == self.num_bars or self.sessions[bar + 1] != self.sessions[bar]


def _numbers(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.shape != shape or len(shape) != 2:
        raise ValueError(f"{name} has shape {array.shape}; every array is [T, A], and close has {shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds a value that is not finite; give broker-ready arrays.")
    return array


def _not_negative(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = _numbers(name, values, shape)
    if (array < 0).any():
        raise ValueError(f"{name} holds a value below 0.")
    return array
