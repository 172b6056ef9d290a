"""The type checker of the tests: beartype for arguments and results that state a shape, nothing for all others.

Annotations such as `Float[Array, "T A"]` are checked at every call, also while a program is traced. Outside of tests
they are words: nobody who trains pays for them. The import hook of jaxtyping would wrap every function of a module,
which takes long; this one looks at each and leaves those without a shape as they are.
"""

import ast
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import cache_from_source
from types import ModuleType
from typing import Any, get_args
from unittest.mock import patch

import numpy as np
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, jaxtyped

ROOMS = (
    "agents",
    "env",
    "evaluate.backtest",
    "evaluate.inference",
    "evaluate.ledger",
    "evaluate.metrics",
    "evaluate.round_trips",
    "evaluate.stress",
    "market.experts",
    "market.features",
    "market.stress",
    "market.synthetic",
    "policy",
    "train.algorithm",
    "train.learning",
    "train.loop",
    "train.pathwise",
    "train.ppo",
    "train.resampling",
    "train.updates",
)
"""Where functions state shapes."""

_CHECKER = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""Takes an int for a float, as every type checker does."""
_VERSION = "shapes1"
"""Of the compiled modules beside Python's own; another one where `_add_checks` changes."""


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that checks what of its arguments and result has a shape; the one given where nothing has.

    Other hints are the business of pyright: a wrong name in a list has to reach the message that the function has.
    """
    hints = function.__annotations__
    shapes = {name: hint for name, hint in hints.items() if _states_a_shape(hint)}
    if not shapes:
        return function
    function.__annotations__ = shapes
    checked = jaxtyped(function, typechecker=_CHECKER)
    checked.__annotations__ = function.__annotations__ = hints
    return checked


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
    sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, room = fullname.partition(".")
        if package != "ploutos_jax" or not f"{room}.".startswith(tuple(f"{one}." for one in ROOMS)):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Loads a module with `check_shapes` as the innermost decorator of its functions, below that of `jax.jit`."""

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> Any:
        return compile(_add_checks(ast.parse(data, path)), path, "exec", dont_inherit=True, optimize=_optimize)

    def exec_module(self, module: ModuleType) -> None:
        # The import lock makes that safe; what is compiled must not pass for what Python makes of the same source.
        with patch("importlib._bootstrap_external.cache_from_source", _cached_at):
            super().exec_module(module)


def _cached_at(path: str, debug_override: bool | None = None) -> str:
    return cache_from_source(path, debug_override, optimization=_VERSION)


def _add_checks(tree: ast.Module) -> ast.Module:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for node in (child for scope in (tree, *classes) for child in scope.body):
        if isinstance(node, ast.FunctionDef):
            checker = ast.parse("__import__('tests.shapes').shapes.check_shapes", mode="eval").body
            node.decorator_list.append(ast.copy_location(checker, node))
    return ast.fix_missing_locations(tree)


def _states_a_shape(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(map(_states_a_shape, get_args(hint)))
