"""Several tests at once: p-values that hold the error of the whole family."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float


def holm(p_values: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Return Holm's step-down p-values `[tests]`: rejecting those below α errs anywhere with probability α at most.

    The i-th smallest of m is multiplied by m + 1 - i and may not fall below the one before. A NaN is no test: it stays
    NaN and is not counted.

    Args:
        p_values: `[tests]`, of tests that may depend on each other in any way.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    p_values = np.asarray(p_values, np.float64)
    adjusted = np.full(p_values.shape, np.nan)
    order = np.argsort(p_values, kind="stable")[: int(np.isfinite(p_values).sum())]
    steps = p_values[order] * (order.size - np.arange(order.size))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def adjust_family(tests: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return tests by name, each with its `p_value_adjusted` as one of all of them."""
    adjusted = holm(np.array([test["p_value"] for test in tests.values()], np.float64))
    return {
        name: {**test, "p_value_adjusted": float(value)}
        for (name, test), value in zip(tests.items(), adjusted, strict=True)
    }
