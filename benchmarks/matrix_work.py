"""How much of a program is matrix products, and how fast this machine multiplies matrices: a share of the roofline."""

import time
from collections.abc import Callable
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

SIZE = 2048
"""Rows and columns of the matrices whose product is the machine's rate: large enough for its best, at 48 MiB."""


def matrix_flops(function: Callable[..., Any], *args: Any, turns: int | None = None) -> float:
    """Return the floating point operations of all matrix products in one call, a product and a sum each counting 1.

    Loops count as often as they turn, branches as the larger one. A loop that ends on a condition has no known number
    of turns: what it multiplies is an error here, not a guess.

    Args:
        function, args: as they would be called; only shapes are read.
        turns: how often loops that end on a condition turn, where the caller knows it: epochs that no limit ends.
    """
    return _flops(jax.make_jaxpr(function)(*args).jaxpr, turns)


def _flops(jaxpr: Any, turns: int | None) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        name, settings = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = settings["dimension_numbers"]
            shared = prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * shared * prod(equation.outvars[0].aval.shape)
            continue
        inner = [_flops(part, turns) for part in _parts(settings)]
        if not inner:
            continue
        if name == "while" and sum(inner) > 0 and turns is None:
            raise ValueError("A loop of unknown length multiplies matrices, so the work of this program is not known.")
        times = {"scan": settings.get("length"), "while": turns}.get(name) or 1
        total += times * (max(inner) if name == "cond" else sum(inner))
    return total


def _parts(settings: dict[str, Any]) -> list[Any]:
    """Return the programs inside an instruction."""
    kinds = (core.Jaxpr, core.ClosedJaxpr)
    found = jax.tree.leaves(list(settings.values()), is_leaf=lambda x: isinstance(x, kinds))
    return [part.jaxpr if isinstance(part, core.ClosedJaxpr) else part for part in found if isinstance(part, kinds)]


class MatrixProduct:
    """A product of two float32 matrices of `SIZE`, to be timed in turn with what it is compared with."""

    flops = 2.0 * SIZE**3

    def __init__(self) -> None:
        left, right = jax.random.normal(jax.random.key(0), (2, SIZE, SIZE))
        self._inputs = left, right
        self._multiply = jax.jit(jnp.matmul)
        self.run()

    def run(self) -> float:
        """Multiply once; return the seconds it took."""
        began = time.perf_counter()
        self._multiply(*self._inputs).block_until_ready()
        return time.perf_counter() - began
