"""What made markets promise: the return of the next bar that the truth behind a hint lets expect.

Everything here is known at close t to somebody who knows the law; the true regime alone is known to nobody.
"""

import numpy as np
import scipy.special
from jaxtyping import Float

from ploutos_jax.market.hints import HINT_FEATURE, HintLaw
from ploutos_jax.market.panel import Market


def law_of(market: Market) -> HintLaw:
    """Return the law of a market's hint.

    Raises:
        ValueError: if the market has none, or was built without the hint.
    """
    law = None if market.labels is None else market.labels.hint
    if law is None or HINT_FEATURE not in market.feature_names:
        raise ValueError(
            f"The oracle reads the feature {HINT_FEATURE!r} of a planted market, which this market does not have."
            " Build the market from planted_panel, or from a synthetic panel with an edge, with that signal among its"
            " features; a synthetic market that was drawn inside a program keeps no law of its hint."
        )
    return law


def hints_of(market: Market) -> Float[np.ndarray, "T A"]:
    """Return `[T, A]` hints, known at close t."""
    return np.asarray(market.features[:, :, market.feature_names.index(HINT_FEATURE)], np.float64)


def promised_returns(market: Market) -> Float[np.ndarray, "T A"]:
    """Return `[T, A]` the simple return of bar t + 1 that law, hints and, where there is one, the true regime promise.

    Drift is no part of it, and the last bar of a path promises nothing. Of the kind `planted` it is the best linear
    prediction; the tails of what is left make the true expectation bend a little.

    Raises:
        ValueError: if the market has no hint, or its regimes were not kept.
    """
    law, ends = law_of(market), np.asarray(market.path_end)
    told = _told(market, law)
    if law.stay < 1:
        if law.state is None:
            raise ValueError("The regimes of a drawn market are kept nowhere; take a panel of hinted_panel.")
        told = told * (np.asarray(law.sizes) * [1, -1])[law.state][:, None]
    told[np.arange(len(ends)) == ends] = 0.0
    return law.strength * law.volatility_by_bar * told


def expected_returns(market: Market) -> Float[np.ndarray, "T A"]:
    """Return `[T, A]` what hints and prices up to close t let expect of bar t + 1: regimes weigh by their chances.

    Raises:
        ValueError: if the market has no hint.
    """
    law = law_of(market)
    told = _told(market, law)
    if law.stay < 1:
        chance = regime_chances(market)
        told = told * ((1 - chance) * law.sizes[0] - chance * law.sizes[1])[:, None]
    return law.strength * law.volatility_by_bar * told


def regime_chances(market: Market) -> Float[np.ndarray, " T"]:
    """Return `[T]` the chance that regime 1 rules bar t + 1, given all hints and closes of its path up to t.

    The exact Bayes filter (Hamilton's), in two steps: what the return of bar t says of the regime that ruled it,
    then one step of the chain. A path begins at one half; its first bar, whose hint nobody has seen, is not read.

    Raises:
        ValueError: if the market has no hint, or no regimes.
    """
    law = law_of(market)
    if not law.stay < 1:
        raise ValueError(f"The hint of a {law.kind} market means the same at all times: it has no regimes.")
    close, ends = np.log(np.asarray(market.close, np.float64)), np.asarray(market.path_end)
    hint, volatility = hints_of(market)[:-1], law.volatility_by_bar[:-1]
    moves = np.diff(close, axis=0)
    likelihood = np.zeros((len(moves), 2))
    for state, (size, sign) in enumerate(zip(law.sizes, (1, -1), strict=True)):
        rest = moves - np.log1p(np.maximum(sign * law.strength * size * volatility * hint, -0.9))
        deviation = size * volatility * np.sqrt(1 - law.strength**2)
        likelihood[:, state] = _log_density(rest, deviation, law.tail).sum(axis=1)
    odds = likelihood[:, 1] - likelihood[:, 0]
    chance = np.full(len(close), 0.5)
    for t in range(1, len(close)):
        if ends[t] == ends[t - 1]:
            before = chance[t - 1]
            now = scipy.special.expit(odds[t - 1] + np.log(before) - np.log1p(-before))
            chance[t] = law.stay * now + (1 - law.stay) * (1 - now)
    return chance


def _told(market: Market, law: HintLaw) -> np.ndarray:
    """Return `[T, A]` the hints that tell of bar t + 1, together of variance 1; one that lies before a path is 0."""
    hint, ends = hints_of(market), np.asarray(market.path_end)
    told = np.zeros_like(hint)
    for lag in law.lags:
        rows = np.arange(lag, len(hint))
        rows = rows[ends[rows] == ends[rows - lag]]
        told[rows] += hint[rows - lag]
    return told / np.sqrt(len(law.lags))


def _log_density(x: np.ndarray, deviation: np.ndarray, tail: float) -> np.ndarray:
    """Return the log density of √v·n − v/2, n normal and v = deviation² (tail/2 − 1) / Gamma(tail/2).

    Integrating over v, an inverse gamma, leaves a Bessel function: the generalised hyperbolic skewed Student-t.

    Source: Aas & Haff 2006, The generalized hyperbolic skew Student's t-distribution.
    """
    shape, scale = tail / 2, deviation**2 * (tail / 2 - 1)
    order = shape + 0.5
    width = scale + x**2 / 2
    argument = np.sqrt(width / 2)
    bessel = np.log(scipy.special.kve(order, argument)) - argument
    constant = np.log(2) - scipy.special.gammaln(shape) - np.log(2 * np.pi) / 2
    return constant + shape * np.log(scale) - x / 2 - order / 2 * np.log(8 * width) + bessel
