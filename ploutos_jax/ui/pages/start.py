"""Start: what can be done here, one click to the quick job, what is going on."""

from urllib.parse import quote

import streamlit as st

from ploutos_jax.ui.pages.client import RefusedError, api
from ploutos_jax.ui.pages.shown import SIGNS, metrics, remember_job, scores, show_job_of, show_table, when

_QUICK = {"preset": "quick"}
_PLACE = "start"


def show() -> None:
    """Show the page."""
    st.title("ploutos")
    st.markdown(
        "Train an agent to trade, watch it learn, and see what it is worth on bars that it never saw. Everything here"
        " is a command as well: each job shows the one that it runs."
    )
    with st.container(border=True):
        st.markdown(
            "**A first run.** 30 made stocks with a small known edge, about two minutes on two cores. *Watch* shows how"
            " it learns, *Evaluate* the report when it has ended."
        )
        if st.button("Start the quick job", type="primary"):
            try:
                remember_job(api().post("/api/runs", {"values": _QUICK}), _PLACE)
            except RefusedError as error:
                st.error(str(error))
    show_job_of(_PLACE)
    _what_there_is()


@st.fragment(run_every=2)
def _what_there_is() -> None:
    runs, machine = api().get("/api/runs"), api().get("/api/machine")
    free = machine["free_memory_mb"]
    metrics(
        ("Runs", f"{len(runs):,}"),
        ("Running", str(sum(run["state"] == "running" for run in runs))),
        ("Cores", str(machine["cores"])),
        ("Free memory", "–" if free is None else f"{free / 1024:.1f} GB"),
    )
    if not runs:
        st.info("No run yet.")
        return
    st.subheader("Runs")
    rows = [
        {
            "Run": run["run"],
            "State": f"{SIGNS[run['state']]} {run['state']}",
            **score,
            "Steps": f"{run['timesteps']:,}",
            "Data": run["data"],
            "Started": when(run["started"]),
        }
        for run, score in zip(runs, scores(runs), strict=True)
    ]
    show_table(rows, {"Run": [f"/watch?run={quote(run['run'])}" for run in runs]})
    st.caption(
        f"Project: {machine['project']}. Folders on the disk are the truth: what a terminal starts appears here."
    )
