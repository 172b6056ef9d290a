"""BandsHead: a band of weights per asset, inside which a position is left alone."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

_LOG_DEVIATION = -0.5
"""Logarithm of the deviation of an untrained network's bands. A tenth of that moves too little to learn in a short run:
PPO lets a mean go a share of its deviation in an update."""
_LEAST_LOG_DEVIATION, _MOST_LOG_DEVIATION = -1.5, 1.0
"""Bounds of it. Noise costs trades, so without a floor PPO learns first of all to make none: deviations of 0.02, and
85 % of what a hint that lasts is worth, where bounded ones go on to 96 % (benchmarks/LEARNING.md)."""
_STRETCH = 1.25
"""Slope of the share in the logistic curve; nothing and all of the cap lie at scores of ∓2.2."""
_EDGE = math.log((0.5 + 0.5 / _STRETCH) / (0.5 - 0.5 / _STRETCH))
"""Score from which on a share is all of the cap, and below minus which it is nothing."""
_SPARE = 1.0
"""How far beyond that the edges of a band may lie before `beyond` counts it."""
_MOST_WIDTH = 0.5
"""Most that an untrained band reaches to each side: if it held all there is, no trade would tell anything."""
_INVESTED = 0.98
"""Sum of the lower edges of an account that is to hold no cash."""
_FARTHEST, _HALVINGS = 16.0, 13
"""Where the level of all scores is looked for, to ±0.002: farther off every share is nothing or all."""
_NO_LIMIT = 2.0
"""Upper weight of a position that may rise as it will: from 1 on the broker takes it for none. The mean of several
agents' upper weights is that where half of them say so."""
_MOST_SHARE = 0.9
"""Most of its cap that an asset is given at the beginning: at all of it nothing could be learned."""


def prior_score(weight: Float[Array, "*batch"], cap: float) -> Float[Array, "*batch"]:
    """Return the score c of a band whose middle is a weight, at most nine tenths of the cap."""
    share = jnp.clip(weight / cap, 0, _MOST_SHARE)
    logistic = 0.5 + (share - 0.5) / _STRETCH
    return jnp.log(logistic / (1 - logistic))


def _share(score: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Return the share of the cap that a score stands for, S of `BandsHead`."""
    return jnp.clip(0.5 + _STRETCH * (jax.nn.sigmoid(score) - 0.5), 0, 1)


@dataclasses.dataclass(frozen=True)
class BandsHead:
    """A band of weights per asset, from two normal numbers: where its middle lies, and how wide it is.

    Outputs `[..., A, 4]` are the means of both and the logarithms of their deviations, each less what an untrained
    network begins with. With numbers c and d, a cap of the weights, and a logistic curve that is stretched a little, so
    that nothing and all are within reach, S(x) = σ(x) + (σ(x) − ½)/4 between 0 and 1,

        lower = cap·S(c − softplus d),    middle = cap·S(c),    upper = cap·S(c + softplus d),

    no limit where S of the upper edge is 1: what was bought may rise beyond the cap, which is one of buys. The rest is
    divided by the sum of the middles of the assets that trade where that is above 1: more than the account cannot
    be held. An account that is to hold no cash has one number added to all c instead, with which the lower edges add up
    to 98 % of it: what sets assets apart counts, and not how much all of them are wanted. Actions are `[..., A, 2]`
    float16 c and d, rounded before anything is made of them, so that the loss sees what the environment saw.

    Attributes:
        cap: largest weight of an asset.
        width: softplus d of an untrained network.
        hold_cash: whether a part of the account may be left in cash. Without, what a sale at an upper edge brings buys
            others at once, and nothing else is traded.
    """

    cap: float = 0.1
    width: float = 0.3
    hold_cash: bool = True
    num_outputs: int = 4
    action_dtype = jnp.float16

    @classmethod
    def create(cls, num_assets: int, cap: float, cost: float, *, hold_cash: bool = True) -> "BandsHead":
        """Return the head of A assets for a cost of a trade per side, as a fraction.

        One asset alone can always be left for cash: there is nothing else to do about it.

        An untrained band reaches as far to each side as is best for one asset of weight θ = 1/A under logarithmic
        utility, `(3/2 · θ²(1 − θ)² · cost)^⅓`.

        Source: Janeček and Shreve, "Asymptotic analysis for optimal investment and consumption with transaction
        costs" (2004).
        """
        share = min(1 / num_assets / cap, _MOST_SHARE)
        weight, steep = min(share * cap, 0.9), 0.5 + (share - 0.5) / _STRETCH
        half_width = (1.5 * (weight * (1 - weight)) ** 2 * max(cost, 1e-6)) ** (1 / 3)
        return cls(
            cap=cap,
            width=min(half_width / (cap * _STRETCH * steep * (1 - steep)), _MOST_WIDTH),
            hold_cash=hold_cash or num_assets == 1,
        )

    def _normal(self, outputs: Float[Array, "*batch A 4"]) -> tuple[Array, Array]:
        """Return means and deviations `[..., A, 2]`."""
        start = jnp.asarray([0.0, math.log(math.expm1(self.width))], outputs.dtype)
        return outputs[..., :2] + start, jnp.exp(
            jnp.clip(outputs[..., 2:] + _LOG_DEVIATION, _LEAST_LOG_DEVIATION, _MOST_LOG_DEVIATION)
        )

    def sample(
        self, key: PRNGKeyArray, outputs: Float[Array, "*batch A 4"], valid: Array | None = None
    ) -> Float[Array, "*batch A 2"]:
        """Draw the two numbers of each asset, float16."""
        del valid
        return self.draw(key, outputs).astype(self.action_dtype)

    def draw(self, key: PRNGKeyArray, outputs: Float[Array, "*batch A 4"]) -> Float[Array, "*batch A 2"]:
        """Draw as `sample` does, before rounding: mean plus deviation times noise, with derivatives by the outputs."""
        mean, deviation = self._normal(outputs)
        return mean + deviation * jax.random.normal(key, mean.shape, mean.dtype)

    def with_noise(
        self, outputs: Float[Array, "*batch A 4"], factor: Float[Array, ""] | float
    ) -> Float[Array, "*batch A 4"]:
        """Return outputs whose deviations are `factor` times those of an untrained network, whatever they were."""
        deviations = jnp.full_like(outputs[..., 2:], jnp.log(factor))
        return jnp.concatenate([outputs[..., :2], deviations], axis=-1)

    def beyond(self, outputs: Float[Array, "*batch A 4"]) -> Float[Array, "*batch A"]:
        """Return `[..., A]` how far the mean edges of bands lie beyond where they make a difference, squared.

        A lower edge far below nothing buys no more, whatever its score does, and an upper one far above all of the cap
        sells no more: there are no derivatives there to bring them back.
        """
        mean, _ = self._normal(outputs)
        reach, most = jax.nn.softplus(mean[..., 1]), _EDGE + _SPARE
        edges = jnp.stack([mean[..., 0] - reach, mean[..., 0] + reach])
        return jnp.square(jnp.maximum(jnp.abs(edges) - most, 0)).sum(axis=0)

    def mode(self, outputs: Float[Array, "*batch A 4"], valid: Array | None = None) -> Float[Array, "*batch A 2"]:
        """Return the means, float16."""
        del valid
        return self._normal(outputs)[0].astype(self.action_dtype)

    def log_prob(
        self, outputs: Float[Array, "*batch A 4"], action: Float[Array, "*batch A 2"], valid: Array | None = None
    ) -> Float[Array, "*batch A"]:
        """Return `[..., A]` log-densities, of both numbers together."""
        del valid
        mean, deviation = self._normal(outputs)
        each = _log_density((action.astype(mean.dtype) - mean) / deviation, deviation)
        return each[..., 0] + each[..., 1]

    def entropy(self, outputs: Float[Array, "*batch A 4"], valid: Array | None = None) -> Float[Array, "*batch A"]:
        """Return `[..., A]` differential entropies of both numbers in nats."""
        del valid
        deviation = self._normal(outputs)[1]
        return jnp.log(deviation).sum(axis=-1) + math.log(2 * math.pi * math.e)

    def to_env(
        self, action: Float[Array, "*batch A 2"], tradable: Bool[Array, "*batch A"] | None = None
    ) -> Float[Array, "*batch A 2"]:
        """Return `[..., A, 2]` lower and upper weights; NaN, which keeps a position, of assets that do not trade."""
        numbers = action.astype(jnp.promote_types(action.dtype, jnp.float32))
        middle, reach = numbers[..., 0], jax.nn.softplus(numbers[..., 1])
        if self.hold_cash:
            weight = self.cap * _share(middle)
            weight = weight if tradable is None else jnp.where(tradable, weight, 0)
            scale = self.cap / jnp.maximum(weight.sum(axis=-1, keepdims=True), 1)
        else:
            trades = jnp.ones(middle.shape, bool) if tradable is None else tradable
            middle, scale = middle + _level(middle - reach, trades, self.cap), self.cap
        lower, upper = (_share(middle + sign * reach) for sign in (-1, 1))
        band = jnp.stack([scale * lower, jnp.where(upper < 1, scale * upper, _NO_LIMIT)], axis=-1)
        return band if tradable is None else jnp.where(tradable[..., None], band, jnp.nan)

    def position_after(
        self,
        action: Float[Array, "*batch A 2"],
        weight: Float[Array, "*batch A"],
        tradable: Bool[Array, "*batch A"] | None = None,
    ) -> Float[Array, "*batch A"]:
        """Return the weights that an action leads to from those held."""
        band = self.to_env(action, tradable)
        inside = jnp.clip(weight, band[..., 0], band[..., 1])
        return jnp.where(jnp.isnan(inside), weight, inside)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _level(score: Float[Array, "*batch A"], trades: Bool[Array, "*batch A"], cap: float) -> Float[Array, "*batch 1"]:
    """Return what is to be added to scores for their weights to add up to `_INVESTED`, as near as the cap lets them.

    By bisection: the sum rises with what is added. The derivative is that of the equation solved, `_level_jvp`: a
    bisection itself is made of comparisons, and has none.
    """
    low = jnp.full_like(score[..., :1], -_FARTHEST)
    high = -low
    for _ in range(_HALVINGS):
        level = (low + high) / 2
        held = cap * jnp.where(trades, _share(score + level), 0).sum(axis=-1, keepdims=True)
        low, high = jnp.where(held < _INVESTED, level, low), jnp.where(held < _INVESTED, high, level)
    return (low + high) / 2


@_level.defjvp
def _level_jvp(cap: float, primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """The weights' sum stays: `Σ S'(score + level)·(d score + d level) = 0`; 0 where no weight can move."""
    (score, trades), change = primals, tangents[0]
    level = _level(score, trades, cap)
    _, slope = jax.jvp(_share, (score + level,), (jnp.ones_like(score),))
    slope = jnp.where(trades, slope, 0)
    total = slope.sum(axis=-1, keepdims=True)
    moved = (slope * change).sum(axis=-1, keepdims=True)
    return level, jnp.where(total > 0, -moved / jnp.where(total > 0, total, 1), 0)


def _log_density(scaled: Array, deviation: Array) -> Array:
    """Return the log-density of a normal number `scaled` deviations from its mean."""
    return -0.5 * jnp.square(scaled) - jnp.log(deviation) - 0.5 * math.log(2 * math.pi)
