"""What programs become on a GPU, compiled without one: the walls that an H200 has shown to matter stay up."""

import json
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks.gpu.structure import describe

ROOT = Path(__file__).resolve().parents[2]


def test_loops_bytes_and_products_are_read_from_a_program():
    def program(x):
        step = lambda carry, _: (jnp.tanh(carry @ x), carry.sum())  # noqa: E731
        return jax.lax.scan(step, x, None, length=7)

    text = jax.jit(program).lower(jnp.ones((64, 64))).compile().as_text()
    facts = describe(text, top=3)
    [loop] = [loop for name, loop in facts["loops"].items() if name != "outside"]
    assert loop["turns"] == 7
    assert sum(facts["dots"].values()) == pytest.approx(7 * 2 * 64**3 / 1e9)
    matrix = 64 * 64 * 4
    assert 7 * 4 * matrix <= facts["gigabytes"] * 1e9 <= 7 * 12 * matrix  # the product alone reads two and writes one
    assert facts["sorts"] == facts["scatters"] == 0
    assert facts["top"][0]["times"] == 7


def test_sorts_scatters_and_loops_without_a_known_end_are_found():
    def program(x, index):
        x = jax.lax.while_loop(lambda c: c.sum() < 100, lambda c: c * 2, jnp.sort(x))
        return x.at[index].add(1.0)

    facts = describe(jax.jit(program).lower(jnp.ones(512), jnp.zeros(300, jnp.int32)).compile().as_text())
    assert facts["sorts"] == 1
    assert any(loop["turns"] is None for loop in facts["loops"].values())
    assert facts["scatters"] == 1 or "while" in str(facts["loops"])  # a CPU scatters in a loop


def compiled(*arguments):
    """The facts of a program compiled for an H100; skips where there is no plug-in to compile with."""
    if not any(name.startswith("jax-cuda") for name in (x.name for x in distributions())):
        pytest.skip("JAX's CUDA plug-in is not installed")
    command = [sys.executable, str(ROOT / "benchmarks/gpu/compile.py"), *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | {"XLA_FLAGS": ""}, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def inner(facts, turns):
    """The loop that turns so often and does most."""
    return max((x for x in facts["loops"].values() if x["turns"] == turns), key=lambda loop: loop["megabytes"])


@pytest.mark.gpu_compile
@pytest.mark.parametrize(("assets", "envs", "kernels", "kilobytes"), [(1, 4096, 18, 0.6), (503, 4096, 32, 130)])
def test_a_step_of_the_simulator(assets, envs, kernels, kilobytes):
    facts = compiled("simulator", "--assets", assets, "--envs", envs, "--steps", 32)
    loop = inner(facts, 32)
    assert loop["kernels"] <= kernels
    assert loop["megabytes"] * 1e3 / envs <= kilobytes  # of one environment
    assert loop["scatters"] == facts["sorts"] == 0
    assert facts["largest_scalar_sum"] < 100  # the broker is in no kernel that adds all environments up


@pytest.mark.gpu_compile
def test_an_update_of_a_small_network():
    facts = compiled("update")
    rollout = inner(facts, 128)
    assert rollout["kernels"] <= 30
    assert rollout["scatters"] == 0
    assert facts["largest_scalar_sum"] < 100
    assert len(facts["loops"]) <= 6  # rollout, returns, epochs, gradient steps: none of a tiny kernel per step beside
    assert facts["sorts"] <= 2  # the shuffle
    steps = inner(facts, 4)
    assert steps["scatters"] == 2  # gradients of the two tables
    assert steps["large_copies"] <= 1
    epochs = [loop for loop in facts["loops"].values() if loop["turns"] is None]
    assert sum(loop["large_copies"] for loop in epochs) == 0  # of parameters and Adam's state
    used = facts["temporary_mib"] + facts["arguments_mib"]
    assert 1 / 1.3 < used / facts["estimate_mib"] < 1.3
    repeatable = compiled("update", "--deterministic")
    assert repeatable["scatters"] == 0
    assert repeatable["gigabytes"] < 1.3 * facts["gigabytes"]


@pytest.mark.gpu_compile
def test_a_wide_update_multiplies_in_bfloat16():
    wide = ("--assets", 101, "--features", 85, "--envs", 2048, "--steps", 16, "--network", "1024bf16")
    facts = compiled("update", *wide)
    assert facts["dots"]["bf16"] > 10 * facts["dots"].get("f32", 0)  # the head alone is float32
    used = facts["temporary_mib"] + facts["arguments_mib"]
    assert 0.4 < used / facts["estimate_mib"] < 1.3
