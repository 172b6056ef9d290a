"""What a linear model forecasts from the features, as an input of the network; part of the agent.

A ridge regression finds weak linear signals where a network trained by trading drowns in the noise of every feature.
What to do about a forecast, given costs and what is held, is then all that is left to be learnt. In training, each
row's forecast comes from a fit on other blocks of time, apart from it by the reach of the labels: an honest forecast,
as weak on training rows as it will be on new ones. One fitted on the rows themselves would look strong on noise, and
teach the agent to trade on it. New rows get the fit on all training rows.
"""

import typing

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from ploutos_jax.env.types import EnvParams
from ploutos_jax.market.experts.ridge_fit import CLIP_FEATURES, HORIZONS, cross_fit, forward_scores
from ploutos_jax.market.panel import Market

GAIN = 10.0
"""Forecasts are in tenths of a cross-sectional deviation of returns: with a correlation of 0.1 they are of order 1."""
LEAST_T = 2.0
"""Standard errors above chance from which on a forecast is believed."""
_LEAST_STRETCHES = 8
_MOST = 5.0


@typing.no_type_check
class Forecast(struct.PyTreeNode):
    """A fitted linear model of F features; see `RidgeFit`. All coefficients are 0 where nothing could be fitted."""

    centre: Float[Array, " F"]
    spread: Float[Array, " F"]
    coefficients: Float[Array, " F"]

    @classmethod
    def blank(cls, num_features: int) -> "Forecast":
        """Return the model that forecasts nothing."""
        zeros = jnp.zeros(num_features)
        return cls(centre=zeros, spread=zeros + 1, coefficients=zeros)

    def __call__(self, features: Float[Array, "*batch A F"]) -> Float[Array, "*batch A"]:
        """Return the forecasts of features as the market holds them."""
        deviations = jnp.clip((features - self.centre) / self.spread, -CLIP_FEATURES, CLIP_FEATURES)
        return bounded(deviations @ self.coefficients)


def bounded(scores: Float[Array, "*batch A"]) -> Float[Array, "*batch A"]:
    """Return scores of the regression in the unit and within the bounds of forecasts."""
    return jnp.clip(GAIN * scores, -_MOST, _MOST)


def fit_forecast(market: Market) -> tuple[Forecast, Float[np.ndarray, "T A"]]:
    """Return the model fitted on a training market, and the honest forecasts of its own rows.

    A market that holds nothing to be fitted (too short, one that never moves) is forecast to do nothing, and so is one
    whose honest forecasts do not hold, see `holds`: an agent would be taught their luck.
    """
    fitted = cross_fit(market)
    if fitted is None or not holds(fitted[1], forward_scores(market)):
        return Forecast.blank(market.num_features), np.zeros(market.close.shape, np.float32)
    fit, scores = fitted
    known = np.where(np.asarray(market.tradable), scores, 0.0)
    model = Forecast(*(jnp.asarray(x, jnp.float32) for x in (fit.centre, fit.spread, fit.coefficients)))
    return model, np.asarray(bounded(jnp.asarray(known, jnp.float32)))


def holds(scores: Float[np.ndarray, "T A"], labels: Float[np.ndarray, "T A"]) -> bool:
    """Return whether forecasts of rows that they were not fitted on told the labels, beyond chance.

    The mean product of forecast and label, both less their mean over the assets of a row, has to be `LEAST_T` standard
    errors above 0; the errors are those of the means over stretches as long as a label reaches, as labels of rows next
    to each other overlap.

    Args:
        scores: `[T, A]` forecasts.
        labels: `[T, A]` what they were to tell, NaN where that is not known.
    """
    known = np.isfinite(labels)
    rows = known.any(axis=1)
    number = np.maximum(known.sum(axis=1, keepdims=True), 1)
    label = np.where(known, labels, 0.0)
    score = np.where(known, scores, 0.0)
    if scores.shape[1] > 1:
        label, score = (np.where(known, x - x.sum(axis=1, keepdims=True) / number, 0.0) for x in (label, score))
    product = ((label * score).sum(axis=1) / number[:, 0])[rows]
    stretch = 1 + max(HORIZONS)
    means = product[: len(product) // stretch * stretch].reshape(-1, stretch).mean(axis=1)
    if len(means) < _LEAST_STRETCHES or not means.std() > 0:
        return False
    return bool(means.mean() > LEAST_T * means.std(ddof=1) / np.sqrt(len(means)))


def told_ahead(params: EnvParams, *, is_redrawn: bool) -> tuple[EnvParams, Forecast]:
    """Return parameters whose market carries the forecasts of its rows as one more column, and the model.

    A market that is drawn anew needs no such column: of later ones, which the model was not fitted on, its own
    forecasts are honest.
    """
    model, told = fit_forecast(params.market)
    if is_redrawn:
        return params, model
    features = jnp.concatenate([params.market.features, jnp.asarray(told)[..., None]], axis=-1)
    return params.replace(market=params.market.replace(features=features)), model
