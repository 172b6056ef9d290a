"""Compare: scores and curves of runs side by side, and one page that scores them over the same bars."""

from urllib.parse import quote

import streamlit as st

from ploutos_jax.ui.pages.client import api
from ploutos_jax.ui.pages.form import start_checked
from ploutos_jax.ui.pages.shown import choose, remember_job, scores, show_job_of, show_live, show_report, show_table


def show() -> None:
    """Show the page."""
    st.title("Compare")
    runs = {run["run"]: run for run in api().get("/api/runs")}
    if len(runs) < 2:
        st.info("Two runs are needed.")
        return
    chosen = st.multiselect("Runs", list(runs), default=list(runs)[:2], max_selections=8)
    if not chosen:
        return
    rows = [runs[name] for name in chosen]
    table = zip(chosen, rows, scores(rows), strict=True)
    shown = [{"Run": n, **score, "Preset": run["preset"] or "–", "Data": run["data"] or "–"} for n, run, score in table]
    show_table(shown, {"Run": [f"/watch?run={quote(name)}" for name in chosen]})
    st.caption("Each on the bars held out from its own training.")
    show_live(chosen, curves_alone=True)
    st.subheader("Over the same bars")
    if len(chosen) > 1 and st.button("Write the comparison", type="primary"):
        job = start_checked("evaluate", "/api/models/compare", {}, {"runs": chosen})
        if job is not None:
            remember_job(job, "compare")
    show_job_of("compare")
    pages = [report["page"] for report in api().get("/api/evaluations") if report["compares"]]
    if pages:
        show_report(choose("Comparison", pages))
