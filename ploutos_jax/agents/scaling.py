"""Scaling of features, account observations and rewards. The first two are part of the agent."""

import typing
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float

from ploutos_jax.agents.forecast import Forecast
from ploutos_jax.agents.parts import WHOLE, Parts
from ploutos_jax.agents.regimes import RegimeModel
from ploutos_jax.env.types import Observation
from ploutos_jax.market.long.mapped import release
from ploutos_jax.policy.actor_critic import NUM_REGIMES

_CLIP = 5.0
_MAX_COUNT = 1e8
"""Beyond this many samples statistics move like an exponential average; float32 counts stay exact enough."""
_MAX_FIT_VALUES = 2_000_000
_FITS_AT_ONCE = 100_000
_STEPS_AT_ONCE = 16
"""Steps of a recursion over time in one kernel; each alone would cost a GPU more to start than to do."""


@typing.no_type_check
class FeatureScaling(struct.PyTreeNode):
    """Centre and spread of each market feature, fitted on training rows; `[F]` each."""

    centre: Float[Array, " F"]
    spread: Float[Array, " F"]

    def __call__(self, features: Float[Array, "*batch A F"]) -> Float[Array, "*batch A F"]:
        """Return `clip((x − centre) / spread, ±5)` of `[..., F]`."""
        return jnp.clip((features - self.centre) / self.spread, -_CLIP, _CLIP)

    def raw(self, number: int) -> "FeatureScaling":
        """Return the scaling that leaves so many first features, numbers of at most 1, as they are."""
        if not number:
            return self
        return FeatureScaling(centre=self.centre.at[:number].set(0), spread=self.spread.at[:number].set(1))


def fit_features(features: Float[Array | np.ndarray, "T A F"], mask: Bool[Array | np.ndarray, "T A"]) -> FeatureScaling:
    """Fit the scaling on the rows given: median, and half the distance of the 16th and 84th percentiles.

    Both are robust to outliers and equal mean and standard deviation for normal data. A feature whose percentiles
    coincide (a flag, a rare signal, a constant) keeps centre 0; its spread is the root mean square of its values
    other than 0, so that a flag stays as it is.

    Args:
        features: `[T, A, F]` training rows only.
        mask: `[T, A]` bool, bars that exist.
    """
    values = _sample(np.asarray(features), np.asarray(mask))
    if len(values) == 0:
        raise ValueError("No asset is tradable in the training rows; widen --start/--end or check the universe file.")
    low, centre, high = np.percentile(values, [15.865525, 50, 84.134475], axis=0)
    spread = (high - low) / 2
    flat = ~(spread > 1e-12 * np.maximum(np.abs(centre), 1))
    squares = np.square(values, dtype=np.float64).sum(axis=0)
    events = np.sqrt(squares / np.maximum((values != 0).sum(axis=0), 1))
    centre, spread = np.where(flat, 0, centre), np.where(flat, np.where(events > 1e-12, events, 1), spread)
    dtype = np.asarray(features).dtype
    return FeatureScaling(centre=jnp.asarray(centre, dtype), spread=jnp.asarray(spread, dtype))


def _sample(features: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return `[number, F]` the values of bars that exist, of very many a sample with replacement.

    Of a table that lies in a file only the rows drawn are read, some of them at a time.
    """
    by_row = mask.sum(axis=1)
    total = int(by_row.sum())
    if total <= _MAX_FIT_VALUES:
        return features[mask]
    # Drawn, not every n-th: assets lie side by side, and a stride would meet only some of them.
    drawn = np.random.default_rng(0).integers(0, total, _MAX_FIT_VALUES)
    order, ends = np.argsort(drawn, kind="stable"), np.cumsum(by_row)
    rows = np.searchsorted(ends, drawn[order], side="right")
    values = np.empty((_MAX_FIT_VALUES, features.shape[-1]), features.dtype)
    begins = np.flatnonzero(np.diff(rows, prepend=-1))
    for begin, end in zip(begins, np.append(begins[1:], len(rows)), strict=True):
        row, places = rows[begin], order[begin:end]
        assets = np.flatnonzero(mask[row])[drawn[places] - (ends[row] - by_row[row])]
        values[places] = features[row, assets]
        if begin % _FITS_AT_ONCE < end - begin:
            release(features)
    release((features, mask))
    return values


@typing.no_type_check
class RunningMoments(struct.PyTreeNode):
    """Mean and variance of a stream, merged batch by batch; frozen while a rollout and its updates run.

    Source: Chan, Golub, LeVeque 1979 (merging of means and sums of squares).
    """

    count: Float[Array, ""]
    mean: Float[Array, " fields"]
    square: Float[Array, " fields"]

    @classmethod
    def create(cls, size: int) -> "RunningMoments":
        """Start with mean 0 and variance 1, to be forgotten with the first batch."""
        return cls(count=jnp.ones(()) * 1e-4, mean=jnp.zeros(size), square=jnp.ones(size) * 1e-4)

    def __call__(self, x: Float[Array, "*batch fields"]) -> Float[Array, "*batch fields"]:
        """Return `clip((x − mean) / deviation, ±5)` in float32."""
        deviation = jnp.sqrt(self.square / self.count + 1e-8)
        return jnp.clip((x.astype(jnp.float32) - self.mean) / deviation, -_CLIP, _CLIP)

    def merge(
        self, count: Float[Array, ""] | float, mean: Float[Array, " fields"], variance: Float[Array, " fields"]
    ) -> "RunningMoments":
        """Return the moments with a batch of `count` samples joined."""
        total = self.count + count
        delta = mean - self.mean
        square = self.square + variance * count + jnp.square(delta) * self.count * count / total
        kept = jnp.minimum(total, _MAX_COUNT)
        return RunningMoments(count=kept, mean=self.mean + delta * count / total, square=square * kept / total)


@typing.no_type_check
class ReturnScaling(struct.PyTreeNode):
    """Scale of rewards: rewards are divided by the standard deviation of their discounted sum.

    Attributes:
        moments: of the discounted sums, one number.
        running: `[E, K]` the discounted sums of each environment's episode so far.
    """

    moments: RunningMoments
    running: Float[Array, "E K"]

    @classmethod
    def create(cls, num_envs: int, num_values: int) -> "ReturnScaling":
        return cls(moments=RunningMoments.create(1), running=jnp.zeros((num_envs, num_values)))

    @property
    def deviation(self) -> Float[Array, ""]:
        """Standard deviation of discounted sums, a scalar."""
        return jnp.sqrt(self.moments.square[0] / self.moments.count + 1e-8)

    def observe(
        self,
        rewards: Float[Array, "S E K"],
        done: Bool[Array, "S E"],
        gamma: Float[Array, ""] | float,
        parts: Parts = WHOLE,
    ) -> "ReturnScaling":
        """Return the statistics after a rollout of `rewards [S, E, K]` with episode ends `done [S, E]`.

        A reward that is not finite counts as 0: one of them would otherwise make every later scale NaN.
        """
        rewards = jnp.where(jnp.isfinite(rewards), rewards, 0).astype(jnp.float32)

        def step(total: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
            reward, end = inputs
            total = total * gamma + reward
            return jnp.where(end[:, None], 0, total), total

        running, sums = jax.lax.scan(step, self.running, (rewards, done), unroll=_STEPS_AT_ONCE)
        number, mean = float(sums.size * parts.number), parts.mean(sums.mean())[None]
        moments = self.moments.merge(number, mean, variance_of(sums, parts)[None])
        return ReturnScaling(moments=moments, running=running)


@typing.no_type_check
class ObservationScaling(struct.PyTreeNode):
    """All that turns raw observations into network inputs; saved with the agent.

    `features` is None in an agent that works on features that have been scaled already, see `Network.scale_once`.
    """

    features: FeatureScaling | None
    assets: RunningMoments
    account: RunningMoments
    forecast: Forecast | None = None
    regimes: RegimeModel | None = None

    def inputs(
        self,
        features: Float[Array, "*batch A columns"],
        kind: Literal["none", "add", "only"],
        *,
        keep_features: bool = False,
    ) -> Float[Array, "*batch A inputs"]:
        """Return what a network gets of a market's features: scaled, and with their forecast as `PolicyConfig` says.

        Args:
            features: `[..., A, F]`, or `[..., A, F + 1]` with the forecasts of these rows last; inputs already, where
                there is no scaling of features. With a model of regimes their chances come after all that, and stay
                there.
            kind: `PolicyConfig.forecast`.
            keep_features: features come before the forecast even where the torso gets nothing but that.
        """
        if self.features is None:
            return features
        if self.regimes is not None:
            known, chances = features[..., :-NUM_REGIMES], features[..., -NUM_REGIMES:]
            without = self.replace(regimes=None).inputs(known, kind, keep_features=keep_features)
            return jnp.concatenate([without, chances], axis=-1)
        if self.forecast is None or kind == "none":
            return self.features(features)
        own = features[..., : self.features.centre.shape[-1]]
        told = features[..., -1] if features.shape[-1] > own.shape[-1] else self.forecast(own)
        return (
            told[..., None]
            if kind == "only" and not keep_features
            else jnp.concatenate([self.features(own), told[..., None]], axis=-1)
        )

    def observe(self, observations: Observation, most_bytes: int = 2**22, parts: Parts = WHOLE) -> "ObservationScaling":
        """Return the scaling with the account observations `[S, ...]` of a rollout joined.

        Args:
            observations: of the rollout.
            most_bytes: budget of one intermediate array; the result is the same.
            parts: of the environments; those of the others are joined, too.
        """
        count = float(np.prod(observations.t.shape)) * parts.number
        num_assets = observations.positions.shape[-2]
        return self.replace(
            assets=_merge_batch(self.assets, observations, lambda x: x.assets, count * num_assets, most_bytes, parts),
            account=_merge_batch(
                self.account, observations, lambda x: x.account.astype(jnp.float32), count, most_bytes, parts
            ),
        )


def variance_of(x: Float[Array, "..."], parts: Parts) -> Float[Array, ""]:
    """Return the variance of the numbers of all parts, each of which holds as many."""
    if parts.is_one:
        return x.var()
    return parts.mean(jnp.square(x - parts.mean(x.mean())).mean())


def _merge_batch(
    moments: RunningMoments,
    observations: Observation,
    read: Callable[[Observation], Array],
    count: float,
    most_bytes: int,
    parts: Parts,
) -> RunningMoments:
    # A few steps at once: all of them would hold a float32 copy of a whole rollout, and each alone would cost a GPU
    # more to start than to do.
    size = jax.eval_shape(lambda x: read(jax.tree.map(lambda leaf: leaf[0], x)), observations).size
    at_once = max(1, most_bytes // (4 * size))

    def mean_of(number: Callable[[Array], Array]) -> Array:
        own = jax.lax.map(lambda x: _mean_by_axis(number(read(x))), observations, batch_size=at_once).mean(axis=0)
        return parts.mean(own)

    mean = mean_of(lambda x: x)
    return moments.merge(count, mean, mean_of(lambda x: jnp.square(x - mean)))


def _mean_by_axis(x: Array) -> Array:
    """Average all but the last axis, one at a time: a single float32 sum over 10^8 values would stop growing."""
    while x.ndim > 1:
        x = x.mean(axis=-2)
    return x
