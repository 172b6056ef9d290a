"""The machine: versions, devices, and its ceilings for copies, products and loops of small steps."""

# ruff: noqa: B023 - functions are used in the turn of the loop that defines them

import os
import subprocess
import sys
import time

from benchmarks.gpu.stages.measuring import best, row, start_jax
from benchmarks.gpu.stages.plan import ON_CPU


def stage_machine():
    def ask(*command):
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
        except Exception as error:
            return repr(error)

    row(
        smi=ask(
            "nvidia-smi",
            "--query-gpu=name,memory.total,driver_version,clocks.sm,clocks.mem,power.limit",
            "--format=csv,noheader",
        )
    )
    names = [
        "jax",
        "jaxlib",
        "jax-cuda13-plugin",
        "jax-cuda13-pjrt",
        "numpy",
        "flax",
        "optax",
        "chex",
        "orbax-checkpoint",
        "distrax",
        "tfp-nightly",
        "dm-tree",
        "scipy",
        "pandas",
        "pyarrow",
        "nvidia-cublas",
        "nvidia-cudnn-cu13",
        "nvidia-cuda-runtime",
    ]
    import importlib.metadata as md

    def version(n):
        try:
            return md.version(n)
        except Exception:
            return None

    row(
        versions={n: version(n) for n in names},
        python=sys.version.split()[0],
        cpus=os.cpu_count(),
        kernel=ask("uname", "-r"),
    )
    began = time.time()
    jax = start_jax(cache=False)
    imported = time.time()
    devices = [str(d) for d in jax.devices()]
    row(
        import_jax_s=round(imported - began, 2),
        devices_s=round(time.time() - imported, 2),
        devices=devices,
        kind=jax.devices()[0].device_kind,
        limit_gib=(jax.devices()[0].memory_stats() or {}).get("bytes_limit", 0) / 2**30,
    )
    import jax.numpy as jnp

    # The two ceilings: a copy, and products.
    n = 2**28 if not ON_CPU else 2**20
    x = jnp.ones(n, jnp.float32)
    copy = jax.jit(lambda x: x * 1.0000001)
    seconds = best(lambda: copy(x).block_until_ready())
    row(what="copy", gb_per_s=2 * 4 * n / seconds / 1e9)
    m = 8192 if not ON_CPU else 256
    a = jax.random.normal(jax.random.key(0), (m, m))
    for name, prec, dtype in (
        ("tf32 or default", None, jnp.float32),
        ("float32", "float32", jnp.float32),
        ("bf16", None, jnp.bfloat16),
    ):
        b = a.astype(dtype)
        f = jax.jit(lambda b, prec=prec: jnp.matmul(b, b, precision=prec))
        out = f(b)
        seconds = best(lambda: f(b).block_until_ready(), 3)
        exact = jnp.matmul(a[:64], a, precision="float32")
        error = float(jnp.linalg.norm(out[:64].astype(jnp.float32) - exact) / jnp.linalg.norm(exact))
        row(what=f"product {name}", tflops=2 * m**3 / seconds / 1e12, relative_error=error)
    tiny = jax.jit(lambda x: jax.lax.fori_loop(0, 1000, lambda i, c: jnp.sin(c) + c[::-1], x))
    y = jnp.ones(1024)
    tiny(y).block_until_ready()
    seconds = best(lambda: tiny(y).block_until_ready(), 3)
    row(what="loop of tiny steps", microseconds_per_iteration=seconds / 1000 * 1e6)
