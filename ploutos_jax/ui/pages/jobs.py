"""Jobs: what runs, what waits and for what, what each printed."""

import streamlit as st

from ploutos_jax.ui.pages.client import api
from ploutos_jax.ui.pages.shown import SIGNS, choose, show_job, show_table, when

_SHOWN = 50


def show() -> None:
    """Show the page."""
    st.title("Jobs")
    is_paused = api().get("/api/machine")["is_queue_paused"]
    wanted = st.toggle("Let no job begin", value=is_paused, help="Jobs that run go on; those that wait stay so.")
    if wanted != is_paused:
        api().post("/api/queue", {"paused": wanted})
    _list()
    jobs = api().get("/api/jobs")[:_SHOWN]
    if jobs:
        names = {job["id"]: f"{when(job['asked'])}  {job['about'] or job['command'][:60]}" for job in jobs}
        show_job(choose("Job", list(names), names))


@st.fragment(run_every=2)
def _list() -> None:
    jobs = api().get("/api/jobs")[:_SHOWN]
    if not jobs:
        st.info("No job yet.")
        return
    rows = [
        {
            "State": f"{SIGNS[job['state']]} {job['state']}",
            "About": job["about"],
            "Asked": when(job["asked"]),
            "Waits for": job["reason"] or "",
            "Command": job["command"],
        }
        for job in jobs
    ]
    show_table(rows)
