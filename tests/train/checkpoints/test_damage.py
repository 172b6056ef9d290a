"""Checkpoints that are not what was saved: found, named, and the one before them used."""

import json
import shutil

import jax
import pytest

from ploutos_jax.train.checkpoints.checkpoint import STEPS_FOLDER, Checkpoints, restore
from ploutos_jax.train.checkpoints.store import DamagedError, DamagedWarning, Steps
from ploutos_jax.train.loop import train
from tests.train import planted
from tests.train.checkpoints.test_checkpoint import metrics_of
from tests.train.worlds import assert_identical, make_learner

NUM_UPDATES = planted.CONFIG.num_updates


def largest(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def data_file(step, item):
    return largest(step / item / "ocdbt.process_0" / "d")


def flip(path, share=0.5):
    content = bytearray(path.read_bytes())
    for i in range(3):
        content[int(len(content) * share) + i] ^= 0xFF
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit_meta(step):
    file = step / "meta" / "metadata"
    meta = json.loads(file.read_text(encoding="utf-8"))
    meta["env"]["spread_bps"] = 9.0
    file.write_text(json.dumps(meta), encoding="utf-8")


def keep_only(step, name):
    for path in step.iterdir():
        if path.name != name:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


DAMAGES = {
    "bytes flipped in the numbers": lambda step: flip(data_file(step, "agent")),
    "bytes flipped near their end": lambda step: flip(data_file(step, "agent"), 0.97),
    "numbers cut off": lambda step: truncate(data_file(step, "agent")),
    "numbers gone": lambda step: data_file(step, "agent").unlink(),
    "numbers empty": lambda step: data_file(step, "agent").write_bytes(b""),
    "numbers all zero": lambda step: data_file(step, "agent").write_bytes(
        bytes(data_file(step, "agent").stat().st_size)
    ),
    "manifest gone": lambda step: (step / "agent" / "manifest.ocdbt").unlink(),
    "tree gone": lambda step: (step / "agent" / "_METADATA").unlink(),
    "tree cut off": lambda step: truncate(step / "agent" / "_METADATA"),
    "agent gone": lambda step: shutil.rmtree(step / "agent"),
    "description gone": lambda step: shutil.rmtree(step / "meta"),
    "description cut off": lambda step: truncate(step / "meta" / "metadata"),
    "description edited": edit_meta,
    "copied in part": lambda step: keep_only(step, "training"),
    "an empty folder": lambda step: keep_only(step, ""),
}


@pytest.fixture
def run(finished_run, tmp_path):
    return shutil.copytree(finished_run.folder, tmp_path / "run")


def steps_of(run):
    return sorted(int(path.name) for path in (run / STEPS_FOLDER).iterdir() if path.name.isdecimal())


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_the_one_before_a_damaged_one_is_restored(finished_run, run, damage):
    *_, earlier, newest = steps_of(run)
    damage(run / STEPS_FOLDER / str(newest))
    said = rf"checkpoint of step {newest} in .* is damaged \(.*\)\. The one before it, of step {earlier}, is used"
    with pytest.warns(DamagedWarning, match=said):
        agent = restore(run)
    assert agent.step == earlier
    assert_identical(agent.params, restore(finished_run.folder, step=earlier).params)
    with pytest.raises(DamagedError, match=rf"checkpoint of step {newest} in .* is damaged"):
        restore(run, step=newest)


def test_a_run_goes_on_from_the_one_before(finished_run, run):
    earliest, earlier, newest = steps_of(run)
    flip(data_file(run / STEPS_FOLDER / str(newest), "training"))
    truncate(data_file(run / STEPS_FOLDER / str(earlier), "training"))
    assert restore(run).step == newest, "the agent needs no more than its own part"
    with pytest.warns(DamagedWarning) as warned:
        agent = train(planted.CONFIG, planted.seen(), planted.ENV, output=run, resume=True)
    said = [str(warning.message) for warning in warned]
    assert [f"of step {step}, is used" in text for step, text in zip((earlier, earliest), said, strict=True)] == [
        True
    ] * 2
    assert_identical(agent.params, finished_run.agent.params)
    assert metrics_of(run) == metrics_of(finished_run.folder)
    names = {path.name for path in (run / STEPS_FOLDER).iterdir()}
    assert {f"damaged-{newest}", f"damaged-{earlier}", str(NUM_UPDATES)} <= names, "nothing is thrown away"
    assert restore(run).step == NUM_UPDATES


def test_where_none_is_whole_it_is_said(run):
    for step in steps_of(run):
        flip(data_file(run / STEPS_FOLDER / str(step), "agent"))
    with (
        pytest.warns(DamagedWarning),
        pytest.raises(DamagedError, match=rf"of step {steps_of(run)[0]} in .* is damaged"),
    ):
        restore(run)
    for step in steps_of(run):
        shutil.rmtree(run / STEPS_FOLDER / str(step) / "meta")
    before = sorted(run.rglob("*"))
    with pytest.raises(DamagedError, match=rf"of step {steps_of(run)[-1]} in .* is damaged"):
        train(planted.CONFIG, planted.seen(), planted.ENV, output=run, resume=True)
    assert sorted(run.rglob("*")) == before


def test_any_number_of_the_state_counts(finished_run, run):
    """A single bit of the training state, deep inside what nobody looks at, is found."""
    learner, params, _ = make_learner(planted.CONFIG, planted.seen(), planted.ENV.config)
    template = jax.eval_shape(lambda: learner.init(jax.random.key(0), params))
    with Checkpoints(run, {}) as checkpoints:
        state = checkpoints.restore(template)
    newest = steps_of(run)[-1]
    cash = state.runner.state.shares
    changed = state.replace(
        runner=state.runner.replace(state=state.runner.state.replace(shares=cash.at[0, 0].add(1e-3)))
    )
    with Steps(run / "other", write=True) as steps:
        steps.save(newest, {"training": changed.replace(agent=None)}, {})
    shutil.rmtree(run / STEPS_FOLDER / str(newest) / "training")
    shutil.copytree(run / "other" / str(newest) / "training", run / STEPS_FOLDER / str(newest) / "training")
    listed = run / STEPS_FOLDER / str(newest) / "files.json"
    for said in ("training/.* was changed", "numbers of its training part were changed"):
        with Checkpoints(run, {}) as checkpoints, pytest.warns(DamagedWarning, match=said):
            checkpoints.restore(template)
        # Once more without the list of files, as a process killed before writing it leaves the step.
        (run / STEPS_FOLDER / f"damaged-{newest}").rename(run / STEPS_FOLDER / str(newest))
        listed.unlink(missing_ok=True)


def test_steps_of_before_digests_are_read(finished_run, run):
    for step in steps_of(run):
        file = run / STEPS_FOLDER / str(step) / "meta" / "metadata"
        meta = json.loads(file.read_text(encoding="utf-8"))
        for name in ("self", "digests", "train", "numbers", "bars", "made_by"):
            del meta[name]
        file.write_text(json.dumps(meta | {"format": 2}), encoding="utf-8")
        (run / STEPS_FOLDER / str(step) / "files.json").unlink()
    assert_identical(restore(run).params, finished_run.agent.params)
    again = train(planted.CONFIG, planted.seen(), planted.ENV, output=run, resume=True)
    assert_identical(again.params, finished_run.agent.params)


def test_a_later_format_is_refused(run):
    with Steps(run / STEPS_FOLDER, write=True) as steps:
        steps.save(99, {}, {"format": 99})
    with pytest.raises(ValueError, match="has the format 99; this version reads 1 to"):
        restore(run)
