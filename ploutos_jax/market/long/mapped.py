"""Arrays that are mapped from files, and the memory that they take."""

import mmap
from typing import Any

import jax
import numpy as np


def release(tree: Any) -> None:
    """Let go of the memory of arrays that are mapped: it is read again where they are looked at again."""
    for leaf in jax.tree.leaves(tree):
        base = leaf
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)
