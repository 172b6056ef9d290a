"""Checkpoints that are not what was saved: found, named, and the one before them used."""

import json
import re
import shutil
import time
import warnings

import jax
import pytest

from ploutos_jax.train.checkpoints.checkpoint import STEPS_FOLDER, Checkpoints, restore
from ploutos_jax.train.checkpoints.integrity import UncheckedWarning, list_files, sealed
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


@pytest.mark.thorough
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


@pytest.mark.thorough
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
        # Once more without the list of files: the numbers are looked at all the same.
        (run / STEPS_FOLDER / f"damaged-{newest}").rename(run / STEPS_FOLDER / str(newest))
        listed.unlink(missing_ok=True)


def test_steps_of_before_digests_are_read(finished_run, run):
    for step in steps_of(run):
        file = run / STEPS_FOLDER / str(step) / "meta" / "metadata"
        meta = json.loads(file.read_text(encoding="utf-8"))
        for name in ("self", "layout", "run", "digests", "train", "numbers", "bars", "made_by"):
            del meta[name]
        file.write_text(json.dumps(meta | {"format": 2}), encoding="utf-8")
        (run / STEPS_FOLDER / str(step) / "files.json").unlink()
    said = "was saved by an older version, without seal and digests: whether it is what was saved cannot be checked"
    with pytest.warns(UncheckedWarning, match=said):
        assert_identical(restore(run).params, finished_run.agent.params)
    with pytest.warns(UncheckedWarning, match=said):
        again = train(planted.CONFIG, planted.seen(), planted.ENV, output=run, resume=True)
    assert_identical(again.params, finished_run.agent.params)


def meta_of(step, change):
    """Change the description of a step as somebody would who knows nothing of its seal."""
    file = step / "meta" / "metadata"
    meta = json.loads(file.read_text(encoding="utf-8"))
    change(meta)
    file.write_text(json.dumps(meta), encoding="utf-8")
    (step / "files.json").unlink()


def sealed_anew(change):
    """Return a change of a description by somebody who knows how it is sealed."""

    def apply(meta):
        change(meta)
        del meta["self"], meta["layout"]
        meta |= sealed(dict(meta))

    return apply


def as_of_an_older_version(change):
    def apply(meta):
        change(meta)
        for name in ("self", "layout", "run", "digests"):
            del meta[name]

    return apply


REQUIRED = {
    "no seal": (lambda meta: meta.pop("self"), "its description lacks seal"),
    "no digests": (sealed_anew(lambda meta: meta.pop("digests")), "its description lacks digests"),
    "no list of files": (lambda meta: None, "its list of files is missing"),
    "trained to another day": (
        lambda meta: [meta.pop("self"), meta.update(trained_to="2009-01-01")],
        "its description lacks seal",
    ),
    "no key of its own": (sealed_anew(lambda meta: meta.pop("feature_names")), "its description lacks 'feature_names'"),
    "an older one without a key": (as_of_an_older_version(lambda meta: meta.pop("trained_to")), "lacks 'trained_to'"),
    "seeds without end": (
        as_of_an_older_version(lambda meta: meta.update(num_seeds=10**9)),
        "its description says num_seeds=1000000000",
    ),
    "assets without end": (
        sealed_anew(lambda meta: meta.update(num_assets=10**12)),
        "its description says num_assets=1000000000000",
    ),
    "layers of text": (
        sealed_anew(lambda meta: meta["policy"].update(hidden=["x"])),
        "its description says hidden='x'",
    ),
    "rules of today that are none": (
        sealed_anew(lambda meta: meta["env"].update(initial_cash=1e39)),
        "its description makes no agent: initial_cash=1e.39",
    ),
}


@pytest.mark.parametrize(("change", "said"), REQUIRED.values(), ids=REQUIRED)
def test_what_a_description_must_have_is_required(run, change, said):
    *_, earlier, newest = steps_of(run)
    meta_of(run / STEPS_FOLDER / str(newest), change)
    began = time.monotonic()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert restore(run).step == earlier
    assert time.monotonic() - began < 5
    (damage,) = (str(each.message) for each in told if each.category is DamagedWarning)
    assert re.search(said, damage) and f"of step {earlier}, is used" in damage


def test_a_step_under_another_name_is_found(run):
    *_, earlier, newest = steps_of(run)
    steps = run / STEPS_FOLDER
    (steps / str(newest)).rename(steps / "77")
    with pytest.warns(DamagedWarning, match=rf"step 77 .* damaged \(it is step {newest} under another name\)"):
        assert restore(run).step == earlier
    shutil.copytree(steps / str(earlier), steps / "78")
    with pytest.raises(DamagedError, match=f"it is step {earlier} under another name"):
        restore(run, step=78)


def test_a_step_of_another_run_is_found(run, tmp_path):
    *_, earlier, newest = steps_of(run)
    # A run that differs in nothing but in being another one.
    other = shutil.copytree(run, tmp_path / "other")
    (other / "run_id").write_text("0" * 32)
    for step in steps_of(other):
        meta_file = other / STEPS_FOLDER / str(step) / "meta" / "metadata"
        meta = json.loads(meta_file.read_text())
        sealed_anew(lambda meta: meta.update(run="0" * 32))(meta)
        meta_file.write_text(json.dumps(meta))
        list_files(other / STEPS_FOLDER / str(step))
    assert restore(other).step == newest
    shutil.rmtree(run / STEPS_FOLDER / str(newest))
    shutil.copytree(other / STEPS_FOLDER / str(newest), run / STEPS_FOLDER / str(newest))
    with pytest.warns(DamagedWarning, match=r"damaged \(it is a step of another run\)"):
        assert restore(run).step == earlier
    # Checkpoints alone, taken out of their run, are still an agent.
    shutil.copytree(other / STEPS_FOLDER, tmp_path / "alone" / STEPS_FOLDER)
    assert restore(tmp_path / "alone").step == newest


def test_a_later_format_is_refused(run):
    with Steps(run / STEPS_FOLDER, write=True) as steps:
        steps.save(99, {}, {"format": 99})
    with pytest.raises(ValueError, match="has the format 99; this version reads 1 to"):
        restore(run)
