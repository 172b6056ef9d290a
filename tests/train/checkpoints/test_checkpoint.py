"""Checkpoints: acting in another process, going on bit for bit, other devices, and folders that are not whole."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.spec import describe
from ploutos_jax.env.observation import ACCOUNT_FIELDS
from ploutos_jax.env.types import Observation
from ploutos_jax.train.checkpoints.checkpoint import STEPS_FOLDER, Checkpoints, restore
from ploutos_jax.train.loop import train
from ploutos_jax.train.run.resources import MACHINE_FIGURES
from tests.train import planted
from tests.train.worlds import assert_identical, make_learner

ROOT = Path(__file__).resolve().parents[3]
NUM_UPDATES = planted.CONFIG.num_updates


def random_observations(num_envs=200):
    rng = np.random.default_rng(0)
    return Observation(
        t=jnp.asarray(rng.integers(0, planted.NUM_BARS, num_envs), jnp.int32),
        positions=jnp.asarray(rng.normal(0, 0.5, (num_envs, planted.NUM_ASSETS, 2)), jnp.float16),
        levels=jnp.asarray(rng.integers(0, 256, (num_envs, planted.NUM_ASSETS, 3)), jnp.uint8),
        account=jnp.asarray(rng.normal(0, 0.5, (num_envs, len(ACCOUNT_FIELDS))), jnp.float16),
    )


def actions_of(agent: Agent):
    """Return the greedy actions and drawn ones for the same random observations."""
    market, observations = agent.with_own_sectors(planted.market()), random_observations()
    params = planted.ENV.default_params(market)
    keys = jax.random.split(jax.random.key(9), 200)
    return [np.asarray(agent.act_batch(observations, params, key)) for key in (None, keys)]


def run_python(code, *args, cwd, num_devices=1):
    """Run code in a fresh Python with the repository on its path; return what it prints."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={num_devices}"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "XLA_FLAGS": flags.strip()}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


ACT = """
import sys, numpy as np
from ploutos_jax.train.checkpoints.checkpoint import restore
from tests.train.checkpoints.test_checkpoint import actions_of
np.savez(sys.argv[2], *actions_of(restore(sys.argv[1])))
"""


@pytest.mark.thorough
def test_a_fresh_process_elsewhere_acts_the_same(finished_run, tmp_path):
    whole = finished_run.folder
    run_python(ACT, whole.name, tmp_path / "actions.npz", cwd=whole.parent)
    with np.load(tmp_path / "actions.npz") as found:
        for name, expected in zip(("arr_0", "arr_1"), actions_of(finished_run.agent), strict=True):
            assert len(np.unique(expected)) == 3, "all three actions should occur"
            np.testing.assert_array_equal(found[name], expected)


SPREAD = """
import sys, jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from ploutos_jax.train.checkpoints.checkpoint import Checkpoints, restore
from ploutos_jax.agents.spec import describe
from tests.train import planted
from tests.train.worlds import assert_identical, make_learner

assert jax.device_count() == 4
folder, target = sys.argv[1:]
learner, params, _ = make_learner(planted.CONFIG, planted.seen(), planted.ENV.config)
with Checkpoints(folder, {}) as saved:
    state = saved.restore(jax.eval_shape(lambda: learner.init(jax.random.key(0), params)))
assert_identical(restore(folder).params, state.agent)
mesh = Mesh(np.array(jax.devices()), ("env",))
spread = lambda x: NamedSharding(mesh, P("env") if x.shape[:1] == (64,) else P())
state = jax.device_put(state, jax.tree.map(spread, state))
assert len(state.runner.state.shares.sharding.device_set) == 4
with Checkpoints(target, describe(learner.network, planted.ENV.config, planted.seen(), params)) as checkpoints:
    checkpoints.save(7, state)
"""


@pytest.mark.slow
def test_one_device_and_four_read_each_other(finished_run, tmp_path):
    run_python(SPREAD, finished_run.folder, tmp_path / "four", cwd=tmp_path, num_devices=4)
    assert jax.device_count() == 1
    agent = restore(tmp_path / "four")
    assert agent.step == 7
    assert_identical(agent.params, finished_run.agent.params)
    learner, params, _ = make_learner(planted.CONFIG, planted.seen(), planted.ENV.config)
    template = jax.eval_shape(lambda: learner.init(jax.random.key(0), params))
    with Checkpoints(tmp_path / "four", {}) as four, Checkpoints(finished_run.folder, {}) as one:
        assert_identical(four.restore(template), one.restore(template))


def test_a_restored_agent_is_the_trained_one(finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(finished_run.folder.parent)
    for folder in (finished_run.folder, str(finished_run.folder), "whole"):
        agent = restore(folder)
        assert_identical(agent.params, finished_run.agent.params)
    for name in ("network", "env_config", "feature_names", "symbols", "trained_from", "trained_to", "step"):
        assert getattr(agent, name) == getattr(finished_run.agent, name), name


def metrics_of(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: x for name, x in row.items() if name not in MACHINE_FIGURES} for row in rows]


def test_a_resumed_run_is_the_whole_run(finished_run, tmp_path):
    folder, calls = tmp_path / "halved", []
    arguments = (planted.CONFIG, planted.seen(), planted.ENV)
    first = train(*arguments, output=folder, observers=[calls.append], should_stop=lambda: len(calls) == 5)
    assert 5 <= first.step < NUM_UPDATES
    # As a crash leaves it: figures beyond the checkpoint, the last one cut off.
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"update": first.step + 1, "policy_loss": 9.0}) + '\n{"update": 1')
    # And a step that was being written.
    shutil.copytree(
        folder / STEPS_FOLDER / str(first.step), folder / STEPS_FOLDER / f"{first.step + 1}.orbax-checkpoint-tmp"
    )
    assert restore(folder).step == first.step

    agent = train(*arguments, output=folder, resume=True)
    assert agent.step == NUM_UPDATES
    assert_identical(agent.params, finished_run.agent.params)
    assert metrics_of(folder) == metrics_of(finished_run.folder)
    assert restore(folder).step == NUM_UPDATES

    # A run that is done has nothing left to do.
    again = train(*arguments, output=folder, resume=True, observers=[lambda _: pytest.fail("an update was made")])
    assert_identical(again.params, agent.params)
    assert metrics_of(folder) == metrics_of(finished_run.folder)


GO_ON = """
import sys, jax
from ploutos_jax.train.loop import train
from tests.train import planted
assert jax.device_count() == int(sys.argv[2])
told = []
few = int(sys.argv[3])
train(planted.CONFIG, planted.seen(), planted.ENV, output=sys.argv[1], resume=True, observers=[told.append],
      should_stop=lambda: told[-1].rows[-1]["update"] >= few)
"""


@pytest.mark.slow
def test_a_run_goes_on_where_there_are_four_devices_and_back(tmp_path):
    """Sums are split otherwise there, so an update differs by rounding, and later ones by what that leads to."""
    stay, move = tmp_path / "stay", tmp_path / "move"
    assert train(planted.CONFIG, planted.seen(), planted.ENV, output=stay, should_stop=lambda: True).step == 1
    shutil.copytree(stay, move)
    for folder, num_devices in ((stay, 1), (move, 4)):
        run_python(GO_ON, folder, num_devices, 2, cwd=tmp_path, num_devices=num_devices)
    there, here = restore(move), restore(stay)
    assert there.step == here.step == 2
    for found, expected in zip(jax.tree.leaves(there.params), jax.tree.leaves(here.params), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    run_python(GO_ON, move, 1, NUM_UPDATES, cwd=tmp_path)
    assert restore(move).step == NUM_UPDATES and len(metrics_of(move)) == NUM_UPDATES


def test_a_step_can_be_chosen(finished_run):
    steps = sorted(int(path.name) for path in (finished_run.folder / STEPS_FOLDER).iterdir())
    assert len(steps) == 3 and steps[-1] == NUM_UPDATES
    earlier = restore(finished_run.folder, step=steps[0])
    assert earlier.step == steps[0]
    pairs = zip(
        jax.tree.leaves(earlier.params.network), jax.tree.leaves(finished_run.agent.params.network), strict=True
    )
    assert all((np.asarray(a) != np.asarray(b)).any() for a, b in pairs)
    with pytest.raises(
        ValueError, match=rf"No checkpoint of step 1 in .*whole; there are \[{steps[0]}, .*{NUM_UPDATES}\]"
    ):
        restore(finished_run.folder, step=1)


def test_folders_without_a_checkpoint_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"No checkpoint in .*nowhere: .* passed to train as --output"):
        restore(tmp_path / "nowhere")
    (tmp_path / "empty" / STEPS_FOLDER / "3.orbax-checkpoint-tmp").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"No finished checkpoint in .*empty.* before its first"):
        restore(tmp_path / "empty")
    with Checkpoints(tmp_path / "fresh", {}) as checkpoints:
        assert checkpoints.latest_step is None
        with pytest.raises(ValueError, match="no checkpoint to resume from in .*fresh"):
            checkpoints.restore(None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def small():
    """A learner's state with a few megabytes of further parameters, and what describes it."""
    learner, params, _ = make_learner(planted.CONFIG, planted.seen(), planted.ENV.config)
    state = learner.init(jax.random.key(0), params)
    network = {**state.agent.network, "more": [jnp.arange(500_000.0) + i for i in range(8)]}
    state = state.replace(agent=state.agent.replace(network=network))
    return state, describe(learner.network, planted.ENV.config, planted.seen(), params)


def copy_of(state):
    return jax.jit(lambda x: jax.tree.map(jnp.copy, x))(state)


@pytest.mark.thorough
def test_saving_keeps_the_values_although_the_buffers_are_donated(small, tmp_path):
    state, meta = small
    overwrite = jax.jit(lambda x: jax.tree.map(lambda leaf: leaf * 0 - 1, x), donate_argnums=0)
    free = copy_of(state)
    overwrite(free.agent)
    assert free.agent.network["more"][0].is_deleted(), "donation should take effect where nothing is being saved"
    with Checkpoints(tmp_path, meta) as checkpoints:
        for step in (1, 2):
            given = copy_of(state)
            checkpoints.save(step, given)
            agent = overwrite(given.agent)
            assert float(agent.network["more"][3][0]) == -1
        kept = checkpoints.restore(state)
    assert_identical(kept, state)


def test_only_the_newest_steps_are_kept(small, tmp_path):
    state, meta = small
    with Checkpoints(tmp_path, meta, keep=2) as checkpoints:
        for step in (3, 5, 9):
            checkpoints.save(step, state)
        checkpoints.save(9, state)  # the same step once more changes nothing
        assert checkpoints.latest_step == 9
    assert sorted(int(path.name) for path in (tmp_path / STEPS_FOLDER).iterdir()) == [5, 9]


def test_a_reward_of_ones_own_is_not_part_of_a_checkpoint():
    config = dataclasses.replace(planted.ENV.config, reward=lambda before, after: after.equity)
    learner, params, _ = make_learner(planted.CONFIG, planted.seen(), config)
    meta = json.loads(json.dumps(describe(learner.network, config, planted.seen(), params)))
    assert meta["env"]["reward"] == "log_return" and meta["env"]["episode_length"] == config.episode_length
