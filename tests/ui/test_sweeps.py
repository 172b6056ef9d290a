"""Sweeps in the control room: found on the disk, started, stopped and gone on with, as the command does."""

import csv
import importlib.util
import json
import os
import subprocess
import sys

import pytest
import yaml

pytest.importorskip("fastapi", reason="the control room needs the extra `ui`")

from tests.ui.projects import wait_for, write_run
from tests.ui.test_run_list import HOLD

OVER = ["learning_rate=1e-4,1e-3", "spread_bps=1,5,9"]
PNG = b"\x89PNG\r\n\x1a\n"
SMALL = {"preset": "quick", "data": "planted:3:0.3", "features": "minimal", "num_envs": 16, "rollout_length": 16}
SMALL |= {"total_timesteps": 2048, "eval_every": 1024}


def write_sweep(folder, *, rows=(), trials=None, over=OVER, best=None):
    """Write the folder of a sweep as the command leaves it; with rows it has ended."""
    folder.mkdir(parents=True)
    (folder / "sweep.yaml").write_text(yaml.safe_dump({"over": list(over), "trials": trials, "preset": "quick"}))
    if rows:
        with (folder / "sweep.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        (folder / "sweep.png").write_bytes(PNG)
        found = {"best": best, "score": rows[0]["score"], "trials": 6, "deflated_sharpe": 0.5, "folder": "best"}
        (folder / "summary.json").write_text(json.dumps(found | {"test": {"sharpe": 0.7}}))
    return folder


def add_trial(folder, name, score, steps=(64, 128), total=128, rate=0.1):
    """Write the run of a trial: the score is that of its last row."""
    run = folder / name
    run.mkdir()
    settings = {"data": {"data": "synthetic"}, "train": {"total_timesteps": total, "learning_rate": rate}}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    rows = [{"update": i, "timesteps": n, "held_out_score": score - len(steps) + i} for i, n in enumerate(steps, 1)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


ROWS = [
    {"trial": "point-2", "learning_rate": 1e-3, "spread_bps": 1, "score": 1.5},
    {"trial": "point-1", "learning_rate": 1e-4, "spread_bps": 1, "score": 0.25},
    {"trial": "point-3", "learning_rate": 1e-4, "spread_bps": 9, "score": "nan"},
]


def test_a_sweep_that_has_ended_is_shown_with_its_table_and_picture(client, project):
    folder = write_sweep(project.root / "checkpoints" / "sweep-1", rows=ROWS, best={"learning_rate": 1e-3})
    write_run(folder / "best", updates=2)
    [sweep] = client.get("/api/sweeps").json()
    assert sweep["state"] == "finished" and sweep["points"] == 6 and sweep["tried"] == 3 and sweep["trials"] == 6
    assert sweep["over"] == OVER and sweep["best"] == {"learning_rate": 1e-3} and sweep["score"] == 1.5
    assert sweep["best_run"] == "checkpoints/sweep-1/best" and sweep["test"] == {"sharpe": 0.7}
    rows = client.get("/api/sweeps/one", params={"sweep": sweep["sweep"]}).json()["rows"]
    assert rows == [*ROWS[:2], ROWS[2] | {"score": None}]
    picture = client.get("/api/sweeps/picture", params={"sweep": sweep["sweep"]})
    assert picture.content == PNG and picture.headers["content-type"] == "image/png"


def test_a_study_that_goes_on_shows_what_its_trials_have_written(client, project):
    folder = write_sweep(project.root / "checkpoints" / "sweep-1", trials=5, over=["learning_rate=1e-4:1e-2:log"])
    add_trial(folder, "trial-a", 0.5, rate=0.1)
    add_trial(folder, "trial-b", 0.75, rate=0.2)
    add_trial(folder, "trial-c", 0.25, steps=(64,), rate=0.3)
    ask = {"sweep": "checkpoints/sweep-1"}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline()
        sweep = client.get("/api/sweeps/one", params=ask).json()
        assert sweep["state"] == "running" and sweep["process"] == process.pid
        assert sweep["points"] == 5 and sweep["tried"] == 3
        assert [(row["trial"], row["learning_rate"], row["score"], row["ended"]) for row in sweep["rows"]] == [
            ("trial-b", 0.2, 0.75, "whole"),
            ("trial-a", 0.1, 0.5, "whole"),
            ("trial-c", 0.3, 0.25, "early"),
        ]
        assert client.post("/api/sweeps/resume", json=ask).status_code == 409
        assert client.post("/api/sweeps/stop", json=ask).json()["process"] == process.pid
        process.wait(20)
    assert client.get("/api/sweeps/one", params=ask).json()["state"] == "stopped"
    assert client.post("/api/sweeps/stop", json=ask).status_code == 409
    with (folder / "trial-a" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"update": 3, "timesteps": 128, "held_out_score": 0.9}) + "\n")
    assert client.get("/api/sweeps/one", params=ask).json()["rows"][0]["trial"] == "trial-a"
    assert client.get("/api/sweeps/picture", params=ask).status_code == 404


def test_a_damaged_or_strange_sweep_is_listed_and_hurts_nothing(client, project):
    home = project.root / "checkpoints"
    write_sweep(home / "sweep-1")
    (home / "sweep-1" / "sweep.yaml").write_text("over: [")
    (home / "sweep-2").mkdir()
    (home / "sweep-2" / "sweep.csv").write_bytes(b"spread_bps,score\n1,2,3\n\xff\n")
    os.symlink("/etc", home / "sweep-3")
    found = {each["sweep"]: each for each in client.get("/api/sweeps").json()}
    assert set(found) == {"checkpoints/sweep-1", "checkpoints/sweep-2"}
    assert "is not a YAML file" in found["checkpoints/sweep-1"]["problem"]
    assert found["checkpoints/sweep-2"]["of_agent"] and found["checkpoints/sweep-2"]["state"] == "finished"
    assert len(client.get("/api/sweeps/one", params={"sweep": "checkpoints/sweep-2"}).json()["rows"]) == 2
    assert client.post("/api/sweeps/resume", json={"sweep": "checkpoints/sweep-2"}).status_code == 400
    for name, status in (("../x", 400), ("checkpoints/run-1", 404), ("checkpoints/sweep-3", 400), ("data", 400)):
        assert client.get("/api/sweeps/one", params={"sweep": name}).status_code == status


HOSTILE = [
    ({}, 422),
    ({"over": []}, 422),
    ({"over": ["data=/etc/passwd,x.csv"]}, 400),
    ({"over": ["universe=../../x,y"]}, 400),
    ({"over": ["output=a,b"]}, 422),
    ({"over": ["config=a,b"]}, 422),
    ({"over": ["list_url=http://x,http://y"]}, 422),
    ({"over": ["num_envs=8\n--output=/etc"]}, 422),
    ({"over": ["num_envs"]}, 422),
    ({"over": [3]}, 422),
    ({"over": ["no_such=1,2"]}, 422),
    ({"over": [f"num_envs={i}" for i in range(21)]}, 422),
    ({"over": ["num_envs=8,16"], "checkpoint": "/etc"}, 422),
    ({"over": ["num_envs=8,16"], "output": "../x"}, 400),
]


@pytest.mark.parametrize(("values", "status"), HOSTILE, ids=[str(values)[:40] for values, _ in HOSTILE])
def test_hostile_sweeps_start_nothing(client, project, values, status):
    answer = client.post("/api/sweeps", json={"values": values})
    assert answer.status_code == status, answer.text
    assert not (project.own / "jobs").exists()


def test_a_sweep_is_the_ordinary_command(client, project):
    client.post("/api/queue", json={"paused": True})
    asked = {"values": {"over": OVER, "preset": "quick", "trials": 4}}
    job = client.post("/api/sweeps", json=asked).json()
    words = [f"--over={over}" for over in OVER]
    assert job["command"].split() == [
        *("ploutos", "sweep", *words, "--preset=quick", "--trials=4", "--output=checkpoints/sweep-1")
    ]
    agent = client.post("/api/sweeps", json={"values": {"over": OVER[1:]}, "run": "checkpoints/run-1"}).json()
    assert "sweep --checkpoint=checkpoints/run-1 --over=spread_bps=1,5,9" in agent["command"]
    write_sweep(project.root / "checkpoints" / "sweep-9")
    again = {"sweep": "checkpoints/sweep-9", "values": {"at_once": 2}}
    resumed = client.post("/api/sweeps/resume", json=again).json()
    assert resumed["command"] == "ploutos sweep --output=checkpoints/sweep-9 --resume --at-once=2"
    other = client.post("/api/sweeps/resume", json=again | {"values": {"trials": 9}})
    assert other.status_code == 409 and "'trials' cannot change" in other.json()["detail"]
    for each in client.get("/api/jobs").json():
        client.post(f"/api/jobs/{each['id']}/stop", json={})
    wait_for(lambda: all(each["state"] != "waiting" for each in client.get("/api/jobs").json()))


@pytest.mark.thorough
def test_the_command_s_own_parser_reads_what_is_searched(client):
    def said(over, **more):
        answer = client.post("/api/settings/check", json={"command": "sweep", "values": {"over": over, **more}})
        return answer.json()["complaint"]

    assert said(OVER) is None and said(["learning_rate=1e-4:1e-2:log"], trials=3) is None
    assert "whose points have no end" in said(["learning_rate=1e-4:1e-2:log"])
    assert "num_envs='many'" in said(["num_envs=many,8"]) or "'many'" in said(["num_envs=many,8"])


def page_of(client):
    from streamlit.testing.v1 import AppTest

    from tests.ui.test_pages_of_the_front_end import SECONDS, show_page

    test = AppTest.from_function(show_page, default_timeout=SECONDS)
    test.secrets["api"] = {"address": str(client.base_url), "key": "none is asked for"}
    test.secrets["page"] = "sweeps"
    test.run()
    assert not test.exception, test.exception
    return test


def test_the_page_shows_the_table_the_picture_and_the_number_of_trials(client, project):
    pytest.importorskip("streamlit", reason="the control room needs the extra `ui`")
    write_sweep(project.root / "checkpoints" / "sweep-1", rows=ROWS, best={"learning_rate": 1e-3})
    shown = page_of(client)
    assert [(each.label, each.value) for each in shown.metric] == [
        ("State", "✓ finished"),
        ("Points", "3 of 6"),
        ("Best score, where it was chosen", "1.50"),
        ("Its Sharpe on the test", "0.70"),
    ]
    assert "6 trials count" in shown.caption[0].value and "50.0%" in shown.caption[0].value
    assert list(shown.dataframe[0].value["Trial"]) == ["point-2", "point-1", "point-3"]
    assert any("/api/sweeps/picture?sweep=checkpoints/sweep-1" in each.value for each in shown.markdown)


@pytest.mark.thorough
def test_the_page_starts_a_sweep_and_says_what_the_command_refuses(client):
    pytest.importorskip("streamlit", reason="the control room needs the extra `ui`")
    client.post("/api/queue", json={"paused": True})
    shown = page_of(client)

    def fields():
        return {field.label: field for field in shown.text_input}

    assert fields()["learning rate: values or a range"].value.count(",") == 2
    fields()["learning rate: values or a range"].set_value("1e-4:1e-2:log")
    fields()["entropy coef: values or a range"].set_value("")
    shown.button[0].click().run()
    assert "whose points have no end" in shown.error[0].value and client.get("/api/jobs").json() == []
    fields()["trials"].set_value("8")
    shown.button[0].click().run()
    [job] = client.get("/api/jobs").json()
    assert job["command"].startswith("ploutos sweep ") and "--over=learning_rate=1e-4:1e-2:log" in job["command"]
    assert "--trials=8" in job["command"] and "entropy" not in job["command"]
    client.post(f"/api/jobs/{job['id']}/stop", json={})
    wait_for(lambda: client.get(f"/api/jobs/{job['id']}").json()["state"] != "waiting")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or importlib.util.find_spec("optuna") is None,
    reason="ray is not installed: extra sweep",
)
def test_a_study_is_started_stopped_and_gone_on_with(client, project):
    over = ["learning_rate=1e-4:1e-2:log", "num_epochs=1,2"]
    values = {**SMALL, "over": over, "trials": 4, "at_once": 1, "scheduler": "none"}
    job = client.post("/api/sweeps", json={"values": values}).json()
    folder, ask = project.root / job["about"], {"sweep": job["about"]}

    def ended(name):
        return wait_for(lambda: (now := client.get(f"/api/jobs/{name}").json())["code"] is not None and now, 400)

    wait_for(lambda: len(list(folder.glob("trial-*/metrics.jsonl"))) >= 2, 400)
    assert client.post("/api/sweeps/stop", json=ask).status_code == 202
    assert ended(job["id"])["state"] == "stopped"
    assert "continue with the same command and --resume" in client.get(f"/api/jobs/{job['id']}/log").text
    sweep = client.get("/api/sweeps/one", params=ask).json()
    assert sweep["state"] == "stopped" and sweep["tried"] >= 1
    again = client.post("/api/sweeps/resume", json=ask).json()
    assert ended(again["id"])["state"] == "done", client.get(f"/api/jobs/{again['id']}/log").text
    sweep = client.get("/api/sweeps/one", params=ask).json()
    assert sweep["state"] == "finished" and sweep["tried"] == 4 and {row["ended"] for row in sweep["rows"]} == {"whole"}
    assert sweep["trials"] == sum(row["scored"] for row in sweep["rows"])
    assert client.get("/api/reports/page", params={"path": sweep["report"]}).status_code == 200
