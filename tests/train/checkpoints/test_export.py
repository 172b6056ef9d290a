"""Exported policies: act as the checkpoint does, bit for bit, and cannot bring code with them."""

import json
import os
import pickle
import shutil

import jax
import numpy as np
import pytest

import ploutos_jax as pj
from ploutos_jax.train.checkpoints.export import (
    ARRAYS_FILE,
    DESCRIPTION_FILE,
    export_policy,
    load_agent,
    load_policy,
    named_files,
    write_named,
)
from tests.train.checkpoints.test_checkpoint import actions_of, run_python
from tests.train.worlds import assert_identical

PARTS = ("env_config", "feature_names", "symbols", "sectors", "trained_from", "trained_to", "step", "network")


@pytest.fixture(scope="module")
def exported(finished_run, tmp_path_factory):
    return export_policy(finished_run.folder, tmp_path_factory.mktemp("export") / "deep" / "policy")


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "copy")


def change(folder, **changes):
    """Rewrite entries of the description."""
    description = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description | changes), encoding="utf-8")


def rewrite(folder, **changes):
    """Rewrite arrays by name; None leaves one out."""
    with np.load(folder / ARRAYS_FILE) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays = {name: array for name, array in (arrays | changes).items() if array is not None}
    np.savez(folder / ARRAYS_FILE, **arrays)


def test_an_export_acts_bit_for_bit_as_the_checkpoint(finished_run, exported):
    agent = pj.load_policy(exported)
    assert_identical(agent.params, finished_run.agent.params)
    for found, expected in zip(actions_of(agent), actions_of(finished_run.agent), strict=True):
        assert len(np.unique(expected)) == 3
        np.testing.assert_array_equal(found, expected)
    for name in PARTS:
        assert getattr(agent, name) == getattr(finished_run.agent, name), name
    assert_identical(load_agent(exported).params, agent.params)
    assert_identical(load_agent(finished_run.folder).params, agent.params)


LOAD = """
import sys, jax, numpy as np
from ploutos_jax.train.checkpoints.export import load_policy
from tests.train.checkpoints.test_checkpoint import actions_of
assert jax.device_count() == 4
np.savez(sys.argv[2], *actions_of(load_policy(sys.argv[1])))
"""


@pytest.mark.slow
def test_a_process_with_other_devices_acts_the_same(finished_run, exported, tmp_path):
    run_python(LOAD, exported, tmp_path / "actions.npz", cwd=tmp_path, num_devices=4)
    with np.load(tmp_path / "actions.npz") as found:
        for name, expected in zip(("arr_0", "arr_1"), actions_of(finished_run.agent), strict=True):
            np.testing.assert_array_equal(found[name], expected)


def test_an_export_is_two_plain_files_and_the_settings(finished_run, exported):
    assert {path.name for path in exported.iterdir()} == {"policy.npz", "policy.json", "config.yaml"}
    assert list(exported.parent.iterdir()) == [exported], "nothing is left beside it"
    description = json.loads((exported / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    assert description["feature_names"] == list(finished_run.agent.feature_names)
    assert set(description["versions"]) == {"ploutos_jax", "jax", "flax", "numpy"}
    text = (exported / DESCRIPTION_FILE).read_text(encoding="utf-8") + str(description)
    assert "sharding" not in text and "device" not in text
    with np.load(exported / ARRAYS_FILE, allow_pickle=False) as stored:
        assert sorted(stored.files) == description["arrays"]
        assert {"network/params", "scaling/features", "scaling/assets", "scaling/account"} == {
            "/".join(name.split("/")[:2]) for name in stored.files
        }
        assert all(stored[name].dtype == np.float32 for name in stored.files)


def test_an_agent_and_an_older_checkpoint_can_be_exported(finished_run, tmp_path):
    step = min(int(path.name) for path in (finished_run.folder / "checkpoints").iterdir())
    export_policy(finished_run.folder, tmp_path / "older", step=step)
    assert load_policy(tmp_path / "older").step == step
    export_policy(finished_run.agent, tmp_path / "agent")
    assert_identical(load_policy(tmp_path / "agent").params, finished_run.agent.params)
    assert not (tmp_path / "agent" / "config.yaml").exists()


def test_nothing_is_overwritten_unasked(finished_run, copy, tmp_path):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    with pytest.raises(ValueError, match=r"copy already holds a policy; give another one, or overwrite=True"):
        export_policy(finished_run.agent, copy)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds other files"):
        export_policy(finished_run.agent, tmp_path / "other", overwrite=True)
    with pytest.raises(ValueError, match="is a file"):
        export_policy(finished_run.agent, tmp_path / "other" / "thesis.txt")
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    export_policy(finished_run.agent, copy, overwrite=True)
    assert {path.name for path in copy.iterdir()} == {"policy.npz", "policy.json"}


class Bomb:
    """What runs a command when it is unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_an_object_array_is_refused_unread(copy, tmp_path):
    target = tmp_path / "code was run"
    name = "scaling/account/mean"
    rewrite(copy, **{name: np.array([Bomb(target)], dtype=object)})
    with pytest.raises(ValueError, match=r"policy.npz cannot be read as a policy: Object arrays cannot be loaded"):
        load_policy(copy)
    assert not target.exists()
    # The bomb is one: NumPy told to unpickle runs it.
    with np.load(copy / ARRAYS_FILE, allow_pickle=True) as stored:
        stored[name]
    assert target.exists()


def test_a_pickle_in_place_of_the_arrays_is_refused_unread(copy, tmp_path):
    target = tmp_path / "code was run"
    (copy / ARRAYS_FILE).write_bytes(pickle.dumps(Bomb(target)))
    with pytest.raises(ValueError, match=r"policy.npz cannot be read as a policy: .*pickled"):
        load_policy(copy)
    assert not target.exists()


DAMAGED = {
    "array missing": (lambda f: rewrite(f, **{"scaling/account/mean": None}), "holds other arrays .*account/mean"),
    "array too many": (
        lambda f: rewrite(f, more=np.zeros(3)),
        "holds other arrays than the network has, such as 'more'",
    ),
    "wrong shape": (
        lambda f: rewrite(f, **{"scaling/account/count": np.zeros((1, 2), np.float32)}),
        r"scaling/account/count is float32 \(1, 2\), but the network",
    ),
    "wrong type": (lambda f: rewrite(f, **{"scaling/account/count": np.zeros(())}), "is float64"),
    "other number": (lambda f: rewrite(f, **{"scaling/account/count": np.float32(7)}), "is damaged: its numbers"),
    "cut off": (lambda f: (f / ARRAYS_FILE).write_bytes((f / ARRAYS_FILE).read_bytes()[:900]), "cannot be read"),
    "arrays gone": (lambda f: (f / ARRAYS_FILE).unlink(), "No policy in .*: an export holds"),
    "no JSON": (lambda f: (f / DESCRIPTION_FILE).write_text("{"), "policy.json is no JSON"),
    "a list": (lambda f: (f / DESCRIPTION_FILE).write_text("[1]"), "does not describe a policy"),
    "of something else": (lambda f: change(f, kind="other"), "does not describe a policy"),
    "of a later version": (lambda f: change(f, format=99), "has the format 99; this version reads 1 to"),
    "entry of wrong kind": (lambda f: change(f, policy=5), "does not describe a policy"),
    "features too few": (lambda f: change(f, feature_names=["a"]), "but the network described beside it has"),
    "network unknown": (
        lambda f: change(f, policy={"hidden": [4], "torso": "os.system"}),
        "does not describe a policy",
    ),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGED.values(), ids=DAMAGED)
def test_what_is_not_an_export_is_refused(copy, damage, said):
    damage(copy)
    with pytest.raises(ValueError, match=said):
        load_policy(copy)


def test_choices_make_no_sense_for_an_export(exported):
    for choice in ({"step": 3}, {"best": True}, {"seed": 1}):
        with pytest.raises(ValueError, match="is an exported policy, one agent alone"):
            load_agent(exported, **choice)


def test_no_checkpoint_is_unpickled(finished_run, exported, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    for agent in (pj.restore(finished_run.folder), load_policy(exported)):
        assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(agent.params))


def test_files_of_a_name_of_ones_own(finished_run, tmp_path):
    arrays, metadata = write_named(
        finished_run.agent, str(tmp_path / "deep" / "my.agent"), {"metrics": {"sharpe": 1.5}}
    )
    assert (arrays.name, metadata.name) == ("my.agent.pth", "my.agent_metadata.json")
    assert named_files(tmp_path / "deep" / "my.agent") == (arrays, metadata)
    assert json.loads(metadata.read_text())["metrics"] == {"sharpe": 1.5}
    for read in (load_policy, load_agent):
        assert_identical(read(arrays).params, finished_run.agent.params)
    metadata.unlink()
    with pytest.raises(ValueError, match=r"an export holds my\.agent_metadata\.json and my\.agent\.pth"):
        load_policy(arrays)
