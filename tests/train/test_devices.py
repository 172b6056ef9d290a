"""Several devices and hosts: what they compute is what one computes, up to the rounding of sums.

Parts are played side by side by `vmap` with the axis's name where that will do; devices of a processor and processes
over loopback take longer.
"""

import contextlib
import json
import signal
import socket
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents.parts import AXIS, Parts
from ploutos_jax.agents.scaling import ReturnScaling
from ploutos_jax.runs.settings import RunSettings
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.devices import layout_of
from ploutos_jax.train.hosts import Hosts, join
from ploutos_jax.train.learning.table_gradients import split_own_pairs
from ploutos_jax.train.ppo.gradients import PairMoments
from tests.train import several

NUM_ENVS, NUM_CHUNKS = 24, 3
FIGURES = ("loss", "grad_norm", "entropy", "episode_return_mean", "equity", "explained_variance")


@pytest.mark.thorough
@pytest.mark.parametrize(("number", "size"), [(4, 100), (4, 3), (8, 5), (24, 100)])
def test_parts_together_have_every_pair_of_a_minibatch_once(number, size):
    pairs = np.random.default_rng(0).permutation(NUM_ENVS * NUM_CHUNKS)[:30]
    parts = Parts(number)

    def own(_):
        (chosen, weight), count = split_own_pairs(jnp.asarray(pairs), size, NUM_ENVS, parts)
        return chosen, weight, count, parts.place

    chosen, weight, count, place = jax.vmap(own, axis_name=AXIS)(jnp.arange(number))
    here = NUM_ENVS // number
    found = []
    for part in range(number):
        # Chunks that are not worked through hold nothing.
        assert float(weight[part, int(count[part]) :].sum()) == 0
        kept = np.asarray(chosen[part])[np.asarray(weight[part]) > 0]
        assert (np.asarray(weight[part]).sum(axis=1)[: int(count[part])] > 0).all()
        found += [int(pair // here * NUM_ENVS + place[part] * here + pair % here) for pair in kept]
    assert sorted(found) == sorted(pairs.tolist())
    assert chosen.shape[-1] <= size


def test_moments_of_a_minibatch_are_those_of_all_its_numbers():
    rng = np.random.default_rng(1)
    values = 100 + rng.standard_normal((4, 6, 5))  # parts, pairs, numbers of a pair
    moments = PairMoments(jnp.full((4, 6), 5.0), jnp.asarray(values.mean(axis=2)), jnp.asarray(values.var(axis=2) * 5))
    chosen = jnp.asarray([[0, 3, 0], [1, 2, 5], [4, 0, 0], [0, 0, 0]])
    weight = jnp.asarray([[1.0, 1, 0], [1, 1, 1], [1, 0, 0], [0, 0, 0]])
    centre, spread = jax.vmap(lambda m, p, w: m.of_pairs(p, w, Parts(4)), axis_name=AXIS)(moments, chosen, weight)
    whole = np.concatenate([values[0, [0, 3]], values[1, [1, 2, 5]], values[2, [4]]])
    np.testing.assert_allclose(centre, whole.mean(), rtol=1e-6)
    np.testing.assert_allclose(spread, whole.std(), rtol=1e-4)


def test_scale_of_rewards_is_that_of_all_environments():
    rng = np.random.default_rng(2)
    rewards, done = rng.standard_normal((5, 8, 1)).astype(np.float32), rng.random((5, 8)) < 0.2
    one = ReturnScaling.create(8, 1).observe(jnp.asarray(rewards), jnp.asarray(done), 0.9)
    shares = [jnp.asarray(x.reshape(5, 4, 2, *x.shape[2:]).swapaxes(0, 1)) for x in (rewards, done)]
    parts = jax.vmap(lambda r, d: ReturnScaling.create(2, 1).observe(r, d, 0.9, Parts(4)), axis_name=AXIS)(*shares)
    for name in ("count", "mean", "square"):
        found = getattr(parts.moments, name)
        np.testing.assert_allclose(found, np.broadcast_to(getattr(one.moments, name), found.shape), rtol=1e-5)
    np.testing.assert_array_equal(parts.running.reshape(8, 1), one.running)


def test_what_does_not_fit_is_refused():
    here = len(jax.local_devices())
    assert layout_of(1, TrainConfig()) is None
    with pytest.raises(ValueError, match=f"devices={here + 1}, but JAX finds {here} of kind"):
        layout_of(here + 1, TrainConfig())
    with pytest.raises(ValueError, match="devices='0' must be a number from 1, or all"):
        RunSettings(devices="0")
    assert RunSettings(devices="all").devices_wanted == "all" and RunSettings(devices="3").devices_wanted == 3


@pytest.mark.thorough
def test_hosts_are_joined_by_whole_addresses_alone(monkeypatch):
    with pytest.raises(ValueError, match="give --coordinator HOST:PORT too"):
        join(None, 2, 0)
    with pytest.raises(ValueError, match="write HOST:PORT, such as node1:1234, or auto"):
        join("node1", 2, 0)
    with pytest.raises(ValueError, match="num_hosts=2, host=2: give both numbers, host from 0 to"):
        join("node1:1234", 2, 2)
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "node1:1234")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(ValueError, match="JAX_NUM_PROCESSES='two' is no whole number"):
        join(None, None, None)
    assert Hosts.here() == Hosts() and Hosts().first_says(3, 4) == [3, 4] and Hosts().any_says(True)


def _apart(some, others):
    """Return the largest relative difference of figures; trades are counted and have to agree."""
    assert [row["trades"] for row in some["rows"]] == [row["trades"] for row in others["rows"]]
    pairs = [(a[name], b[name]) for a, b in zip(some["rows"], others["rows"], strict=True) for name in FIGURES]
    return max(abs(a - b) / max(abs(b), 1e-3) for a, b in pairs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_seeds": 2, "seed": 1},
        {"num_seeds": 4},
        {"advantage": "position", "env": {"action": "bands"}, "target_kl": 0.02},
        {"cvar_weight": 0.1, "average": 0.9, "policy": {"quantiles": 8, "dropout": 0.1, "return_loss": 0.1}},
        {"num_minibatches": 8, "rollout_length": 8, "chunk_megabytes": 0.01},
        {"time_gradient": 0, "num_minibatches": 4, "policy": {"time": "attention", "time_width": 8, "time_window": 8}},
    ],
    ids=["plain", "seeds", "seeds over devices", "positions", "heads", "gathered", "stretches"],
)
def test_four_devices_learn_what_one_learns(settings):
    one, four = (several.run(4, devices=number, **settings) for number in (1, 4))
    assert _apart(four, one) < 1e-3


def _port():
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


def _hosts(number, **asked):
    port = _port()
    return [several.start(hosts=number, host=host, port=port, **asked) for host in range(number)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 4])
def test_several_hosts_learn_what_one_learns(number):
    one = several.run(updates=4)
    hosts = [several.result_of(process) for process in _hosts(number, updates=4)]
    assert len({host["digest"] for host in hosts}) == 1, "each holds the same bits"
    assert all(host["rows"] == [] for host in hosts[1:]), "host 0 alone tells"
    assert _apart(hosts[0], one) < 1e-3


@pytest.mark.slow
def test_a_lost_host_ends_the_run_which_goes_on_with_other_numbers_of_hosts(tmp_path):
    """One process is killed in an update; then 1 host goes on, then 2. What comes out is what one alone makes."""
    constant = {"learning_rate_schedule": "constant"}
    one = several.run(updates=8, **constant)
    folder = str(tmp_path / "run")
    first, second = _hosts(2, output=folder, updates=4, pause=1.0, **constant)
    with contextlib.ExitStack() as ending:
        for process in (first, second):
            ending.callback(process.kill)
        # What carries sums between hosts prints lines of its own.
        told = (json.loads(line) for line in first.stdout if line.startswith("{"))
        assert any(line["update"] >= 2 for line in told), first.stderr.read()[-2000:]
        second.send_signal(signal.SIGKILL)
        began = time.monotonic()
        _, said = first.communicate(timeout=90)
        assert time.monotonic() - began < 60
        # Met in a sum it is a message of ours; waiting for it, JAX's heartbeats end the process.
        words = {75: "Another host of the run was lost", -signal.SIGABRT: "another task died"}
        assert words.get(first.returncode, "another code") in said, (first.returncode, said[-2000:])
        second.communicate()
    several.run(output=folder, updates=6, resume=True, **constant)
    again = [several.result_of(process) for process in _hosts(2, output=folder, updates=8, resume=True, **constant)]
    assert again[0]["digest"] == again[1]["digest"] and again[1]["rows"] == []
    assert [row["update"] for row in again[0]["rows"]] == [7, 8]
    assert _apart(again[0], {"rows": one["rows"][-2:]}) < 1e-3
