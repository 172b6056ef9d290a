"""Compare: scores and curves of runs side by side, and one page that scores them over the same bars."""

import streamlit as st

from ploutos_jax.ui.pages.client import api
from ploutos_jax.ui.pages.form import start_checked
from ploutos_jax.ui.pages.shown import choose, curves, draw, remember_job, scores, show_job_of, show_report

_CURVES = ("held_out_sharpe", "equity", "episode_return_mean", "loss")


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
    st.dataframe(
        [{"Run": name, **score, "Preset": run["preset"], "Data": run["data"]} for name, run, score in table],
        hide_index=True,
    )
    st.caption("Each on the bars held out from its own training.")
    found = api().get("/api/runs/figures", run=chosen)
    there = {name for points in found["runs"].values() for point in points[-20:] for name in point}
    names = [name for name in found["curves"] if name in there]
    wanted = st.multiselect("Figures", names, default=[name for name in _CURVES if name in names])
    columns = st.columns(2)
    for place, name in enumerate(wanted):
        with columns[place % 2]:
            draw(curves(found["runs"], name, name.replace("_", " ")), f"curve {name}")
    st.subheader("Over the same bars")
    if len(chosen) > 1 and st.button("Write the comparison", type="primary"):
        job = start_checked("evaluate", "/api/models/compare", {}, {"runs": chosen})
        if job is not None:
            remember_job(job, "compare")
    show_job_of("compare")
    pages = [report["page"] for report in api().get("/api/evaluations") if report["page"].startswith("reports/")]
    if pages:
        show_report(choose("Comparison", pages))
