"""Sweeps: many settings tried, the table and the picture of what came of them; start one, stop it, go on."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import streamlit as st

from ploutos_jax.ui.pages.client import RefusedError, api
from ploutos_jax.ui.pages.form import ask, ask_preset_and_data, settings_of, start_checked
from ploutos_jax.ui.pages.shown import (
    SIGNS,
    choose,
    figure,
    metrics,
    remember_job,
    show_job_of,
    show_picture,
    show_report,
    when,
)

_PLACE = "sweeps"
_TRAINED = "a trained agent, under other costs"
_OF_TRAINING = ("total_timesteps", "num_envs", "num_seeds", "features")
_FIRST = ("trials", "choose", "embargo")
_USUAL = ("learning_rate", "entropy_coef")
_COSTS = ("spread_bps", "slippage_bps")
_KINDS = ("int", "float")


def show() -> None:
    """Show the page."""
    st.title("Sweeps")
    there, start = st.tabs(["Sweeps", "Start one"])
    with there:
        _sweeps()
    with start:
        _start()
    show_job_of(_PLACE)


def _sweeps() -> None:
    sweeps = api().get("/api/sweeps")
    if not sweeps:
        st.info("No sweep yet: *Start one* tries many settings, and says what the best is worth after so many.")
        return
    names = {each["sweep"]: f"{each['sweep']}  ({each['state']}, {when(each['started'])})" for each in sweeps}
    _one(choose("Sweep", list(names), names))


@st.fragment(run_every=3)
def _one(name: str) -> None:
    try:
        sweep = api().get("/api/sweeps/one", sweep=name)
    except RefusedError as error:
        st.error(str(error))
        return
    if sweep["problem"]:
        st.error(sweep["problem"])
    _metrics(sweep)
    if sweep["over"]:
        st.code("\n".join(f"--over {over}" for over in sweep["over"]), language=None, wrap_lines=True)
    _actions(sweep)
    if sweep["rows"]:
        floats = {name for row in sweep["rows"] for name, value in row.items() if isinstance(value, float)}
        looks = {_title(name): st.column_config.NumberColumn(format="%.4g") for name in floats}
        table = [{_title(name): value for name, value in row.items()} for row in sweep["rows"]]
        st.dataframe(table, hide_index=True, column_config=looks)
        if sweep["num_rows"] > len(sweep["rows"]):
            st.caption(f"The best {len(sweep['rows']):,} of {sweep['num_rows']:,}.")
    elif sweep["state"] == "running":
        st.info("No trial has begun to write, or all of them are one program, which tells when it has ended.")
    if sweep["has_picture"]:
        show_picture(f"/api/sweeps/picture?sweep={quote(name)}", "Scores of the trials by what was tried")
    if sweep["report"] and st.toggle("The report of the best, on the test", key=f"report of {name}"):
        show_report(sweep["report"])


def _metrics(sweep: Mapping[str, Any]) -> None:
    points, test = sweep["points"], sweep["test"] or {}
    of = f" of {points:,}" if points and not sweep["of_agent"] else ""
    metrics(
        ("State", f"{SIGNS[sweep['state']]} {sweep['state']}"),
        ("Points", f"{sweep['tried']:,}{of}"),
        ("Best score, where it was chosen", figure("score", sweep["score"])),
        ("Its Sharpe on the test", figure("sharpe", test.get("sharpe"))),
    )
    if sweep["best"]:
        said = ", ".join(f"{name} = {_short(value)}" for name, value in sweep["best"].items())
        st.markdown(f"Best: **{said}**" + (f", its agent in `{sweep['best_run']}`." if sweep["best_run"] else "."))
    if sweep["trials"] is not None:
        luck = sweep["deflated_sharpe"]
        st.caption(
            f"{sweep['trials']:,} trials count: points, times seeds, times looks at the score."
            + (
                ""
                if luck is None
                else f" The probability that the true Sharpe ratio of the best is above what the best of so many"
                f" without skill shows: {luck:.1%}."
            )
        )


def _actions(sweep: Mapping[str, Any]) -> None:
    name, body = sweep["sweep"], {"sweep": sweep["sweep"]}
    if sweep["state"] == "running" and st.button("Stop", key=f"stop {name}"):
        _asked("/api/sweeps/stop", body, "It is asked to end; trials that are done stay.")
    if sweep["state"] == "stopped" and not sweep["of_agent"] and st.button("Go on", key=f"resume {name}"):
        _asked("/api/sweeps/resume", body, "It goes on when its turn has come; see *Jobs*.")


def _asked(address: str, body: Mapping[str, Any], said: str) -> None:
    try:
        api().post(address, body)
    except RefusedError as error:
        st.error(str(error))
    else:
        st.success(said)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _start() -> None:
    sections = settings_of("sweep")
    known = {each["name"]: each for section in sections for each in section["settings"]}
    what = choose("What is swept", ["settings of a training", _TRAINED])
    run = None
    if what == _TRAINED:
        models = [model["path"] for model in api().get("/api/models")]
        if not models:
            st.info("No run yet.")
            return
        run = choose("Agent", models)
    numbers = [
        each["name"] for s in sections[1:] for each in s["settings"] if each["kind"] in _KINDS or each["choices"]
    ]
    usual = [name for name in (_COSTS if run else _USUAL) if name in numbers]
    chosen = st.multiselect(
        "Settings to try",
        numbers,
        default=usual,
        max_selections=6,
        key=f"tried {what}",
        format_func=lambda name: name.replace("_", " "),
        help="All combinations of their values are tried, or as many points as *trials* says.",
    )
    values, defaults = ({}, {}) if run else ask_preset_and_data(known)
    with st.form("sweep", border=False):
        over = [f"{name}={text}" for name in chosen if (text := _tried(known[name], defaults))]
        if not run:
            values |= ask([known[name] for name in _OF_TRAINING if name in known], defaults, "sweep")
            values |= ask([known[name] for name in _FIRST], {}, "sweep")
            with st.expander("More"):
                rest = [each for each in sections[0]["settings"] if each["name"] not in (*_FIRST, "over")]
                values |= ask(rest, {}, "sweep")
        is_asked = st.form_submit_button("Start the sweep", type="primary")
    if is_asked:
        if not over:
            st.error("Choose settings, and give values for each.")
            return
        job = start_checked("sweep", "/api/sweeps", {**values, "over": over}, {"run": run} if run else None)
        if job is not None:
            remember_job(job, _PLACE)


def _tried(setting: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    name = setting["name"]
    value = defaults.get(name, setting["default"])
    usual = f"{value / 3:.3g},{value:.3g},{value * 3:.3g}" if isinstance(value, float) and value > 0 else ""
    return st.text_input(
        f"{name.replace('_', ' ')}: values or a range",
        value=usual,
        key=f"values of {name}",
        placeholder="1,2,4 or 1:4 or 1e-4:1e-2:log",
        help=f"{setting['help']} A range needs *trials*.",
    ).strip()
