"""What several pages show: a job under way, a table of runs, charts, pages of this server."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import quote, urlencode

import plotly.graph_objects as go
import streamlit as st

from ploutos_jax.ui.pages.client import RefusedError, api

SIGNS = {"running": "▶", "waiting": "…", "finished": "✓", "done": "✓", "stopped": "■", "failed": "✗", "lost": "?"}
FOR_PEOPLE = {
    "sharpe": "Sharpe",
    "total_return": "Total return",
    "annual_return": "Return / year",
    "max_drawdown": "Max drawdown",
    "turnover": "Turnover / year",
    "num_trades": "Trades",
    "total_cost": "Cost ($)",
}
_SHARES = frozenset({"total_return", "annual_return", "max_drawdown"})
_COUNTS = frozenset({"num_trades"})
_LAST_LINES = 12
_MARGIN = {"l": 10, "r": 10, "t": 50, "b": 10}
_REPORT_HEIGHT, _LIVE_HEIGHT, _CURVES_HEIGHT = 1600, 1500, 760


def when(seconds: float) -> str:
    """Return a moment as this machine's clock shows it."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def size(num_bytes: int) -> str:
    """Return a size in MB, of small files in KB."""
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:,.1f} KB"


def moment(text: str) -> str:
    """Return a moment of a bar as people write it: a day without hours where it begins at midnight."""
    return text.removesuffix("T00:00").replace("T", " ")


def choose(label: str, options: Sequence[str], names: Mapping[str, str] | None = None, help: str | None = None) -> str:
    """Return which of some options a person chooses, the first without a choice.

    Args:
        label: what is chosen.
        options: at least one.
        names: what options are called, where not by themselves.
        help: more about it.
    """
    called = names or {}
    chosen = st.selectbox(label, options, help=help, format_func=lambda one: called.get(str(one), str(one)))
    return options[0] if chosen is None else chosen


def figure(name: str, value: Any) -> str:
    """Return a figure of a score as people read it."""
    if not isinstance(value, int | float):
        return "–"
    if name in _SHARES:
        return f"{value:+.1%}"
    return f"{value:,.0f}" if name in _COUNTS or abs(value) >= 100 else f"{value:.2f}"


def metrics(*figures: tuple[str, str] | tuple[str, str, str | None]) -> None:
    """Show figures in a row, which is broken where a screen is narrow: label, value, and what it gained."""
    row = st.container(horizontal=True, gap="medium")
    for label, value, *gain in figures:
        row.metric(label, value, *gain, width="content")


def scores(rows: Sequence[Mapping[str, Any]], key: str = "score") -> list[dict[str, str]]:
    """Return the figures of scores, one row each."""
    return [{words: figure(name, (row.get(key) or {}).get(name)) for name, words in FOR_PEOPLE.items()} for row in rows]


def remember_job(job: Mapping[str, Any], place: str) -> None:
    """Have a job shown on a page from now on."""
    st.session_state[f"job of {place}"] = job["id"]


def show_job_of(place: str) -> None:
    """Show the job that was last asked for on a page, if there is one."""
    name = st.session_state.get(f"job of {place}")
    if name is not None:
        show_job(name)


@st.fragment(run_every=2)
def show_job(name: str) -> None:
    """Show a job: its command, its state, the end of what it printed, and a way to stop it."""
    try:
        job, log = api().get(f"/api/jobs/{name}"), api().get(f"/api/jobs/{name}/log")
    except RefusedError as error:
        st.error(str(error))
        return
    with st.container(border=True):
        reason = f": {job['reason']}" if job["reason"] else ""
        code = f", exit code {job['code']}" if job["code"] else ""
        st.markdown(f"{SIGNS.get(job['state'], '')} **{job['state']}**{reason}{code} – {job['about'] or 'job'}")
        st.code(job["command"], language="bash", wrap_lines=True)
        lines = [line for line in log.splitlines() if line.strip()]
        if lines:
            st.code("\n".join(lines[-_LAST_LINES:]), language=None)
        if len(lines) > _LAST_LINES:
            st.markdown(f'<a href="/api/jobs/{name}/log" target="_blank">All that it said</a>', unsafe_allow_html=True)
        if job["state"] in ("running", "waiting") and st.button("Stop", key=f"stop {name}"):
            api().post(f"/api/jobs/{name}/stop", {})
            st.rerun(scope="fragment")


def lines(curves: Mapping[str, Sequence[Sequence[float]]], title: str) -> go.Figure:
    """Return a chart of curves over time.

    Args:
        curves: points of seconds since 1970 and a value, by name.
        title: of the chart.
    """
    chart = go.Figure()
    for name, points in curves.items():
        times = [datetime.fromtimestamp(point[0], UTC).replace(tzinfo=None) for point in points]
        chart.add_trace(go.Scatter(x=times, y=[point[1] for point in points], name=name, mode="lines"))
    room = {"t": 80} if len(curves) > 1 else {}
    chart.update_layout(title=title, height=300, margin={**_MARGIN, **room}, hovermode="x unified")
    chart.update_layout(showlegend=len(curves) > 1, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
    return chart


def draw(chart: go.Figure, key: str) -> None:
    """Show a chart in the colours of the page."""
    st.plotly_chart(chart, key=key, config={"displaylogo": False, "displayModeBar": False})


def show_table(rows: Sequence[Mapping[str, Any]], links: Mapping[str, Sequence[str]] | None = None) -> None:
    """Show a table as plain text, which is there at once: Streamlit's own waits for a megabyte of scripts.

    Args:
        rows: cells by column, the same columns in each.
        links: by column where each cell leads, an address of this server or nothing.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = []
    for place, row in enumerate(rows):
        cells = []
        for name, value in row.items():
            said, to = escape(str(value)), (links or {}).get(name, ())[place : place + 1]
            cells.append(
                f'<td><a href="{escape(to[0])}" target="_self">{said}</a></td>' if any(to) else f"<td>{said}</td>"
            )
        body.append(f"<tr>{''.join(cells)}</tr>")
    st.html(f'<div class="plain"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>')


def show_picture(address: str, text: str) -> None:
    """Show a picture of this server, to be scrolled on a narrow screen.

    Args:
        address: of the picture.
        text: what is on it.
    """
    look = "width:100%;min-width:36rem;border-radius:.5rem"
    picture = f'<img src="{address}" alt="{text}" style="{look}">'
    st.markdown(f'<div style="overflow-x:auto">{picture}</div>', unsafe_allow_html=True)


def show_report(page: str) -> None:
    """Embed the page of a report."""
    address = f"/api/reports/page?path={quote(page)}"
    st.markdown(f'<a href="{address}" target="_blank">Open the report in a tab of its own</a>', unsafe_allow_html=True)
    st.iframe(address, height=_REPORT_HEIGHT)


def show_live(runs: Sequence[str], *, curves_alone: bool = False) -> None:
    """Embed the live curves of runs; without any, of those that run.

    Args:
        runs: by name.
        curves_alone: without the list of runs, their progress and logs.
    """
    asked = {"run": list(runs), "theme": st.context.theme.type or "light"} | (
        {"view": "curves"} if curves_alone else {}
    )
    st.iframe(f"/live?{urlencode(asked, doseq=True)}", height=_CURVES_HEIGHT if curves_alone else _LIVE_HEIGHT)
