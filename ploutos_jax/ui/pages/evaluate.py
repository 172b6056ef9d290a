"""Evaluate: the report of a run, with stress if asked for; validation over folds of a history."""

import streamlit as st

from ploutos_jax.ui.pages.client import api
from ploutos_jax.ui.pages.form import ask, settings_of, start_checked
from ploutos_jax.ui.pages.shown import choose, figure, remember_job, show_job_of, show_report, when

_FIRST = ("stress", "start", "end", "benchmark", "best", "ensemble")
_PLAN = ("scheme", "train_window", "validation_window", "test_window", "folds", "test_folds")
_OF_TRAINING = ("data", "tickers", "liquid", "total_timesteps", "num_envs", "num_seeds")


def show() -> None:
    """Show the page."""
    st.title("Evaluate")
    reports, stress, validation = st.tabs(["Reports", "Score a run", "Validation"])
    with reports:
        _reports()
    with stress:
        _score()
    with validation:
        _validation()


def _reports() -> None:
    found = api().get("/api/evaluations")
    if not found:
        st.info("No report yet: a run ends with one, and *Score a run* writes others.")
        return
    names = {report["page"]: f"{report['page']}  ({when(report['written'])})" for report in found}
    page = choose("Report", list(names), names)
    show_report(page)


def _score() -> None:
    models = [model["path"] for model in api().get("/api/models")]
    if not models:
        st.info("No run yet.")
        return
    run = choose("Run", models)
    [section] = settings_of("evaluate")
    with st.form("evaluate", border=False):
        values = ask([each for each in section["settings"] if each["name"] in _FIRST], {}, "evaluate")
        with st.expander("More"):
            rest = [each for each in section["settings"] if each["name"] not in _FIRST]
            values |= ask(rest, {}, "evaluate")
        is_asked = st.form_submit_button("Write the report", type="primary")
    if is_asked:
        job = start_checked("evaluate", "/api/evaluations", values, {"run": run})
        if job is not None:
            remember_job(job, "evaluate")
    show_job_of("evaluate")


def _validation() -> None:
    st.markdown(
        "Trains from scratch on every fold of a history and scores on bars after it: what a single span and seed cannot"
        " tell. It takes as many trainings as there are folds and seeds."
    )
    sections = settings_of("validate")
    known = {each["name"]: each for section in sections for each in section["settings"]}
    with st.form("validate", border=False):
        values = ask([known[name] for name in (*_PLAN, *_OF_TRAINING)], {}, "validate")
        is_asked = st.form_submit_button("Validate", type="primary")
    if is_asked:
        job = start_checked("validate", "/api/validations", values)
        if job is not None:
            remember_job(job, "validate")
    show_job_of("validate")
    for found in api().get("/api/validations"):
        with st.expander(f"{found['path']} ({'finished' if found['is_finished'] else 'not finished'})"):
            for path in found["result"].get("paths", []):
                rows = {**path["strategies"], **path["baselines"]}
                shown = ("sharpe", "annual_return", "max_drawdown", "turnover")
                table = [{"Strategy": n, **{k: figure(k, row.get(k)) for k in shown}} for n, row in rows.items()]
                st.dataframe(table, hide_index=True)
