"""The API over real files and real jobs."""

import json
import subprocess
import sys
import time

import pytest

from tests.ui.projects import rows_of, wait_for, write_run
from tests.ui.test_run_list import HOLD


def read_events(client, path, wanted, change=lambda: None):
    """Return server-sent events up to the one that is wanted."""
    found, kind = [], ""
    with client.stream("GET", path) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line[7:]
            if line.startswith("data: "):
                found.append((kind, json.loads(line[6:])))
                if len(found) == 3:
                    change()
                if wanted(found):
                    return found
    return found


def test_runs_are_listed_with_figures_settings_and_log(client):
    runs = {run["run"]: run for run in client.get("/api/runs").json()}
    assert runs["checkpoints/run-1"]["state"] == "finished" and runs["checkpoints/run-2"]["state"] == "stopped"
    figures = client.get("/api/runs/figures", params={"run": list(runs)}).json()["runs"]
    assert [point["equity"] for point in figures["checkpoints/run-1"]] == [row["equity"] for row in rows_of(30)]
    config = client.get("/api/runs/config", params={"run": "checkpoints/run-1"}).json()
    assert config["settings"]["train"]["seed"] == 0 and "preset: quick" in config["text"]
    assert client.get("/api/runs/log", params={"run": "checkpoints/run-1"}).text == "began\nended\n"


def test_what_another_terminal_starts_is_listed_within_two_seconds(client, project):
    assert len(client.get("/api/runs").json()) == 2
    write_run(project.root / "checkpoints" / "run-3", updates=1)
    began = time.monotonic()
    wait_for(lambda: len(client.get("/api/runs").json()) == 3, 2)
    assert time.monotonic() - began < 2


@pytest.mark.thorough
@pytest.mark.parametrize(
    "path", ["/api/runs/one", "/api/runs/config", "/api/runs/log", "/api/runs/figures", "/api/runs/live"]
)
@pytest.mark.parametrize(("run", "status"), [("../x", 400), ("/etc", 400), ("checkpoints/none", 404), ("data", 400)])
def test_a_run_that_is_none_is_refused(client, path, run, status):
    answer = client.get(path, params={"run": run})
    assert answer.status_code == status and answer.json()["detail"]


def test_a_report_is_served_and_reaches_nothing_of_this_server(client, project):
    [report] = client.get("/api/evaluations").json()
    assert report["run"] == "checkpoints/run-1" and report["figures"]["sharpe"] == 1.5 and report["compares"] == []
    page = client.get("/api/reports/page", params={"path": report["page"]})
    assert "A report" in page.text and page.headers["content-security-policy"].startswith("sandbox allow-scripts;")
    (project.root / "checkpoints" / "run-1" / "secret.txt").write_text("x")
    for path in ("checkpoints/run-1/config.yaml", "checkpoints/run-1/secret.txt", "checkpoints/run-1/none.html"):
        assert client.get("/api/reports/page", params={"path": path}).status_code == 404
    assert client.get("/api/reports/page", params={"path": "../page.html"}).status_code == 400


def test_a_model_is_removed_only_when_its_name_is_given_once_more(client, project):
    folder = project.root / "checkpoints" / "run-1"
    ask = {"path": "checkpoints/run-1/checkpoints/10", "confirm": "run-1"}
    assert client.delete("/api/models", params=ask).status_code == 400 and (folder / "checkpoints" / "10").exists()
    assert client.delete("/api/models", params=ask | {"confirm": "10"}).status_code == 204
    assert not (folder / "checkpoints" / "10").exists() and (folder / "checkpoints" / "20").exists()
    [model] = [m for m in client.get("/api/models").json() if m["path"] == "checkpoints/run-1"]
    assert model["checkpoints"] == [20]
    for path in ("checkpoints", "checkpoints/run-1/report", "data", "checkpoints/run-1/.."):
        assert (
            client.delete("/api/models", params={"path": path, "confirm": path.rpartition("/")[2]}).status_code == 400
        )
    ask = {"path": "checkpoints/run-1", "confirm": "run-1"}
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        assert client.delete("/api/models", params=ask).status_code == 409 and folder.exists()
        process.kill()
    assert client.delete("/api/models", params=ask).status_code == 204 and not folder.exists()


def test_live_figures_are_told_as_they_are_written(client, project):
    folder = project.root / "checkpoints" / "run-2"

    def add():
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(rows_of(13)[12]) + "\n")

    path = "/api/runs/live?run=checkpoints/run-2"
    found = read_events(client, path, lambda events: "figures" in [k for k, _ in events[3:]], add)
    assert [kind for kind, _ in found[:3]] == ["runs", "figures", "log"]
    assert len(found[1][1]["points"]) == 12 and found[2][1]["lines"] == ["began", "ended"]
    [news] = [content for kind, content in found[3:] if kind == "figures"]
    assert not news["all"] and [point["update"] for point in news["points"]] == [13]


@pytest.mark.thorough
def test_a_job_s_log_is_followed_to_its_end(client):
    job = client.post("/api/runs", json={"values": {"preset": "quick", "num_envs": 0}})
    assert job.status_code == 202, job.text
    assert job.json()["command"] == "ploutos train --preset=quick --num-envs=0 --output=checkpoints/run-3"
    found = read_events(client, f"/api/jobs/{job.json()['id']}/log/live", lambda events: events[-1][0] == "end")
    assert "num_envs=0 must be at least 1" in "".join(text for kind, text in found if kind == "text")
    assert client.get(f"/api/jobs/{job.json()['id']}").json()["state"] == "failed"


HOSTILE = [
    ({"output": "../../x"}, 400),
    ({"output": "/etc/x"}, 400),
    ({"data": "/etc/passwd"}, 400),
    ({"data": "data/../../x.csv"}, 400),
    ({"data": "bootstrap:/etc/passwd"}, 400),
    ({"universe": "../u.csv"}, 400),
    ({"tickers": ["AAPL", "--output=/etc/x"]}, 422),
    ({"tickers": ["A;touch x"]}, 422),
    ({"tickers": ["$(id)"]}, 422),
    ({"tickers": ["A,B"]}, 422),
    ({"tickers": ["A" * 99]}, 422),
    ({"start": "--resume"}, 422),
    ({"start": "2020\n--resume"}, 422),
    ({"config": "x.yaml"}, 422),
    ({"resume": True}, 422),
    ({"num_env": 3}, 422),
    ({"deterministic": "yes"}, 422),
    ({"seed": True}, 422),
    ({"seed": None}, 422),
    ({"hidden": ["1" * 1500]}, 422),
    ({"x" * 101: 1}, 422),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("values", "status"), HOSTILE, ids=[str(values)[:40] for values, _ in HOSTILE])
def test_hostile_settings_start_nothing(client, project, values, status):
    answer = client.post("/api/runs", json={"values": values})
    assert answer.status_code == status, answer.text
    assert not (project.own / "jobs").exists()


@pytest.mark.parametrize("tickers", ["A;id", "--output=x", "A B --base-url=http://x", "<script>", "A\u202eB", ""])
def test_hostile_tickers_download_nothing(client, project, tickers):
    answer = client.post("/api/data/download", json={"values": {"tickers": tickers, "output": "data/x.parquet"}})
    assert answer.status_code == 422 and not (project.own / "jobs").exists()


@pytest.mark.parametrize("values", [{"output": "data/x.csv"}, {"base_url": "http://x"}, {"list_url": "http://x"}])
def test_a_download_goes_to_data_and_comes_from_the_vendor(client, project, values):
    assert client.post("/api/data/download", json={"values": {"tickers": "AAA", **values}}).status_code == 422
    assert not (project.own / "jobs").exists()


def test_settings_are_read_by_the_command_s_own_parser(client):
    settings = client.get("/api/settings").json()
    [learner] = [s for s in settings["commands"]["train"] if s["title"] == "Learner"]
    [envs] = [each for each in learner["settings"] if each["name"] == "num_envs"]
    assert envs["kind"] == "int" and envs["low"] == 1 and "side by side" in envs["help"]
    assert settings["presets"]["quick"]["total_timesteps"] == 50_000
    good = client.post("/api/settings/check", json={"command": "train", "values": {"num_envs": "1e2"}}).json()
    assert good == {"complaint": None, "command": "ploutos train --num-envs=1e2"}
    bad = client.post("/api/settings/check", json={"command": "train", "values": {"num_envs": "many"}}).json()
    assert "'many' is no whole number" in bad["complaint"] and "In [1, 2e6]" in bad["complaint"]


@pytest.mark.thorough
def test_a_file_is_taken_in_if_it_can_be_read(client, project):
    kind = {"content-type": "application/octet-stream"}
    good = (project.root / "data" / "bars.csv").read_bytes()
    answer = client.put("/api/data/files/more.csv", content=good, headers=kind)
    assert answer.status_code == 201 and answer.json()["facts"]["num_bars"] == 28
    assert (project.root / "data" / "more.csv").read_bytes() == good
    again = client.put("/api/data/files/more.csv", content=good, headers=kind)
    assert again.status_code == 409
    bad = client.put("/api/data/files/bad.csv", content=b"a,b\n1,2\n", headers=kind)
    assert bad.status_code == 422 and "bad.csv" in bad.json()["detail"] and "uploads" not in bad.json()["detail"]
    for name in ("..%2f..%2fx.csv", ".x.csv", "x.py", "-x.csv"):
        assert client.put(f"/api/data/files/{name}", content=good, headers=kind).status_code in (400, 404)
    assert sorted(file.name for file in (project.root / "data").iterdir()) == ["bars.csv", "more.csv"]
    assert list((project.own / "uploads").iterdir()) == []


@pytest.mark.thorough
def test_coverage_of_a_file_is_what_it_holds(client, project):
    rows = [
        f"2020-01-{day:02d},{ticker},{day}.5,9" for day in range(1, 21) for ticker in "AB" if day % 4 or ticker == "A"
    ]
    (project.root / "data" / "two.csv").write_text("date,ticker,close,volume\n" + "\n".join(rows) + "\n")
    facts = client.get("/api/data/facts", params={"path": "data/two.csv"}).json()
    assert facts["num_assets"] == 2 and facts["first"][:10] == "2020-01-01" and facts["num_bars"] == 20
    # B has 15 of the 19 bars from the first to the nineteenth.
    assert [t["coverage"] for t in facts["tickers"]] == [1.0, round(15 / 19, 4)]
    known = {file["path"]: file["facts"] for file in client.get("/api/data").json()}
    assert known["data/two.csv"]["num_assets"] == 2 and known["data/bars.csv"] is None
