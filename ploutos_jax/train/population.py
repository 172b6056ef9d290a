"""Several seeds at once: their states stacked in one program, their numbers, and what their results say together."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc

from ploutos_jax.agents.forecast import Forecast
from ploutos_jax.agents.regimes import RegimeModel
from ploutos_jax.env.types import EnvParams
from ploutos_jax.market.panel import Market
from ploutos_jax.train.algorithm import Algorithm
from ploutos_jax.train.config import Hyper
from ploutos_jax.train.evolving import first_members
from ploutos_jax.train.learning.state import TrainState
from ploutos_jax.train.resampling import Refresh

_CONFIDENCE = 0.95


def first_state(
    learner: Algorithm,
    params: EnvParams,
    refresh: Refresh | None = None,
    forecast: Forecast | None = None,
    fitted_on: Market | None = None,
) -> TrainState:
    """Return the state of a run before its first update; with several seeds every leaf is `[seeds, ...]`, seed by seed.

    The markets of a refreshed run are the same for all seeds, and whatever the seed. The scaling of features is fitted
    on `fitted_on`, the market of `params` without it.
    """
    config = learner.config
    num_features = params.market.num_features if forecast is None else forecast.centre.shape[0]
    rows = params.market if fitted_on is None else fitted_on
    features = learner.network.fit_scaling(rows.features[..., :num_features], rows.tradable)
    more = () if forecast is None else (forecast,)
    states = [learner.init(jax.random.key(seed), params, features, *more) for seed in config.seeds]
    regimes = learner.network.fit_regimes(params.market)
    if regimes is not None:
        states = [_told(state, regimes) for state in states]
    if refresh is not None:
        states = [state.replace(draws=refresh.draw.key) for state in states]
    if config.evolution.population is not None:
        members = first_members(config)
        states = [state.replace(members=member) for state, member in zip(states, members, strict=True)]
    return states[0] if config.num_seeds == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def _told(state: TrainState, regimes: RegimeModel) -> TrainState:
    return state.replace(agent=state.agent.replace(scaling=state.agent.scaling.replace(regimes=regimes)))


def make_hyperparams(learner: Algorithm, hyper: Hyper | None) -> Hyper:
    """Return the numbers of PPO as float32 leaves, `[seeds]` with several.

    Args:
        learner: its configuration gives the numbers without `hyper`.
        hyper: a number for all seeds or `[seeds]`, one for each, in every field.

    Raises:
        ValueError: if a field has another shape.
    """
    num_seeds = learner.config.num_seeds
    leaves = jax.tree.map(jnp.float32, learner.config.hyper() if hyper is None else hyper)
    wanted = () if num_seeds == 1 else (num_seeds,)
    for name, value in vars(leaves).items():
        if value.shape not in ((), wanted):
            raise ValueError(
                f"hyper.{name} has the shape {value.shape}; give one number, or one for each of the"
                f" num_seeds={num_seeds} seeds."
            )
    return jax.tree.map(lambda x: jnp.broadcast_to(x, wanted), leaves)


def of_seed(stacked: Any, index: int, num_seeds: int) -> Any:
    """Return the part of one seed, by its place, of a tree that holds all `num_seeds`."""
    return stacked if num_seeds == 1 else jax.tree.map(lambda leaf: leaf[index], stacked)


def mean_and_interval(scores: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Return the mean over seeds of every figure, and its 95 % interval `[low, high]` (Student's t).

    None where a figure is missing or not finite for some seed; figures that are not numbers are left out.

    Args:
        scores: one mapping of figures per seed, at least two.
    """
    means: dict[str, float | None] = {}
    intervals: dict[str, Any] = {}
    reach = _t_quantile(len(scores) - 1) / math.sqrt(len(scores))
    for name in scores[0]:
        values = [score[name] for score in scores]
        if any(isinstance(value, str) for value in values):
            continue
        means[name] = intervals[name] = None
        if all(value is not None and np.isfinite(value) for value in values):
            mean, half = float(np.mean(values)), reach * float(np.std(values, ddof=1))
            means[name], intervals[name] = mean, [mean - half, mean + half]
    return means, intervals


def _t_quantile(degrees: int) -> float:
    """Return the number that |t| exceeds with a probability of 5 %, by bisection of its distribution function.

    Source: Abramowitz and Stegun 1964, 26.7.1: P(|t| > x) = I_z(ν/2, 1/2) with z = ν / (ν + x²).
    """
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        beyond = float(betainc(degrees / 2, 0.5, degrees / (degrees + middle**2)))
        low, high = (middle, high) if beyond > 1 - _CONFIDENCE else (low, middle)
    return high
