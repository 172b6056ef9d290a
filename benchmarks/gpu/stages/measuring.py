"""How a stage starts JAX, takes times and memory, and writes down a row."""

import hashlib
import json
import os
import sys
import time

from benchmarks.gpu.stages.plan import ROOT, WORK


def row(**figures):
    print("ROW " + json.dumps(figures, default=float), flush=True)


def start_jax(cache=True, precision=None, flags=""):
    if flags:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    import warnings

    warnings.filterwarnings("ignore")
    sys.path.insert(0, str(ROOT))
    import jax

    if cache:
        jax.config.update("jax_compilation_cache_dir", str(WORK / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    if precision:
        jax.config.update("jax_default_matmul_precision", precision)
    return jax


def best(call, repeats=5):
    call()
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return min(took)


def peak(jax):
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**20


def digest(jax, tree):
    import numpy as np

    total = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        total.update(np.asarray(leaf).tobytes())
    return total.hexdigest()[:16]
