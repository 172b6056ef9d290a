"""Train: a form of the settings' own types, the presets, and the job that they make."""

import streamlit as st

from ploutos_jax.ui.pages.client import api
from ploutos_jax.ui.pages.form import ask, ask_preset_and_data, settings_of, start_checked
from ploutos_jax.ui.pages.shown import remember_job, show_job_of

_PLACE = "train"


def show() -> None:
    """Show the page."""
    st.title("Train")
    described = api().get("/api/settings")
    sections = settings_of(_PLACE)
    known = {each["name"]: each for section in sections for each in section["settings"]}
    values, defaults = ask_preset_and_data(known)
    first = {each["name"]: each["help"] for each in described["first"]}
    key = f"train {values['preset']}"
    with st.form("train", border=False):
        wanted = [known[name] for name in first if name not in ("data", "output")]
        values |= ask(wanted, defaults, key, first)
        if st.session_state.get("all settings"):
            for section in sections:
                rest = [each for each in section["settings"] if each["name"] not in first]
                with st.expander(section["title"]):
                    values |= ask(rest, defaults, key)
        is_asked = st.form_submit_button("Train", type="primary")
    st.toggle(
        f"All {len(known)} settings", key="all settings", help="Costs, stops, limits, rewards, networks, learners."
    )
    if is_asked:
        job = start_checked("train", "/api/runs", values)
        if job is not None:
            remember_job(job, _PLACE)
    show_job_of(_PLACE)
