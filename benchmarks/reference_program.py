"""A program of plain JAX that nothing in this project changes: what speed is compared with across commits and machines.

It does what an update does, in about equal parts: random numbers, transcendental functions, sums along a loop, looking
up rows, and products of matrices.
"""

import time

import jax
import jax.numpy as jnp

ROWS, WIDTH, TURNS = 2048, 64, 24


class ReferenceProgram:
    """The compiled program, to be timed in turn with what is compared with it."""

    def __init__(self) -> None:
        self._state = jax.random.normal(jax.random.key(0), (ROWS, WIDTH))
        self._program = jax.jit(_work)
        self.run()

    def run(self) -> float:
        """Call it once; return the seconds it took."""
        began = time.perf_counter()
        self._program(self._state).block_until_ready()
        return time.perf_counter() - began


def _work(state: jax.Array) -> jax.Array:
    weights = jax.random.normal(jax.random.key(1), (2, WIDTH, 4 * WIDTH)) / WIDTH**0.5

    def turn(state: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        noise = jax.random.uniform(key, state.shape)
        wide = jnp.tanh(state @ weights[0])
        state = jnp.exp(-jnp.abs(wide @ weights[1].T)) + 0.1 * noise
        rows = (noise[:, 0] * ROWS).astype(jnp.int32)
        running = jax.lax.scan(lambda total, x: (0.9 * total + x,) * 2, jnp.zeros(WIDTH), state[:256])[1]
        return state[rows], running.sum()

    state, sums = jax.lax.scan(turn, state, jax.random.split(jax.random.key(2), TURNS))
    return state.sum() + sums.sum()
