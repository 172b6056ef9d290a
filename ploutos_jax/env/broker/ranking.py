"""Which orders come first when a rule lets only some of them through."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_UNROLLED = 8
_NOWHERE = 2**31 - 1


def largest_first(
    candidates: Bool[Array, " A"],
    value: Float[Array, " A"],
    adv: Float[Array, " A"] | None,
    allowed: Int[Array, ""],
    most: int,
) -> Bool[Array, " A"]:
    """Keep the first candidates: larger value first, then larger usual volume, then the lower column.

    Args:
        candidates: `[A]` bool.
        value: `[A]` dollars.
        adv: `[A]` usual dollar volume, or None where the market does not know it.
        allowed: int32 how many may be kept; none below 1.
        most: bound of `allowed` known when compiling.

    Returns:
        `[A]` bool.
    """
    place = jnp.arange(candidates.shape[0], dtype=jnp.int32)
    adv = jnp.zeros_like(value) if adv is None else adv
    # An order of precedence has no slope, and the reduction below none that JAX knows.
    value, adv = jax.lax.stop_gradient((value, adv))
    # Numbers that no candidate has, so that whatever is left over loses against every candidate.
    least = (jnp.array(-jnp.inf, value.dtype), jnp.array(-jnp.inf, adv.dtype), jnp.array(_NOWHERE, jnp.int32))

    def keep_one(number: Array | int, kept: Array) -> Array:
        left = candidates & ~kept
        entries = (jnp.where(left, value, least[0]), jnp.where(left, adv, least[1]), jnp.where(left, place, least[2]))
        *_, first = jax.lax.reduce(entries, least, _first_of_two, (0,))
        return kept | ((place == first) & (number < allowed))

    kept, num_rounds = jnp.zeros_like(candidates), min(most, candidates.shape[0])
    if num_rounds > _UNROLLED:
        return jax.lax.fori_loop(0, num_rounds, keep_one, kept)
    for number in range(num_rounds):
        kept = keep_one(number, kept)
    return kept


def _first_of_two(one: tuple[Array, ...], two: tuple[Array, ...]) -> tuple[Array, ...]:
    (value, adv, place), (other_value, other_adv, other_place) = one, two
    tied, more = value == other_value, value > other_value
    tied, more = tied & (adv == other_adv), more | (tied & (adv > other_adv))
    is_first = more | (tied & (place < other_place))
    return tuple(jnp.where(is_first, a, b) for a, b in zip(one, two, strict=True))
