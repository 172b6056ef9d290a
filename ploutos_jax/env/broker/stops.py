"""Protective exits: stops, targets, trailing stops, time stops and the drawdown halt, on the bar's open, high and low.

A level that the open gaps through fills at the open; the order of high and low inside a bar is not known, so a bar
that touches stop and target takes the stop unless configured otherwise. A rule that is off is not compiled.
"""

import typing
from collections.abc import Callable

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Int8

from ploutos_jax.env.broker.bar import Bar
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import HALT, NO_FILL, STOP, TARGET, TIME, TRAILING, EnvParams, EnvState


@typing.no_type_check
class Exits(struct.PyTreeNode):
    """Which positions an exit closes at one moment of a bar: why (int8) and at which market price; `[A]` each."""

    reason: Int8[Array, " A"]
    reference: Float[Array, " A"]

    @property
    def any(self) -> Bool[Array, " A"]:
        """`[A]` bool."""
        return self.reason != NO_FILL

    def keep(self, allowed: Bool[Array, " A"]) -> "Exits":
        """Return the exits of `[A]` assets that are allowed."""
        return self.replace(reason=jnp.where(allowed, self.reason, NO_FILL))


@typing.no_type_check
class Levels(struct.PyTreeNode):
    """Prices `[A]` at which a position is closed, and whether its stop is the trailing one; None where it has none."""

    stop: Float[Array, " A"] | None
    is_trailing: Bool[Array, " A"] | None
    target: Float[Array, " A"] | None


def exits_at_open(config: EnvConfig, params: EnvParams, state: EnvState, bar: Bar, live: Bool[Array, " A"]) -> Exits:
    """Return the exits of `[A]` positions `live` that fill at the open: gaps, the drawdown halt, time stops."""
    reason = jnp.zeros(live.shape, jnp.int8)
    if config.max_holding_bars is not None:
        reason = jnp.where(bar.row - state.entry_bar >= params.max_holding_bars, TIME, reason)
    if state.halted is not None:
        reason = jnp.where(state.halted, HALT, reason)
    levels = find_levels(config, params, state)
    if levels.target is not None:
        reason = jnp.where(bar.open >= levels.target, TARGET, reason)
    if levels.stop is not None:
        reason = jnp.where(bar.open <= levels.stop, _name_of_stop(levels), reason)
    return _live(config, params, state, bar, live, reason, bar.open)


def exits_inside_bar(
    config: EnvConfig,
    params: EnvParams,
    state: EnvState,
    bar: Bar,
    live: Bool[Array, " A"],
    bought_at: Float[Array, " A"] | None = None,
) -> Exits:
    """Return the exits of `[A]` positions `live` whose levels the low and high of the bar touch.

    A stop level above the open (a position bought in this bar at a price that costs lifted) fills at the open.

    Args:
        config, params: rules and numbers.
        state: the account at that moment.
        bar: the bar.
        live: `[A]` bool, positions that may exit.
        bought_at: `[A]` fill price of limit buys of this bar, infinite where there is none; None without limit orders.
            The bar's high may lie before such a buy, so that it reaches no target, and a stop above it fills at it.
    """
    reason, reference = jnp.zeros(live.shape, jnp.int8), bar.open
    levels = find_levels(config, params, state)
    target_hit = jnp.zeros(live.shape, bool)
    if levels.target is not None:
        target_hit = bar.high > levels.target if config.strict_targets else bar.high >= levels.target
        target_hit = target_hit if bought_at is None else target_hit & jnp.isinf(bought_at)
        reason = jnp.where(target_hit, TARGET, reason)
        reference = jnp.where(target_hit, levels.target, reference)
    if levels.stop is not None:
        stop_hit = (bar.low <= levels.stop) & ~(target_hit & _takes_target(config, bar))
        reason = jnp.where(stop_hit, _name_of_stop(levels), reason)
        most = bar.open if bought_at is None else jnp.minimum(bar.open, bought_at)
        reference = jnp.where(stop_hit, jnp.minimum(levels.stop, most), reference)
    return _live(config, params, state, bar, live, reason, reference)


def find_levels(config: EnvConfig, params: EnvParams, state: EnvState) -> Levels:
    """Return the levels of the positions held, from what was known before the bar."""
    entry, highest, atr = state.entry_price, state.highest_price, state.entry_atr
    stops: list[Array] = []
    trails: list[Array] = []
    targets: list[Array] = []
    if config.stop_loss is not None:
        stops.append(entry * (1 - params.stop_loss))
    if config.take_profit is not None:
        targets.append(entry * (1 + params.take_profit))
    if config.stop_loss_atr is not None and atr is not None:
        stops.append(jnp.where(atr > 0, entry * (1 - params.stop_loss_atr * atr), -jnp.inf))
    if config.take_profit_atr is not None and atr is not None:
        targets.append(jnp.where(atr > 0, entry * (1 + params.take_profit_atr * atr), jnp.inf))
    if config.break_even is not None and highest is not None:
        stops.append(jnp.where(highest >= entry * (1 + params.break_even), entry, -jnp.inf))
    if config.trailing_stop is not None and highest is not None:
        trails.append(highest * (1 - params.trailing_stop))
    if config.trailing_atr is not None and highest is not None and atr is not None:
        trails.append(jnp.where(atr > 0, highest * (1 - params.trailing_atr * atr), -jnp.inf))
    stop, trail = _most(jnp.maximum, stops), _most(jnp.maximum, trails)
    is_trailing = None
    if trail is not None:
        is_trailing = jnp.ones(entry.shape, bool) if stop is None else trail > stop
        stop = trail if stop is None else jnp.maximum(stop, trail)
    return Levels(stop=stop, is_trailing=is_trailing, target=_most(jnp.minimum, targets))


def follow_price(state: EnvState, bar: Bar, *, of_new: bool = True) -> EnvState:
    """Raise the highest price of the positions held to the bar's high, once its exits have been tested.

    Without `of_new`, not of positions opened in the bar: its high may lie before them.
    """
    if state.highest_price is None:
        return state
    seen = (state.shares != 0) & bar.tradable
    seen = seen if of_new else seen & (state.entry_bar != bar.row)
    return state.replace(highest_price=jnp.where(seen, jnp.maximum(state.highest_price, bar.high), state.highest_price))


def is_bound_to_hold(params: EnvParams, state: EnvState, row: Int[Array, ""]) -> Bool[Array, " A"]:
    """Tell which `[A]` positions are younger than the minimum holding period at bar `row`."""
    return (state.shares != 0) & (row - state.entry_bar < params.min_holding_bars)


def _live(
    config: EnvConfig, params: EnvParams, state: EnvState, bar: Bar, live: Array, reason: Array, reference: Array
) -> Exits:
    live = live & bar.tradable
    if config.holding_binds_stops and config.min_holding_bars is not None:
        live = live & ~is_bound_to_hold(params, state, bar.row)
    exits = Exits(reason=reason.astype(jnp.int8), reference=reference).keep(live)
    return exits.replace(reference=jnp.where(exits.any, reference, bar.open))


def _most(choose: Callable[[Array, Array], Array], levels: list[Array]) -> Array | None:
    if not levels:
        return None
    most = levels[0]
    for level in levels[1:]:
        most = choose(most, level)
    return most


def _name_of_stop(levels: Levels) -> Array | int:
    return STOP if levels.is_trailing is None else jnp.where(levels.is_trailing, TRAILING, STOP)


def _takes_target(config: EnvConfig, bar: Bar) -> Array | bool:
    """Tell where a bar that touches stop and target takes the target."""
    if config.both_touched == "path":
        return bar.high - bar.open < bar.open - bar.low
    return config.both_touched == "target"
