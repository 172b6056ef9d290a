"""Old module paths give the modules of today, the same objects, with a warning."""

import importlib
import sys

import pytest

from ploutos_jax.moved import MOVED

# The view for Stable-Baselines3 cannot be imported without that library.
IMPORTABLE = [pair for pair in MOVED.items() if pair[0] != "env.stable_baselines"]


@pytest.mark.parametrize(("old", "new"), IMPORTABLE)
def test_an_old_path_gives_the_module_of_today(old, new):
    today = importlib.import_module(f"ploutos_jax.{new}")
    spec = today.__spec__
    sys.modules.pop(f"ploutos_jax.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"ploutos_jax.{old} is now ploutos_jax.{new}"):
        found = importlib.import_module(f"ploutos_jax.{old}")
    assert found is today and today.__spec__ is spec and today.__name__ == f"ploutos_jax.{new}"


def test_what_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("ploutos_jax.market.nowhere")
