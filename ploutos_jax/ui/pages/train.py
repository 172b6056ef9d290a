"""Train: a form of the settings' own types, the presets, and the job that they make."""

from typing import Any

import streamlit as st

from ploutos_jax.ui.pages.client import api
from ploutos_jax.ui.pages.form import ask, settings_of, start_checked
from ploutos_jax.ui.pages.shown import choose, remember_job, show_job_of

_PLACE = "train"


def show() -> None:
    """Show the page."""
    st.title("Train")
    described = api().get("/api/settings")
    sections, presets = settings_of(_PLACE), described["presets"]
    known = {each["name"]: each for section in sections for each in section["settings"]}
    names = list(presets)
    preset = choose("Preset", names, help=known["preset"]["help"] + " Its values are the ones below.")
    files = [file["path"] for file in api().get("/api/data")]
    source = choose(
        "Data",
        ["synthetic", *files, "planted"],
        {"synthetic": "30 made stocks", "planted": "made, with a known answer"},
        help=known["data"]["help"],
    )
    defaults: dict[str, Any] = {**presets[preset]}
    first = {each["name"]: each["help"] for each in described["first"]}
    changed = {} if source == defaults.get("data", "synthetic") else {"data": source}
    with st.form("train", border=False):
        wanted = [known[name] for name in first if name not in ("data", "output")]
        changed |= ask(wanted, defaults, f"train {preset}", first)
        if st.session_state.get("all settings"):
            for section in sections:
                rest = [each for each in section["settings"] if each["name"] not in first]
                with st.expander(section["title"]):
                    changed |= ask(rest, defaults, f"train {preset}")
        is_asked = st.form_submit_button("Train", type="primary")
    st.toggle(
        f"All {len(known)} settings", key="all settings", help="Costs, stops, limits, rewards, networks, learners."
    )
    if is_asked:
        values = {"preset": preset, **changed}
        job = start_checked("train", "/api/runs", values)
        if job is not None:
            remember_job(job, _PLACE)
    show_job_of(_PLACE)
