"""The type checker of the tests: beartype for functions that state a shape, nothing for all others.

Annotations such as `Float[Array, "T A"]` are checked at every call, also while a program is traced. Outside of tests
they are words: nobody who trains pays for them.
"""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
from beartype import beartype
from jaxtyping import AbstractArray, install_import_hook

ROOMS = ("agents", "env", "market.features", "policy", "train.ppo")
"""Where functions state shapes. The hook wraps every function of these, so each room more costs at every import."""


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that checks its arguments, if any of them or the result has a shape; else the one given."""
    hints = getattr(function, "__annotations__", {}).values()
    return beartype(function) if any(map(_states_a_shape, hints)) else function


def with_jax_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes NumPy arrays where the package's own takes those of JAX alone."""

    def call(*args: Any, **kwargs: Any) -> Any:
        import jax  # not before tests/conftest.py has set it up

        known = (np.ndarray, np.generic)
        args, kwargs = jax.tree.map(lambda x: jax.numpy.asarray(x) if isinstance(x, known) else x, (args, kwargs))
        return function(*args, **kwargs)

    return call


def install() -> None:
    """Have the rooms that state shapes checked, as far as they are imported from now on."""
    install_import_hook([f"ploutos_jax.{room}" for room in ROOMS], "tests.shapes.check_shapes")


def _states_a_shape(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(map(_states_a_shape, get_args(hint)))
