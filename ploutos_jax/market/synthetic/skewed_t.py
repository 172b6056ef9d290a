"""Shocks of the market factor: Hansen's skewed Student-t, with a path to it that foretells nothing of its end.

A Student-t variable is a normal one with a drawn variance, `y = √V·n`, and Hansen's is `(S(y) − a) / b` where S
stretches the left side by `1 − λ` and the right one by `1 + λ`. Written as a function of a Brownian motion at time 1,
`√V·G(B₁)`, its value on the way is `√V·E[G(B₁) | B_t]`: a martingale whose end has exactly the target law. Split into
night and day in any other way, the open would tell something of the close.

Source: Hansen (1994), Autoregressive conditional density estimation, International Economic Review 35; the path is
the martingale of Bass (1983), Skorokhod imbedding via stochastic integrals.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, ndtr, ndtri
from jaxtyping import Array, Float, PRNGKeyArray

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(16)
_NODE_SHARE = _WEIGHTS / _WEIGHTS.sum()
_NUM_PROPOSALS = 3


def draw_variance(
    key: PRNGKeyArray, tail: Float[Array, " ..."] | float, shape: tuple[int, ...]
) -> Float[Array, " ..."]:
    """Draw V of mean 1 such that `√V·n` with a standard normal n is Student-t with `tail` degrees of freedom.

    Args:
        key: consumed.
        tail: above 2, broadcast against `shape`.
        shape: of the result.

    `V = (tail/2 − 1) / Gamma(tail/2)`. Of three proposals of Marsaglia and Tsang (2000) the first accepted one is
    taken; all are refused about once in a hundred thousand times, and then V has the value at the gamma's mode. This
    runs without a loop, several times faster than `jax.random.gamma` on a CPU.
    """
    offset = jnp.asarray(tail, float) / 2 - 1 / 3
    normal_key, uniform_key = jax.random.split(key)
    x = jax.random.normal(normal_key, (_NUM_PROPOSALS, *shape))
    log_uniform = jnp.log(jax.random.uniform(uniform_key, x.shape, minval=jnp.finfo(x.dtype).tiny))
    cube = (1 + x / jnp.sqrt(9 * offset)) ** 3
    accepted = (cube > 0) & (
        log_uniform < x**2 / 2 + offset * (1 - cube + jnp.log(jnp.maximum(cube, jnp.finfo(x.dtype).tiny)))
    )
    gamma = jnp.ones(shape, x.dtype)
    for i in reversed(range(_NUM_PROPOSALS)):
        gamma = jnp.where(accepted[i], cube[i], gamma)
    return (offset - 2 / 3) / (offset * gamma)


def location_and_scale(
    tail: Float[Array, ""] | float, skew: Float[Array, ""] | float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return a and b, which give Hansen's variable mean 0 and variance 1."""
    tail = jnp.asarray(tail, float)
    log_c = gammaln((tail + 1) / 2) - gammaln(tail / 2) - jnp.log(jnp.pi * (tail - 2)) / 2
    a = 4 * skew * jnp.exp(log_c) * (tail - 2) / (tail - 1)
    return a, jnp.sqrt(1 + 3 * jnp.square(skew) - a**2)


def lower_second_moment(tail: Float[Array, ""] | float, skew: Float[Array, ""] | float) -> Float[Array, ""]:
    """Return `E[z²; z < 0]` of Hansen's variable, by the midpoint rule over its density."""
    tail = jnp.asarray(tail, float)
    a, b = location_and_scale(tail, skew)
    log_c = gammaln((tail + 1) / 2) - gammaln(tail / 2) - jnp.log(jnp.pi * (tail - 2)) / 2
    share = (jnp.arange(4000) + 0.5) / 4000
    # z = −u/(1 − u) takes (0, 1) to the whole left half.
    z = -share / (1 - share)
    side = jnp.where(z < -a / b, 1 - skew, 1 + skew)
    density = b * jnp.exp(log_c - (tail + 1) / 2 * jnp.log1p(((b * z + a) / side) ** 2 / (tail - 2)))
    return jnp.mean(z**2 * density / (1 - share) ** 2)


def stretched(
    motion: Float[Array, " *shape"], time: Float[Array, " ..."] | float, skew: Float[Array, ""] | float
) -> Float[Array, " *shape"]:
    """Return `E[G(B₁) | B_t]`, G the stretched normal variable as a function of a standard normal one.

    Args:
        motion: B at `time`.
        time: in 0 to 1, broadcast against `motion`.
        skew: λ.
    """
    spread = jnp.sqrt(jnp.maximum(1 - jnp.asarray(time, motion.dtype), 0))
    nodes = motion[..., None] + spread[..., None] * jnp.asarray(_NODES, motion.dtype)
    return (stretch(nodes, skew) * jnp.asarray(_NODE_SHARE, motion.dtype)).sum(axis=-1)


def stretch(normal: Float[Array, " *shape"], skew: Float[Array, ""] | float) -> Float[Array, " *shape"]:
    """Return `G` of a standard normal variable: the same quantile of the stretched one."""
    tail = ndtr(-jnp.abs(normal))
    below, above = (jnp.where((normal < 0) == is_left, tail, 1 - tail) for is_left in (True, False))
    side = jnp.where(below < (1 - skew) / 2, -1, 1)
    scale = 1 + side * skew
    return -side * scale * ndtri(jnp.where(side < 0, below, above) / scale)


def steepness(
    motion: Float[Array, " *shape"], time: Float[Array, " ..."] | float, skew: Float[Array, ""] | float
) -> Float[Array, " *shape"]:
    """Return about how far `stretched` moves for a unit of `motion`: between `1 − λ` left and `1 + λ` right."""
    spread = jnp.maximum(jnp.sqrt(jnp.maximum(1 - jnp.asarray(time, motion.dtype), 0)), 1e-3)
    # G bends where the share of the left side, (1 − λ)/2, lies below: near −λ·√(π/2).
    bend = -jnp.asarray(skew, motion.dtype) * np.sqrt(np.pi / 2)
    return 1 - skew + 2 * skew * ndtr((motion - bend) / spread)
