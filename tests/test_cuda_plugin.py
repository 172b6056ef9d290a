"""JAX's CUDA plug-in beside JAX on the CPU: the same version, and nothing is said about it."""

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FAMILIES = (("jax-cuda12-plugin", "jax-cuda12-pjrt"), ("jax-cuda13-plugin", "jax-cuda13-pjrt"))
PIN = re.compile(r"^([\w.-]+==[\w.+!]+)", re.MULTILINE)


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@pytest.fixture
def plugin() -> dict[str, str | None]:
    """The versions of the packages of the plug-in that is installed."""
    found = [family for family in FAMILIES if any(map(installed, family))]
    if not found:
        pytest.skip("JAX's CUDA plug-in is not installed")
    assert len(found) == 1, f"JAX loads one plug-in, but these are installed: {found}."
    return {name: installed(name) for name in found[0]}


@pytest.mark.gpu_compile
def test_jax_and_its_plugin_are_of_one_version(plugin):
    versions = {name: installed(name) for name in ("jax", "jaxlib")} | plugin
    assert len(set(versions.values())) == 1, versions


@pytest.mark.gpu_compile
def test_jax_computes_on_the_cpu_beside_the_plugin(plugin):
    """As on a machine that has the plug-in and no GPU, or is told to leave it alone."""
    code = "import jax; print(jax.devices()[0].platform, jax.jit(lambda x: x + 1)(1))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["cpu", "2"]), done.stderr
    assert done.stderr == ""


def test_the_pins_for_cuda_are_among_all_pins():
    pins = {name: set(PIN.findall((ROOT / name).read_text())) for name in ("constraints.txt", "constraints-cuda12.txt")}
    assert len(pins["constraints-cuda12.txt"]) > 50
    assert pins["constraints-cuda12.txt"] <= pins["constraints.txt"]
