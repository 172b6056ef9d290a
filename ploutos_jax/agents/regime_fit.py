"""Fit of a hidden Markov model with normal columns, by expectation and maximisation, on the host in float64.

Histories are cut into stretches of equal length, each of which begins with the chances of the long run: the sum of
their likelihoods is what is maximised, and all of them go side by side.

Source: Rabiner 1989, "A Tutorial on Hidden Markov Models".
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

STRETCH = 252
RESTARTS = 5
_ROUNDS = 40
_LEAST_ROWS = 100
_MOST_ROWS = 50_000
"""The latest rows, of longer histories: states are a few numbers."""
_LEAST_SHARE = 0.05
"""Of a column's deviation: a state is no single value."""
_STAY = 0.95


class Chain(NamedTuple):
    """Chances `[states]` in the long run, `[states, states]` from state (row) to state; `[states, columns]` moments."""

    start: np.ndarray
    transition: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


def fit_chain(
    seen: Float[np.ndarray, "T columns"],
    is_known: Bool[np.ndarray, " T"],
    path_end: Int[np.ndarray, " T"],
    num_states: int,
) -> Chain | None:
    """Return the likeliest model of five restarts, or None of fewer than 100 known rows.

    Args:
        seen: columns by row.
        is_known: rows that tell something.
        path_end: last row of a row's path; no stretch reaches over one.
        num_states: of the market.
    """
    rows = np.flatnonzero(is_known)[-_MOST_ROWS:]
    if len(rows) < _LEAST_ROWS:
        return None
    values = seen[rows].astype(np.float64)
    centre, spread = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-6)
    data, weight = _stretches((values - centre) / spread, path_end[rows])
    tried = [_maximise(data, weight, first) for first in _beginnings((values - centre) / spread, num_states)]
    _, best = max(tried, key=lambda pair: pair[0])
    return best._replace(mean=best.mean * spread + centre, deviation=best.deviation * spread)


def _stretches(values: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each path in stretches `[stretches, bars, columns]`, and which bars are rows, `[stretches, bars]`."""
    parts = []
    for end in np.unique(ends):
        path = values[ends == end]
        parts += [path[at : at + STRETCH] for at in range(0, len(path), STRETCH)]
    data = np.zeros((len(parts), STRETCH, values.shape[1]))
    weight = np.zeros((len(parts), STRETCH), bool)
    for place, part in enumerate(parts):
        data[place, : len(part)], weight[place, : len(part)] = part, True
    return data, weight


def _beginnings(values: np.ndarray, num_states: int) -> list[Chain]:
    """Return where restarts begin: rows dealt out by one column each, by its rank, and one by chance."""
    rng = np.random.default_rng(0)
    stay = np.full((num_states, num_states), (1 - _STAY) / (num_states - 1))
    np.fill_diagonal(stay, _STAY)
    found = []
    for number in range(RESTARTS):
        key = values[:, number] if number < values.shape[1] else rng.normal(size=len(values))
        group = np.argsort(np.argsort(key)) * num_states // len(values)
        groups = [values[group == state] for state in range(num_states)]
        mean, deviation = (np.stack([f(each) for each in groups]) for f in (_mean, _deviation))
        found.append(Chain(np.full(num_states, 1 / num_states), stay, mean, deviation))
    return found


def _mean(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=0)


def _deviation(x: np.ndarray) -> np.ndarray:
    return np.maximum(x.std(axis=0), _LEAST_SHARE)


def _maximise(data: np.ndarray, weight: np.ndarray, chain: Chain) -> tuple[float, Chain]:
    """Return the log likelihood of the last model but one, and the last model."""
    total = -np.inf
    for _ in range(_ROUNDS):
        total, chance, moves = _expect(data, weight, chain)
        share = chance.sum(axis=(0, 1))
        mean = np.einsum("nhk,nhr->kr", chance, data) / share[:, None]
        square = np.einsum("nhk,nhr->kr", chance, np.square(data)) / share[:, None]
        deviation = np.maximum(np.sqrt(np.maximum(square - mean**2, 0)), _LEAST_SHARE)
        transition = (moves + 1e-3) / (moves + 1e-3).sum(axis=1, keepdims=True)
        chain = Chain(_long_run(transition), transition, mean, deviation)
    return total, chain


def _expect(data: np.ndarray, weight: np.ndarray, chain: Chain) -> tuple[float, np.ndarray, np.ndarray]:
    """Return log likelihood, chances `[stretches, bars, states]`, 0 of none, and `[states, states]` expected moves."""
    away = (data[:, :, None, :] - chain.mean) / chain.deviation
    log = -0.5 * (away**2 + np.log(2 * np.pi)).sum(axis=-1) - np.log(chain.deviation).sum(axis=-1)
    highest = log.max(axis=-1, keepdims=True)
    like = np.where(weight[..., None], np.exp(log - highest), 1.0)
    forward, scale = np.empty_like(like), np.ones(like.shape[:2])
    before = np.broadcast_to(chain.start, like[:, 0].shape)
    for row in range(like.shape[1]):
        now = like[:, row] * before
        scale[:, row] = now.sum(axis=-1)
        forward[:, row] = now / scale[:, row, None]
        before = forward[:, row] @ chain.transition
    chance = np.empty_like(like)
    chance[:, -1] = forward[:, -1]
    moves = np.zeros_like(chain.transition)
    after = np.ones_like(like[:, 0])
    for row in range(like.shape[1] - 2, -1, -1):
        ahead = like[:, row + 1] * after / scale[:, row + 1, None]
        both = weight[:, row + 1, None]
        moves += chain.transition * ((forward[:, row] * both).T @ ahead)
        after = ahead @ chain.transition.T
        chance[:, row] = forward[:, row] * after
    total = (np.log(scale) + highest[..., 0])[weight].sum()
    return float(total), chance * weight[..., None], moves


def _long_run(transition: np.ndarray) -> np.ndarray:
    """Return the chances that one more step does not change."""
    size = len(transition)
    equations = np.concatenate([transition.T - np.eye(size), np.ones((1, size))])
    found = np.linalg.lstsq(equations, np.append(np.zeros(size), 1.0), rcond=None)[0]
    return np.maximum(found, 1e-6) / np.maximum(found, 1e-6).sum()
