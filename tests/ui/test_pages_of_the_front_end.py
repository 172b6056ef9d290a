"""The pages, run by Streamlit's own test driver on a real API."""

import json
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import pytest

pytest.importorskip("streamlit", reason="the control room needs the extra `ui`")
from streamlit.testing.v1 import AppTest

from tests.ui.projects import served, wait_for

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120


def show_page():
    """What the driver runs: one page, without the menu."""
    import importlib

    import streamlit as st

    importlib.import_module(f"ploutos_jax.ui.pages.{st.secrets['page']}").show()


@pytest.fixture
def page(client):
    """Return a page by its name, run once."""

    def run(name):
        test = AppTest.from_function(show_page, default_timeout=SECONDS)
        test.secrets["api"] = {"address": str(client.base_url), "key": "none is asked for"}
        test.secrets["page"] = name
        test.run()
        assert not test.exception, test.exception
        return test

    return run


def table_of(shown, which=0):
    """Return the rows of a table that is plain text, by column, and where its cells lead."""
    [text] = [each.body for each in [part.proto for part in shown.get("html")] if 'class="plain"' in each.body][which:][
        :1
    ]
    tree = ElementTree.fromstring(text)
    names = [cell.text for cell in tree.iter("th")]
    rows = [
        dict(zip(names, ("".join(cell.itertext()) for cell in row), strict=True))
        for row in tree.iter("tr")
        if row[0].tag == "td"
    ]
    return rows, [link.get("href") for link in tree.iter("a")]


def paused(client):
    assert client.post("/api/queue", json={"paused": True}).status_code == 200


def stop_all(client):
    for job in client.get("/api/jobs").json():
        client.post(f"/api/jobs/{job['id']}/stop", json={})
    wait_for(lambda: all(job["state"] != "waiting" for job in client.get("/api/jobs").json()))


def test_start_shows_runs_and_starts_the_quick_job(page, client):
    paused(client)
    shown = page("start")
    rows, links = table_of(shown)
    runs = client.get("/api/runs").json()
    assert [(row["Run"], row["Steps"]) for row in rows] == [(run["run"], f"{run['timesteps']:,}") for run in runs]
    assert links == [f"/watch?run={quote(run['run'])}" for run in runs]
    shown.button[0].click().run()
    assert not shown.exception and "ploutos train --preset=quick" in shown.code[0].value
    [job] = client.get("/api/jobs").json()
    assert job["state"] == "waiting" and job["about"] == "checkpoints/run-3"
    stop_all(client)


@pytest.mark.thorough
def test_train_is_a_form_of_the_settings_and_explains_what_it_refuses(page, client):
    paused(client)
    shown = page("train")
    fields = {field.label: field for field in shown.text_input}
    assert fields["total timesteps"].value == "200000" and "accounts that step" in fields["num envs"].help
    shown.selectbox[0].set_value("quick").run()
    fields = {field.label: field for field in shown.text_input}
    assert fields["total timesteps"].value == "50000"
    fields["num envs"].set_value("many")
    shown.button[0].click().run()
    assert "'many' is no whole number" in shown.error[0].value and client.get("/api/jobs").json() == []
    fields = {field.label: field for field in shown.text_input}
    fields["num envs"].set_value("16")
    shown.button[0].click().run()
    [job] = client.get("/api/jobs").json()
    assert job["command"] == "ploutos train --preset=quick --num-envs=16 --output=checkpoints/run-3"
    stop_all(client)


def test_train_offers_every_setting(page, client):
    shown = page("train")
    shown.toggle[0].set_value(True).run()
    labels = {field.label for kind in (shown.text_input, shown.selectbox, shown.checkbox) for field in kind}
    settings = [s for section in client.get("/api/settings").json()["commands"]["train"] for s in section["settings"]]
    chosen_otherwise = {"preset", "data", "config", "output", "resume", "quiet"}
    assert {s["name"].replace("_", " ") for s in settings if s["name"] not in chosen_otherwise} <= labels


@pytest.mark.thorough
def test_data_lists_files_and_their_coverage(page):
    shown = page("data")
    assert list(shown.dataframe[0].value["File"]) == ["data/bars.csv"]
    shown.button[0].click().run()
    assert not shown.exception and list(shown.dataframe[1].value["Coverage"]) == [1.0]


def test_models_are_removed_when_their_name_is_typed(page, project):
    shown = page("models")
    assert shown.button[0].disabled
    what = next(box for box in shown.selectbox if box.label == "What")
    what.set_value("checkpoints/run-1/checkpoints/20").run()
    shown.text_input[0].set_value("20").run()
    shown.button[0].click().run()
    assert not shown.exception and "checkpoints/20 is removed" in shown.success[0].value
    assert not (project.root / "checkpoints/run-1/checkpoints/20").exists()


@pytest.mark.thorough
def test_evaluate_embeds_a_report_and_asks_for_another(page, client):
    paused(client)
    shown = page("evaluate")
    assert "checkpoints/run-1/report/report.html" in shown.selectbox[0].options[0]
    next(field for field in shown.text_input if field.label == "stress").set_value("4")
    next(button for button in shown.button if button.label == "Write the report").click().run()
    assert not shown.exception and not shown.error
    [job] = client.get("/api/jobs").json()
    assert job["command"].startswith("ploutos evaluate --checkpoint=checkpoints/run-1 --stress=4 --output=")
    stop_all(client)


@pytest.mark.thorough
def test_compare_sets_runs_side_by_side(page, client, project):
    paused(client)
    for name, metrics in (("paper-1", {"sharpe": 1.0}), ("both", {"runs": {"run-1": {}, "run-2": {}}})):
        folder = project.root / "reports" / name
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (folder / "report.html").write_text("<!doctype html><title>r</title><h1>r</h1>")
    shown = page("compare")
    rows, _ = table_of(shown)
    assert {row["Run"]: row["Sharpe"] for row in rows} == {"checkpoints/run-1": "1.50", "checkpoints/run-2": "1.50"}
    assert shown.selectbox[0].options == ["reports/both/report.html"], "no report of one account"
    shown.button[0].click().run()
    [job] = client.get("/api/jobs").json()
    assert "--compare checkpoints/run-" in job["command"] and job["about"] == "reports/comparison-1"
    stop_all(client)


def test_jobs_and_watch_are_shown(page, client):
    paused(client)
    client.post("/api/runs", json={"values": {"preset": "quick"}})
    shown = page("jobs")
    assert shown.toggle[0].value and [row["About"] for row in table_of(shown)[0]] == ["checkpoints/run-3"]
    assert page("watch").title[0].value == "Watch"
    stop_all(client)


@pytest.mark.thorough
def test_a_project_without_anything_is_shown_too(tmp_path, described, monkeypatch):
    from ploutos_jax.ui.api.app import make_app
    from ploutos_jax.ui.project import Project

    (tmp_path / ".ploutos").mkdir()
    (tmp_path / ".ploutos" / "settings.json").write_bytes(described.read_bytes())
    with served(make_app(Project(tmp_path))) as client:
        for name in ("start", "data", "train", "watch", "models", "evaluate", "compare", "sweeps", "paper", "jobs"):
            test = AppTest.from_function(show_page, default_timeout=SECONDS)
            test.secrets["api"] = {"address": str(client.base_url), "key": "k"}
            test.secrets["page"] = name
            assert not test.run().exception, name
