"""Benchmarks count the work that is done, and say what they cannot measure."""

import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks.matrix_work import matrix_flops

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import benchmark

N, K, M = 5, 7, 3
LEFT, RIGHT = jnp.ones((N, K)), jnp.ones((K, M))
ONE = 2 * N * K * M


def in_a_loop(left, right):
    def body(total, _):
        return total + left @ right, None

    return jax.lax.scan(body, jnp.zeros((N, M)), None, length=4)[0]


def in_a_branch(left, right):
    return jax.lax.cond(left.sum() > 0, lambda: left @ right, lambda: (left @ right) @ jnp.ones((M, M)))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda left, right: left @ right, ONE),
        (lambda left, right: jnp.sin(left).sum() + right.sum(), 0),
        (in_a_loop, 4 * ONE),
        (in_a_branch, ONE + 2 * N * M * M),
        (jax.jit(lambda left, right: jnp.tanh(left @ right)), ONE),
        (lambda left, right: jnp.einsum("bnk,km->bnm", jnp.stack([left] * 6), right), 6 * ONE),
        # The gradient of a product is two more of them.
        (jax.grad(lambda left, right: jnp.square(left @ right).sum(), argnums=(0, 1)), 3 * ONE),
        (lambda left, right: jax.vmap(in_a_loop, in_axes=(None, 0))(left, jnp.stack([right] * 2)), 2 * 4 * ONE),
    ],
)
def test_matrix_products_are_counted_as_often_as_they_are_done(function, expected):
    assert matrix_flops(function, LEFT, RIGHT) == expected


def test_a_loop_of_unknown_length_is_no_guess():
    def until_large(left, right):
        return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ x, left[:, :N] + right.sum())

    with pytest.raises(ValueError, match="unknown length"):
        matrix_flops(until_large, LEFT, RIGHT)


@pytest.mark.parametrize("name", sorted(path.stem for path in (benchmark.ROOT / "benchmarks").glob("*.py")))
def test_every_benchmark_has_settings_that_are_allowed(name):
    """Their configurations are made on import: a rule that a setting meets later breaks them unseen."""
    importlib.import_module(f"benchmarks.{name}")


def test_a_benchmark_of_nothing_is_refused():
    with pytest.raises(ValueError, match="repeats=1 or more"):
        benchmark.main(["env", "--repeats", "0"])


@pytest.mark.slow
def test_a_configuration_is_measured_in_processes_of_its_own(tmp_path):
    file = tmp_path / "figures.json"
    assert benchmark.main(["env", "train", "--assets", "1", "--quick", "--repeats", "1", "--json", str(file)]) == 0
    rows = benchmark.json.loads(file.read_text(encoding="utf-8"))["rows"]
    sections = ["env, no rules", "env, defaults", "env, all rules", "train", "train 2x128"]
    assert [row["section"] for row in rows] == sections
    for row in rows:
        assert row["steps_per_second"] > 0 and row["peak_megabytes"] > 50
        assert row["cached_seconds"] < row["cold_seconds"]
    for row in rows[3:]:
        assert 0 < row["share"] < 1.2 and row["stored_bytes"] > 16
