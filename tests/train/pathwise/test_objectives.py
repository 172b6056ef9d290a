"""Objectives: their values by NumPy, and their derivatives through the environment against central differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.train.config import OBJECTIVES, TrainConfig
from ploutos_jax.train.pathwise import objectives
from ploutos_jax.train.pathwise.unroll import Bars
from tests.train.pathwise.cases import NUM_ASSETS, NUM_ENVS, NUM_STEPS, differentiated, replayed

STEP = 1e-6
HYPER = TrainConfig(tail=0.3, turnover_penalty=0.02, risk_aversion=4.0).hyper()


@pytest.fixture(autouse=True)
def in_double_precision():
    with jax.enable_x64(True):
        yield


def by_hand(name: str, reward: np.ndarray, gain: np.ndarray, turnover: np.ndarray) -> float:
    """Return an objective as its page states it: mean over all bars of all accounts, times their number."""
    worst = np.sort(gain.ravel())
    number = 0.3 * gain.size
    whole = int(number)
    tail = (worst[:whole].sum() + (number - whole) * worst[min(whole, gain.size - 1)]) / number
    return {
        "reward": reward.sum(),
        "log_growth": np.log1p(gain).sum(),
        "sharpe": gain.size * gain.mean() / gain.std(),
        "cvar": gain.size * tail,
        "growth_less_turnover": (np.log1p(gain) - 0.02 * turnover).sum(),
        "utility": (((1 + gain) ** (1 - 4.0) - 1) / (1 - 4.0)).sum(),
    }[name]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_values(name: str):
    rng = np.random.default_rng(2)
    bars = [rng.normal(0, 0.02, (7, 5)), rng.normal(0, 0.02, (7, 5)), rng.uniform(0, 1, (7, 5))]
    found = objectives.objective_of(name, HYPER)(Bars(*map(jnp.asarray, bars)))
    assert float(found) == pytest.approx(by_hand(name, *bars), rel=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("name", OBJECTIVES)
def test_derivatives_through_the_environment(name: str):
    """γ = λ = 1 and no beliefs: the derivative is that of the objective of this rollout and of nothing else."""
    found = differentiated(_named(name), 1.0, 1.0, False)
    way = np.random.default_rng(3).normal(size=(NUM_STEPS, NUM_ENVS, NUM_ASSETS, 4))
    values = []
    for sign in (1, -1):
        seen = replayed()(jnp.asarray(sign * STEP * way), jnp.zeros((NUM_STEPS, NUM_ENVS, NUM_ASSETS)))
        values.append(by_hand(name, seen["reward"], seen["gain"], seen["turnover"]))
    expected = (values[0] - values[1]) / (2 * STEP)
    assert abs(expected) > 1e-4
    assert (found.pull * way).sum() == pytest.approx(expected, rel=1e-6)
    assert float(found.objective) == pytest.approx(np.mean(values), rel=1e-6)


_KNOWN = {}


def _named(name: str):
    """Return the objective, one and the same each time, by which results are kept."""
    return _KNOWN.setdefault(name, objectives.objective_of(name, HYPER))


def test_edge_cases():
    flat = Bars(*(jnp.zeros((3, 2)),) * 3)
    assert float(objectives.sharpe(flat)) == 0
    assert np.isfinite(jax.grad(lambda x: objectives.sharpe(flat._replace(gain=x)))(flat.gain)).all()
    ruined = flat._replace(gain=jnp.full((3, 2), -1.5))
    assert np.isfinite(objectives.log_growth(ruined)) and np.isfinite(objectives.utility(ruined, 5.0))
    some = flat._replace(gain=jnp.asarray(np.random.default_rng(0).normal(0, 0.02, (3, 2))))
    assert float(objectives.utility(some, 1.0)) == pytest.approx(float(objectives.log_growth(some)), rel=1e-12)
    assert float(objectives.cvar(some, 1.0)) == pytest.approx(float(some.gain.sum()), rel=1e-12)
