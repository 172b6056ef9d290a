"""Settings of the whole test run: where JAX computes, where it keeps compiled programs, where market data lies."""

import gc
import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tests import shapes

DATA_DIR = Path(__file__).resolve().parents[2] / "shared" / "data"
_MOST_MAPS = 20_000
_QUICK_COMPILES = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)
"""Programs of tests run for moments, so less goes into making them fast: together a third of the time to compile.

The emitters of fused loops go through MLIR and cost most of it; each part of a split program is a module of its own.
"""
_NOT_THOROUGH = "not thorough and "
"""As the settings in pyproject.toml begin what they leave out."""
NO_DATA = "market data for tests is absent: there is no folder shared/data beside the repository"


def pytest_configure(config: pytest.Config) -> None:
    """Set up JAX through the environment, so that subprocesses started by tests follow."""
    # JAX reads these when it is imported: later they would silently do nothing.
    if "jax" in sys.modules:
        raise pytest.UsageError("jax was imported before tests/conftest.py; a pytest plugin must not import it.")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    flags = os.environ.get("XLA_FLAGS", "").split()
    given = {flag.split("=")[0] for flag in flags}
    # A GPU's programs are tested as they are; and a flag that another version of XLA does not know ends the process.
    quick = _QUICK_COMPILES if os.environ["JAX_PLATFORMS"] == "cpu" and version("jaxlib").startswith("0.10.") else ()
    os.environ["XLA_FLAGS"] = " ".join([*flags, *(flag for flag in quick if flag.split("=")[0] not in given)])
    # What is named runs whole; the run of everything is the quick one.
    if config.args_source is pytest.Config.ArgsSource.ARGS and config.option.markexpr.startswith(_NOT_THOROUGH):
        config.option.markexpr = config.option.markexpr.removeprefix(_NOT_THOROUGH)
    if hasattr(config, "cache"):  # absent under -p no:cacheprovider
        _keep_bytecode(config.cache.mkdir("bytecode"))
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("jax")))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")
    # By hand, not by the option of jaxtyping's plugin: the checker is one of the tests' own.
    shapes.install()


def _keep_bytecode(folder: Path) -> None:
    """Keep bytecode in pytest's cache where Python is told to leave none beside the sources.

    uv installs sources alone, so each process that a test starts would else compile all that it imports, JAX first.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(folder)
        sys.dont_write_bytecode = False


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return 2 processes for the whole suite and none beside this one for chosen files; `-n` says otherwise."""
    return 0 if config.args_source is pytest.Config.ArgsSource.ARGS else min(2, os.cpu_count() or 1)


def pytest_collection_finish() -> None:
    """Let the garbage collector look at what tests make, and less often; what is imported by now stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run."""
    if item.get_closest_marker("realdata") and not DATA_DIR.is_dir():
        pytest.skip(NO_DATA)
    if item.get_closest_marker("gpu"):
        import jax

        if jax.default_backend() != "gpu":
            pytest.skip("no GPU: set JAX_PLATFORMS=cuda,cpu on a machine that has one")


@pytest.fixture(autouse=True, scope="module")
def _room_for_programs() -> Iterator[None]:
    """Forget compiled programs before a process has too many: Linux allows 65,530 mapped areas, and each takes some."""
    yield
    maps = Path("/proc/self/maps")
    if "jax" in sys.modules and maps.exists() and len(maps.read_bytes().splitlines()) > _MOST_MAPS:
        sys.modules["jax"].clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real market data beside the repository; skips the test where there is none."""
    if not DATA_DIR.is_dir():
        pytest.skip(NO_DATA)
    return DATA_DIR
