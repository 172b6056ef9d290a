"""Protective exits: stop loss and take profit on the bar's open, high and low.

A stop that the open gaps through fills at the open, with slippage; a target that the open gaps through fills at the
open, a limit order's price improvement. Inside the bar the stop is taken first when both levels are touched, because
the order of high and low is not known. A rule that is off is not in the compiled program.
"""

import jax.numpy as jnp
from flax import struct

from ploutos_jax.env.types import Array, Bar, EnvConfig, EnvParams


class Exits(struct.PyTreeNode):
    """Which positions a protective exit closes at one moment of a bar, and at which market price; `[A]` each."""

    stop: Array
    target: Array
    reference: Array

    @property
    def any(self) -> Array:
        return self.stop | self.target


def exits_at_open(config: EnvConfig, params: EnvParams, bar: Bar, held: Array, entry_price: Array) -> Exits:
    """Return the resting exits of positions `held` that the open of the bar gaps through."""
    stop_level, target_level = _levels(config, params, entry_price)
    live = held & bar.tradable
    stop = live & (bar.open <= stop_level)
    target = live & ~stop & (bar.open >= target_level)
    return Exits(stop=stop, target=target, reference=bar.open)


def exits_inside_bar(config: EnvConfig, params: EnvParams, bar: Bar, held: Array, entry_price: Array) -> Exits:
    """Return the exits that the low and high of the bar touch, at their level; the stop wins over the target.

    A stop level above the open (a position bought in this bar at a price that costs lifted) fills at the open.
    """
    stop_level, target_level = _levels(config, params, entry_price)
    live = held & bar.tradable
    stop = live & (bar.low <= stop_level)
    target = live & ~stop & (bar.high >= target_level)
    reference = jnp.where(stop, jnp.minimum(stop_level, bar.open), target_level)
    return Exits(stop=stop, target=target, reference=jnp.where(stop | target, reference, bar.open))


def _levels(config: EnvConfig, params: EnvParams, entry_price: Array) -> tuple[Array, Array]:
    never_below, never_above = jnp.full_like(entry_price, -jnp.inf), jnp.full_like(entry_price, jnp.inf)
    stop = never_below if config.stop_loss is None else entry_price * (1 - params.stop_loss)
    target = never_above if config.take_profit is None else entry_price * (1 + params.take_profit)
    return stop, target
