"""Which cases of a parametrised test belong to the quick run, and which are left to the thorough one."""

from collections.abc import Iterable
from typing import Any

import pytest


def thorough_but(quick: Iterable[Any], cases: Iterable[Any]) -> list[Any]:
    """Return the cases for `parametrize`, all marked `thorough` but the quick ones, which have to be among them."""
    cases, quick = list(cases), list(quick)
    assert quick and all(case in cases for case in quick), f"{quick} are not all among {cases}"
    return [case if case in quick else pytest.param(case, marks=pytest.mark.thorough) for case in cases]
