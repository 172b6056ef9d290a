"""What has to hold on a GPU: the same trading, results that repeat, memory as estimated, a word where it does not do.

Each test is there twice: tiny on whatever device JAX has, so that it cannot rot, and marked `gpu` at a size that fills
one. JAX_PLATFORMS=cuda,cpu python -m pytest -m gpu
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ploutos_jax as pj
from ploutos_jax.agents.network import Network
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.memory import estimate_memory
from ploutos_jax.train.ppo.learner import Learner
from tests.env.cases import CASES
from tests.env.differential import TOLERANCE, compare
from tests.env.worlds import make_config, random_actions, random_market, random_numbers, simulate
from tests.scripts.command_line import ROOT, start, train_args, wait, write_bars
from tests.train import worlds

SCRIPT = ROOT / "benchmarks" / "gpu" / "first_light.py"


def sizes(tiny, large):
    """Cases of a test: tiny on any device, and large on a GPU."""
    return [pytest.param(tiny, id="tiny"), pytest.param(large, id="large", marks=pytest.mark.gpu)]


@pytest.mark.thorough
@pytest.mark.parametrize("cases", sizes(CASES[:1], CASES))
def test_trading_is_that_of_the_float64_reference(cases):
    for case in cases:
        found = compare(case, 21)  # raises where a number differs
        assert found.steps > 1000 and found.events["order"] > 100 and max(found.worst.values()) < TOLERANCE


@pytest.mark.thorough
@pytest.mark.parametrize("shape", sizes((65, 3), (253, 503)))
@pytest.mark.parametrize("kind", ["discrete", "weights"])
def test_trading_is_that_of_a_cpu(kind, shape, record_property):
    """In float32: a division may differ in its last digit there, and a level that is just met may not be."""
    num_bars, num_assets = shape
    config, market = make_config(kind, num_bars), random_market(5, num_bars, num_assets)
    numbers = {name: value.astype(np.float32) for name, value in random_numbers(5, 16).items()}
    actions = random_actions(5, kind, num_bars - 1, 16, num_assets)
    actions = actions if kind == "discrete" else actions.astype(np.float32)
    here = simulate(config, market, numbers, actions)
    with jax.default_device(jax.devices("cpu")[0]):
        there = simulate(config, market, numbers, actions)
    fills = np.asarray(there.info["num_trades"])
    flipped = np.mean(here.info["num_trades"] != fills)
    record_property("share_of_bars_with_other_fills", float(flipped))
    assert fills.sum() > 100
    assert flipped < 1e-3
    same = (here.info["num_trades"] == fills).all(axis=0)  # accounts that never traded otherwise
    assert same.mean() > 0.8
    for name in ("equity", "cash"):
        one, other = getattr(here.state, name)[..., same], getattr(there.state, name)[..., same]
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())


def run_stage(tmp_path, is_large, *args):
    """Run a stage of first_light.py in a process of its own; return its rows of figures."""
    env = os.environ | {"FL_TINY": "0" if is_large else "1", "FL_WORK": str(tmp_path), "OUT": str(tmp_path)}
    env |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, str(SCRIPT), *args], env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("ROW ")]


@pytest.mark.thorough
@pytest.mark.parametrize("is_large", sizes(False, True))
def test_updates_repeat_bit_for_bit_in_a_process_and_across(tmp_path, is_large):
    """Asked to: a GPU is told `--deterministic`, a CPU needs no telling."""
    found = [run_stage(tmp_path, is_large, "repeat", "default", "1")[-1] for _ in range(2)]
    assert all(row["same_in_process"] and row["table_mode"] for row in found)
    assert found[0]["digests"] == found[1]["digests"]


@pytest.mark.thorough
@pytest.mark.parametrize("is_large", sizes(False, True))
def test_a_resumed_run_is_the_run_bit_for_bit(tmp_path, is_large):
    first = {row["what"]: row for row in run_stage(tmp_path, is_large, "resume", "1")}
    [resumed] = run_stage(tmp_path, is_large, "resume", "2")
    whole = first["resume: straight"]["digest"]
    assert first["resume: straight, again"]["digest"] == whole == resumed["digest"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("is_large", "is_deterministic"), [(False, True), *(pytest.param(True, x, marks=pytest.mark.gpu) for x in (0, 1))]
)
def test_a_run_of_the_command_is_resumed_with_the_same_figures(tmp_path, is_large, is_deterministic):
    """Bit for bit with `--deterministic`; without it a GPU's sums of gradients meet in any order."""
    data = write_bars(tmp_path / "bars.csv")
    more = [
        "--num-envs",
        "1024" if is_large else "8",
        "--learning-rate-schedule",
        "constant",
        *(["--deterministic"] if is_deterministic else []),
    ]
    figures = {}
    for name, updates in (("whole", (4,)), ("resumed", (2, 4))):
        for place, number in enumerate(updates):
            args = [*train_args(data, tmp_path / name, number), *more, *(["--resume"] if place else [])]
            outcome = wait(start("train", args, ROOT))
            assert outcome.code == 0, outcome.err
        rows = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        figures[name] = [row["policy_loss"] for row in rows]
    if is_deterministic or jax.default_backend() == "cpu":
        assert figures["resumed"] == figures["whole"]
    else:
        np.testing.assert_allclose(figures["resumed"], figures["whole"], rtol=0.05, atol=1e-3)


def learner_of(num_assets, num_envs, num_steps, **policy):
    """A learner of the default settings, its state before an update, and what else an update takes."""
    market = worlds.random_market(3, num_bars=200, num_assets=num_assets)
    env = pj.TradingEnv(pj.EnvConfig(episode_length=60))
    config = pj.TrainConfig(num_envs=num_envs, rollout_length=num_steps, policy=PolicyConfig(**policy))
    network = Network.create(config.policy, "discrete", num_assets, config.chunk_bytes)
    learner, params = Learner(config=config, env=env, network=network), env.default_params(market)
    state = learner.init(jax.random.key(0), params)
    return learner, state, (params, jax.tree.map(jnp.float32, config.hyper()))


@pytest.mark.thorough
@pytest.mark.parametrize("shape", sizes((3, 64, 16), (30, 4096, 32)))
def test_memory_is_as_estimated(shape):
    learner, state, rest = learner_of(*shape)
    program = jax.jit(learner.update, donate_argnums=0).lower(state, *rest).compile()
    facts = program.memory_analysis()
    used = facts.temp_size_in_bytes + facts.argument_size_in_bytes
    estimate = estimate_memory(learner.config, rest[0].market, "discrete").total
    if jax.default_backend() == "gpu":
        jax.block_until_ready(program(state, *rest))
        used = jax.devices()[0].memory_stats()["peak_bytes_in_use"]
    assert 0.5 < used / estimate < 2, f"{used / 2**20:.0f} MiB, estimated were {estimate / 2**20:.0f}"


@pytest.mark.thorough
@pytest.mark.parametrize("shape", sizes((2, 32, 8), (101, 2048, 16)))
def test_bfloat16_learns_what_float32_learns(shape):
    """Its products and activations are of 8 bits; parameters, losses and what is summed up are not."""
    figures = {}
    for precision in ("float32", "bfloat16"):
        wide = {"torso": "flat", "hidden": (128, 128), "credit": "joint", "precision": precision}
        learner, state, rest = learner_of(*shape, **wide)
        learner = dataclasses.replace(learner, config=dataclasses.replace(learner.config, ratio="joint"))
        state, metrics = jax.jit(learner.update)(state, *rest)
        assert {leaf.dtype for leaf in jax.tree.leaves(state.agent.network)} == {jnp.dtype("float32")}
        figures[precision] = {name: float(metrics[name]) for name in ("value_loss", "entropy", "first_kl")}
    wide, narrow = figures["float32"], figures["bfloat16"]
    np.testing.assert_allclose(narrow["value_loss"], wide["value_loss"], rtol=0.05)
    np.testing.assert_allclose(narrow["entropy"], wide["entropy"], rtol=0.02)
    assert abs(narrow["first_kl"]) < 1e-5  # rollout and loss see one network


def test_a_device_without_memory_left_is_one_message(tmp_path):
    """More than any device has: what XLA says of it ends the command as other bad input does."""
    program = (
        "import jax, jax.numpy as jnp\n"
        "from ploutos_jax.cli.terminal import exit_codes\n"
        "with exit_codes():\n"
        "    jax.jit(lambda: jnp.ones((2**20, 2**22)))().block_until_ready()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(ROOT), capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    said = " ".join(done.stderr.split())
    assert "Error: the device has no memory left: Out of memory" in said and "--num-envs" in said
