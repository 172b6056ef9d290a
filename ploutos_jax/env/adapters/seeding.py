"""Seeding: which random numbers an environment of another library draws, by its seed, episode and step.

Randomness is the same for all that count seeds: environment i of a vector seeded with s is the environment seeded with
s + i; its episode e starts with `reset_key(key(seed), e)` and its step n since the seeding draws `step_key(key, n)`.
"""

from collections.abc import Iterable

import jax
import numpy as np
from jaxtyping import Array, Integer, Key, PRNGKeyArray


def reset_key(key: PRNGKeyArray, episode: Integer[Array, ""] | int) -> PRNGKeyArray:
    """Return the key that an episode starts with."""
    return jax.random.fold_in(jax.random.fold_in(key, 0), episode)


def step_key(key: PRNGKeyArray, step: Integer[Array, ""] | int) -> PRNGKeyArray:
    """Return the key of a step."""
    return jax.random.fold_in(jax.random.fold_in(key, 1), step)


def keys_of(seeds: Iterable[int]) -> Key[Array, " E"]:
    """Return `[E]` keys, one for each seed."""
    return jax.vmap(jax.random.key)(np.array([int(seed) % 2**32 for seed in seeds], np.uint32))
