"""Data: files of bars, what they cover, and how to get more of them."""

from contextlib import suppress
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from ploutos_jax.ui.pages.client import RefusedError, api
from ploutos_jax.ui.pages.form import ask, settings_of, start_checked
from ploutos_jax.ui.pages.shown import choose, draw, moment, remember_job, show_job_of, size, when

_PLACE = "download"


def show() -> None:
    """Show the page."""
    st.title("Data")
    files = api().get("/api/data")
    if files:
        wide, narrow = st.column_config.Column(width="medium"), st.column_config.Column(width=80)
        widths = {"File": wide, "Span": wide, "Tickers": narrow, "Bars": narrow, "Size": narrow}
        st.dataframe([_row(file) for file in files], hide_index=True, column_config=widths)
        path = choose("Coverage and quality of", [file["path"] for file in files])
        if st.button("Read this file"):
            st.session_state["read file"] = path
            with st.spinner("Reading it as training would …"), suppress(RefusedError):  # told below
                api().get("/api/data/facts", path=path)
            st.rerun()  # the table above knows it now
        if st.session_state.get("read file") == path:
            _show_facts(path)
    else:
        st.info("No file in data/ yet. Runs need none: `synthetic` makes its bars.")
    upload, download = st.tabs(["Take in a file", "Download"])
    with upload:
        _take_in()
    with download:
        _download()


def _row(file: dict[str, Any]) -> dict[str, Any]:
    facts = file["facts"] or {}
    span = f"{facts['first'][:10]} to {facts['last'][:10]}" if facts else "not read yet"
    return {
        "File": file["path"],
        "Span": span,
        "Tickers": f"{facts['num_assets']:,}" if facts else "",
        "Bars": f"{facts['num_bars']:,}" if facts else "",
        "Size": size(file["bytes"]),
        "Changed": when(file["changed"]),
    }


def _show_facts(path: str) -> None:
    try:
        with st.spinner("Reading it as training would …"):
            facts = api().get("/api/data/facts", path=path)
    except RefusedError as error:
        st.error(str(error))
        return
    st.markdown(
        f"**{facts['num_assets']} tickers, {facts['num_bars']:,} bars**, {facts['bars']}, {moment(facts['first'])}"
        f" to {moment(facts['last'])}."
    )
    for note in facts["notes"]:
        st.caption(note)
    times, counts = [row[0] for row in facts["trading"]], [row[1] for row in facts["trading"]]
    chart = go.Figure(go.Scatter(x=times, y=counts, mode="lines", line={"shape": "hv"}))
    chart.update_layout(title="Tickers that trade", height=260, margin={"l": 10, "r": 10, "t": 45, "b": 10})
    chart.update_yaxes(rangemode="tozero")
    draw(chart, "trading")
    rows = sorted(facts["tickers"], key=lambda ticker: ticker["coverage"])
    names = {"ticker": "Ticker", "first": "First", "last": "Last", "num_bars": "Bars", "coverage": "Coverage"}
    rows = [{**row, "first": moment(row["first"]), "last": moment(row["last"])} for row in rows]
    table = [{words: row[name] for name, words in names.items()} for row in rows]
    st.dataframe(
        table,
        hide_index=True,
        column_config={"Coverage": st.column_config.NumberColumn(format="percent", help="of the bars of its span")},
    )


def _take_in() -> None:
    st.markdown(
        "CSV, Parquet or Feather. A file is kept in `data/` if `load_panel` reads it; else you are told why not."
    )
    sent = st.file_uploader("A file of bars", type=["csv", "parquet", "feather", "gz"])
    if sent is not None and st.button("Take it in"):
        try:
            with st.spinner("Reading it …"):
                taken = api().put(f"/api/data/files/{sent.name}", sent.getvalue())
        except RefusedError as error:
            st.error(str(error))
            return
        facts = taken["facts"]
        st.success(f"{taken['path']}: {facts['num_assets']} tickers, {facts['num_bars']:,} bars.")


def _download() -> None:
    with st.form("download", border=False):
        [section] = settings_of("download")
        shown = ("tickers", "period", "interval")
        values = ask([each for each in section["settings"] if each["name"] in shown], {}, "download")
        name = st.text_input("file in data/", value="bars.parquet")
        is_asked = st.form_submit_button("Download", type="primary")
    if is_asked:
        if not values.get("tickers"):
            st.error("Name tickers, such as AAPL,MSFT, or SP500.")
            return
        job = start_checked("download", "/api/data/download", {**values, "output": f"data/{name.strip()}"})
        if job is not None:
            remember_job(job, _PLACE)
    show_job_of(_PLACE)
