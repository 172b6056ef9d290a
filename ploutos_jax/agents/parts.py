"""Parts: the environments of a run in equal parts, one on each device, and what all of them say together."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

AXIS = "devices"
"""Name of the axis that programs of several devices sum over."""


@dataclasses.dataclass(frozen=True)
class Parts:
    """How many parts there are; static, so that a program of one part holds nothing of this.

    Where there are several, methods are called inside `jax.shard_map` over `AXIS`, by all devices. Sums over devices
    are added in an order of the machine's, so they differ from those of one device in the last bits.

    Attributes:
        number: parts, one for each device.
        seeds_on: devices that have seeds of their own instead, each with all environments of these.
    """

    number: int = 1
    seeds_on: int = 1

    @property
    def is_one(self) -> bool:
        return self.number == 1

    @property
    def place(self) -> Int[Array, ""]:
        """Which part this device has, int32 from 0."""
        return jnp.int32(0) if self.is_one else jax.lax.axis_index(AXIS).astype(jnp.int32)

    def of(self, whole: int) -> int:
        """Return a part's share of a number that the parts divide."""
        return whole // self.number

    def total(self, tree: Any) -> Any:
        """Return the sums over all parts of arrays that are sums over one."""
        return tree if self.is_one else jax.lax.psum(tree, AXIS)

    def mean(self, tree: Any) -> Any:
        """Return the means over all parts of arrays that are means over one."""
        return tree if self.is_one else jax.lax.pmean(tree, AXIS)

    def largest(self, tree: Any) -> Any:
        """Return the maxima over all parts of arrays that are maxima of one."""
        return tree if self.is_one else jax.lax.pmax(tree, AXIS)

    def all_true(self, x: Bool[Array, "..."]) -> Bool[Array, "..."]:
        """Return whether something holds in every part."""
        return x if self.is_one else jax.lax.pmin(x.astype(jnp.int32), AXIS) > 0

    def agreed(self, x: Bool[Array, ""]) -> Bool[Array, ""]:
        """Return whether something holds on every device, those with other seeds included."""
        return x if self.number * self.seeds_on == 1 else jax.lax.pmin(x.astype(jnp.int32), AXIS) > 0


WHOLE = Parts()
"""One device with all environments."""
