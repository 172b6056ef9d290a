"""Trackers: a service is told every figure once, whatever becomes of it, and the run does not feel it.

The services that need packages of their own are asked by their own readers, where those are installed.
"""

import importlib.util
import json
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from ploutos_jax.train.checkpoints.export import export_policy
from ploutos_jax.train.run.folder import RunFolder
from ploutos_jax.train.run.loggers import scalars_of
from ploutos_jax.train.run.trackers import tracking as tracking_module
from ploutos_jax.train.run.trackers.tracking import FINISHED, STOPPED, TrackerWarning, Tracking


class Service:
    """A tracking service in this process, that may be out of order, or hang until it is let go."""

    name = "service"

    def __init__(self, fails=0, hangs=False):
        self.told, self.ended, self.published, self.began, self.fails = [], [], [], [], fails
        self.gate = threading.Event()
        if not hangs:
            self.gate.set()

    def begin(self, known):
        self.gate.wait()
        self.began.append(dict(known))
        return {"run_id": "one"}

    def log(self, rows):
        if self.fails:
            self.fails -= 1
            raise ConnectionError("refused")
        self.told += [step for step, _ in rows]

    def publish(self, folders, policy, scores):
        self.published.append((folders, policy, scores))

    def end(self, how):
        self.ended.append(how)


def rows_of(first, last):
    return [{"update": i, "timesteps": 10 * i, "loss": 0.5 * i} for i in range(first, last + 1)]


def test_every_row_is_told_once_in_order(tmp_path):
    service = Service()
    with RunFolder(tmp_path, {}, resume=False, loggers=[Tracking(tmp_path, service)]) as folder:
        for place in range(0, 100, 7):
            folder.write(rows_of(place + 1, place + 7))
    assert service.told == [10 * i for i in range(1, 106)] and service.ended == [FINISHED]
    assert json.loads((tmp_path / "tracker_service.json").read_text()) == {"run_id": "one", "sent": 105}


def test_a_resumed_run_goes_on_in_the_same_tracked_run(tmp_path):
    """It makes rows 4 and 5 again, which the service knows already."""
    first, second = Service(), Service()
    with RunFolder(tmp_path, {}, resume=False, loggers=[Tracking(tmp_path, first)]) as folder:
        folder.write(rows_of(1, 5))
    with RunFolder(tmp_path, {}, resume=True, loggers=[Tracking(tmp_path, second)]) as folder:
        folder.cut_back(3)
        folder.write(rows_of(4, 8))
    assert first.told == [10, 20, 30, 40, 50] and second.told == [60, 70, 80]
    assert first.began == [{}] and second.began == [{"run_id": "one", "sent": 5}]


def test_an_outage_is_one_warning_and_nothing_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking_module, "_FIRST_PAUSE", 0.02)
    service = Service(fails=3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with RunFolder(tmp_path, {}, resume=False, loggers=[Tracking(tmp_path, service)]) as folder:
            for update in range(1, 41):
                folder.write(rows_of(update, update))
                time.sleep(0.002)
    assert [one.category for one in said] == [TrackerWarning]
    assert "tracker service does not answer: ConnectionError: refused" in str(said[0].message)
    assert service.told == [10 * i for i in range(1, 41)]


def test_a_service_that_hangs_holds_nothing_up(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking_module, "_PATIENCE", 0.2)
    service, told = Service(hangs=True), []
    tracking = Tracking(tmp_path, service)
    with RunFolder(tmp_path, {}, resume=False, loggers=[tracking]) as folder:
        for update in range(1, 201):
            began = time.perf_counter()
            folder.write(rows_of(update, update))
            told.append(time.perf_counter() - began)
        began = time.perf_counter()
        with pytest.warns(TrackerWarning, match="has not taken everything within 0.2 s"):
            tracking.close()
        assert time.perf_counter() - began < 5
    assert np.median(told) < 0.01 and service.told == []
    service.gate.set()
    # Another process tells what this one could not.
    again = Service()
    with RunFolder(tmp_path, {}, resume=True, loggers=[Tracking(tmp_path, again)]) as folder:
        folder.cut_back(200)
    assert again.told == [10 * i for i in range(1, 201)]


def test_a_thread_left_behind_touches_the_folder_no_more(tmp_path, monkeypatch):
    """Its service answers at last, when the folder may be another's."""
    monkeypatch.setattr(tracking_module, "_PATIENCE", 0.05)
    service = Service(hangs=True)
    tracking = Tracking(tmp_path, service)
    with RunFolder(tmp_path, {}, resume=False, loggers=[tracking]) as folder:
        folder.write(rows_of(1, 3))
        with pytest.warns(TrackerWarning, match="has not taken everything"):
            tracking.close()
    service.gate.set()
    tracking._thread.join(10)
    assert not tracking._thread.is_alive()
    assert service.began == [{}] and service.told == [] and service.ended == []
    assert not list(tmp_path.glob("tracker_*"))


def test_what_came_of_a_run_is_handed_over_at_its_end(tmp_path):
    service = Service()
    tracking = Tracking(tmp_path, service, ends_with_training=False)
    with RunFolder(tmp_path, {}, resume=False, loggers=[tracking]) as folder:
        folder.write(rows_of(1, 3))
    assert service.ended == []
    tracking.finish(STOPPED, folders={"report": tmp_path}, scores={"sharpe": 1.0})
    assert service.told == [10, 20, 30] and service.ended == [STOPPED]
    assert service.published == [({"report": tmp_path}, None, {"sharpe": 1.0})]


def needs(name):
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed: extra of it")


def told_to(tracker, run, folder):
    """Tell a tracker of a finished run: ten rows, then, as a resumed run does, all of them, then what came of it."""
    folder.mkdir()
    lines = (run.folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    with RunFolder(folder, {}, resume=False) as made:
        made.write([json.loads(line) for line in lines[:10]])
    for _ in range(2):
        (folder / "metrics.jsonl").write_text("".join(lines))
        tracking = Tracking(folder, tracker(), ends_with_training=False)
        tracking.write([])
        report = folder / "report"
        report.mkdir(exist_ok=True)
        (report / "report.html").write_text("<html></html>")
        policy = export_policy(run.agent, folder / "policy", overwrite=True)
        tracking.finish(FINISHED, folders={"report": report}, policy=policy, scores={"sharpe": 1.25})
    return run.rows


@needs("mlflow")
@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_mlflow_holds_the_run_and_a_model_that_acts(finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    import mlflow

    from ploutos_jax.train.run.trackers.mlflow_tracker import MlflowTracker
    from tests.train import planted

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    try:
        folder = tmp_path / "run"
        rows = told_to(lambda: MlflowTracker(folder, {"num_envs": 64, "config": None}), finished_run, folder)
        client = mlflow.tracking.MlflowClient()
        (experiment,) = [one for one in client.search_experiments() if one.name == "ploutos"]
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED" and run.data.params["num_envs"] == "64"
        assert run.data.metrics["final_score/sharpe"] == 1.25
        for name in ("train/value_loss", "rollout/reward_per_step"):
            history = client.get_metric_history(run.info.run_id, name)
            expected = [(row["timesteps"], scalars_of(row)[name]) for row in rows]
            assert [(one.step, one.value) for one in history] == expected
        assert [one.path for one in client.list_artifacts(run.info.run_id, "report")] == ["report/report.html"]
        found = mlflow.pyfunc.load_model("models:/ploutos/1")
        env = planted.ENV
        params = env.default_params(planted.unseen())
        observation, _ = env.reset_at(0, 100, params)
        vectors = np.asarray(env.flatten(observation, params))[None].astype(np.float32)
        np.testing.assert_array_equal(found.predict(vectors), finished_run.agent.predict(vectors)[0])
        model = Path(mlflow.artifacts.download_artifacts("models:/ploutos/1"))
        assert not [path for path in model.rglob("*") if path.suffix in (".pkl", ".pickle")]
    finally:
        mlflow.set_tracking_uri(before)


def records_of(file):
    """Return the records of a file of W&B's offline mode: a LevelDB log of protocol buffers, read from its bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, part, records = file.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        left = 32_768 - place % 32_768
        if left < 7:
            place += left
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        if kind == 0:
            break
        part += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(part)
            records.append(record)
            part = b""
    return records


@needs("wandb")
@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_the_run_without_a_key(finished_run, tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    from ploutos_jax.train.run.trackers.wandb_tracker import WandbTracker

    folder = tmp_path / "run"
    rows = told_to(lambda: WandbTracker(folder, {"num_envs": 64}), finished_run, folder)
    files = sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 2 and len({file.stem for file in files}) == 1, "two sittings of one tracked run"
    records = [record for file in files for record in records_of(file)]
    history = [record.history for record in records if record.WhichOneof("record_type") == "history"]
    found = []
    for one in history:
        items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in one.item}
        found.append((one.step.num, items["train/value_loss"]))
    assert found == [(row["timesteps"], pytest.approx(scalars_of(row)["train/value_loss"])) for row in rows]
    kinds = [record.artifact.type for record in records if record.WhichOneof("record_type") == "artifact"]
    kinds += [
        record.request.log_artifact.artifact.type
        for record in records
        if record.WhichOneof("record_type") == "request" and record.request.WhichOneof("request_type") == "log_artifact"
    ]
    assert {"model", "report"} <= set(kinds)
