"""Regimes of the market: chances of hidden states given the bars so far, from a hidden Markov model; part of the agent.

The states are those of a Gaussian model of how large the moves of the market's bars are, fitted to training rows alone,
before training and without a look at rewards. It reads single bars: a rolling volatility tells of each bar many times
over, which the model takes for as many bars, and is late at every switch (docs/regimes.md has the figures). What an
agent is told are filtered chances: those of row t are known at close t. Smoothed ones, or the likeliest path, would
tell of a switch before it happens.

Letters: T bars, A assets.

Source: Hamilton 1989, "A New Approach to the Economic Analysis of Nonstationary Time Series and the Business Cycle".
"""

import typing
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float

from ploutos_jax.agents.regime_fit import fit_chain
from ploutos_jax.policy.actor_critic import NUM_REGIMES

COLUMNS = ("market_move",)
"""Features of a market that the model reads, of which it needs every one."""

_FLOOR = 1e-12
"""Least likelihood of a state against the likeliest one in a bar: no bar alone rules one out for good."""


@typing.no_type_check
class RegimeModel(struct.PyTreeNode):
    """A hidden Markov model of `COLUMNS`, each of them normal and independent within a state.

    Attributes:
        start: `[regimes]` chances in the long run, and those before the first bar of a path.
        transition: `[regimes, regimes]` chance that a state (row) is followed by another (column).
        mean, deviation: `[regimes, columns]`; states are in order of the mean move.
    """

    start: Float[Array, " regimes"]
    transition: Float[Array, "regimes regimes"]
    mean: Float[Array, "regimes columns"]
    deviation: Float[Array, "regimes columns"]

    @classmethod
    def blank(cls) -> "RegimeModel":
        """Return the model that tells no state from another."""
        even = jnp.full((NUM_REGIMES, NUM_REGIMES), 1 / NUM_REGIMES)
        zeros = jnp.zeros((NUM_REGIMES, len(COLUMNS)))
        return cls(start=even[0], transition=even, mean=zeros, deviation=zeros + 1)

    def __call__(
        self,
        features: Float[Array, "T A columns"],
        mask: Bool[Array, "T A"],
        reset: Bool[Array, " T"],
        before: Float[Array, " regimes"],
    ) -> tuple[Float[Array, "T regimes"], Float[Array, " regimes"]]:
        """Return the chances of the states at close t, `[T, regimes]`, and those after the last row.

        The step of a row is a matrix, `diag(likelihood)·transitionᵀ`, and a history a product of them: one associative
        scan. In the first row of a path it has rank one, so that nothing of another path is left.

        Args:
            features: `COLUMNS` of the market, rows in order of time.
            mask: which assets have a bar; a row without any, or before the columns are known, tells nothing.
            reset: whether a row begins a path.
            before: chances at the row before the first; not read where that one begins a path.
        """
        likelihood = self.likelihood(features, mask)
        onward = likelihood[:, :, None] * self.transition.T
        anew = jnp.broadcast_to((likelihood * self.start)[:, :, None], onward.shape)
        steps = jnp.where(reset[:, None, None], anew, onward)
        products = jax.lax.associative_scan(_then, steps / steps.sum(axis=(1, 2), keepdims=True))
        chances = products @ before
        chances = chances / chances.sum(axis=-1, keepdims=True)
        return chances, chances[-1]

    def likelihood(self, features: Float[Array, "T A columns"], mask: Bool[Array, "T A"]) -> Float[Array, "T regimes"]:
        """Return how likely each state makes a row, against the likeliest of them."""
        seen, is_known = observed(features, mask)
        away = (seen[:, None, :] - self.mean) / self.deviation
        log = (-0.5 * jnp.square(away) - jnp.log(self.deviation)).sum(axis=-1)
        log = jnp.where(is_known[:, None], log, 0)
        return jnp.maximum(jnp.exp(log - log.max(axis=-1, keepdims=True)), _FLOOR)


def _then(earlier: Array, later: Array) -> Array:
    """Return what two stretches do one after the other, scaled: a product of chances would vanish."""
    product = later @ earlier
    return product / product.sum(axis=(-2, -1), keepdims=True)


def observed(
    features: Float[Array, "T A columns"], mask: Bool[Array, "T A"]
) -> tuple[Float[Array, "T columns"], Bool[Array, " T"]]:
    """Return the columns `[T, columns]`, which are equal for all assets that know them, and whether any does, `[T]`."""
    weight = (mask[..., None] & (features != 0)).astype(features.dtype)
    number = weight.sum(axis=1)
    return (features * weight).sum(axis=1) / jnp.maximum(number, 1), (number > 0).all(axis=-1)


def columns_of(feature_names: Sequence[str]) -> tuple[int, ...]:
    """Return the places of `COLUMNS` among a market's features.

    Raises:
        ValueError: if it lacks one.
    """
    missing = [name for name in COLUMNS if name not in feature_names]
    if missing:
        raise ValueError(
            f"Regimes are told by features of the whole market, and this one lacks {', '.join(missing)}. Take"
            " --features core_regimes or sentio_regimes, or name them among your own; or set regimes='none'."
        )
    return tuple(list(feature_names).index(name) for name in COLUMNS)


def fit_regimes(
    features: Float[np.ndarray, "T A columns"], mask: Bool[np.ndarray, "T A"], path_end: np.ndarray
) -> RegimeModel:
    """Return the model fitted to rows of a market; the blank one where there are too few rows to fit it.

    Args:
        features: `COLUMNS` of training rows.
        mask: which assets have a bar.
        path_end: `[T]` last row of a row's path.
    """
    seen, is_known = map(np.asarray, observed(jnp.asarray(features), jnp.asarray(mask)))
    fitted = fit_chain(seen, is_known, np.asarray(path_end), NUM_REGIMES)
    if fitted is None:
        return RegimeModel.blank()
    order = np.argsort(fitted.mean[:, 0])
    parts = fitted.start[order], fitted.transition[order][:, order], fitted.mean[order], fitted.deviation[order]
    return RegimeModel(*(jnp.asarray(part, jnp.float32) for part in parts))
