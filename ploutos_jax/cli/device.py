"""Where JAX runs and what it keeps: device, determinism, cache of compiled programs. To be set before JAX starts."""

import contextlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import jax

from ploutos_jax.env.limits import LimitsWarning

_CACHED_FROM_SECONDS = 0.1
"""Programs that take longer to compile are kept: many small ones make up half of a start."""
_DETERMINISTIC_FLAG = "--xla_gpu_deterministic_ops=true"


def configure(device: str = "auto", *, deterministic: bool = False, join: Callable[[], None] = lambda: None) -> None:
    """Choose the device and switch on the persistent cache of compiled programs.

    The cache lies in the user's cache folder (`$XDG_CACHE_HOME` or `~/.cache`); `JAX_COMPILATION_CACHE_DIR` overrides
    the place, and JAX's own settings switch it off.

    Args:
        device: `auto` takes what JAX finds, `cpu` or `gpu` insist.
        deterministic: ask XLA for GPU kernels whose results repeat bit for bit.
        join: makes this process one of several hosts, after that and before JAX looks for devices.

    Raises:
        ValueError: if a GPU is asked for and JAX finds none.
    """
    # Commands print what rules rule out as lines of their own.
    warnings.simplefilter("ignore", LimitsWarning)
    if deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DETERMINISTIC_FLAG}".strip()
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        with contextlib.suppress(RuntimeError):  # no home folder: nothing is kept
            home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            jax.config.update("jax_compilation_cache_dir", str(home / "ploutos_jax" / "programs"))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _CACHED_FROM_SECONDS)
    join()
    if device == "gpu" and not _finds_gpu():
        raise ValueError(
            "--device gpu, but JAX finds no GPU. Install the CUDA build (pip install 'ploutos_jax[cuda12]' or [cuda13])"
            " and check nvidia-smi, or use --device cpu."
        )


def _finds_gpu() -> bool:
    try:
        return jax.default_backend() == "gpu"
    except RuntimeError:  # JAX_PLATFORMS asks for a GPU that JAX cannot start
        return False
