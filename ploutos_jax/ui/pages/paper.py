"""Paper: accounts that trade on bars as they come: equity, positions, orders, guards, and the kill switch."""

from datetime import UTC, datetime
from typing import Any

import streamlit as st

from ploutos_jax.ui.pages.client import RefusedError, api
from ploutos_jax.ui.pages.shown import choose, draw, lines, metrics, remember_job, show_job_of, show_report, when

_PLACE = "paper"
_GUARDS = {
    "max_daily_loss": "largest loss of a day",
    "max_position": "largest position",
    "max_order_cash": "largest order ($)",
    "stale_bars": "bars until data are stale",
    "kill_file": "kill file",
    "flatten": "sells all when stopped",
}
_START = "ploutos paper checkpoints/run-1 --source ccxt:binance --tickers BTC/USDT --interval 1h --journal btc.journal"


def show() -> None:
    """Show the page."""
    st.title("Paper")
    accounts = api().get("/api/papers")
    if not accounts:
        st.info("No paper account yet. A command begins one, with a journal in this folder or in `paper/`:")
        st.code(_START, language="bash", wrap_lines=True)
        return
    names = {each["journal"]: f"{each['journal']}  ({_state(each)})" for each in accounts}
    journal = choose("Account", list(names), names)
    found = next(each for each in accounts if each["journal"] == journal)
    if found["complaint"]:
        st.error(found["complaint"])
        return
    _account(journal)
    _against_backtest(journal)
    st.caption("Nothing here is investment advice; fills are simulated unless a broker is named.")


def _state(account: dict[str, Any]) -> str:
    if account["complaint"]:
        return "cannot be read"
    return "trading" if account["process"] else "stopped by the kill switch" if account["was_killed"] else "stopped"


@st.fragment(run_every=3)
def _account(journal: str) -> None:
    try:
        account = api().get("/api/papers/one", journal=journal)
    except RefusedError as error:
        st.error(str(error))
        return
    points = account["equity"]
    equity = points[-1][1] if points else None
    begun = points[0][1] if points else None
    last = None if account["last"] is None else datetime.fromtimestamp(account["last"], UTC)
    day = "–" if last is None else f"{last:%Y-%m-%d}" if not last.hour + last.minute else f"{last:%m-%d %H:%M}"
    metrics(
        ("Equity", "–" if equity is None else f"${equity:,.0f}", _gain(equity, begun)),
        ("Cash", f"${points[-1][2]:,.0f}" if points else "–"),
        ("Bars", f"{account['bars']:,}"),
        ("Last bar (UTC)", day),
    )
    st.caption(f"{_state(account)} – {account['source']}, {', '.join(account['symbols'][:12])}")
    if len(points) > 1:
        draw(lines({"equity": [point[:2] for point in points]}, "Equity ($)"), f"equity {journal}")
    _kill_switch(journal, account)
    st.subheader("Positions")
    _table(account["positions"], "Nothing is held.")
    st.subheader("Orders")
    _table(account["orders"], "No order yet.")
    if account["broker_orders"]:
        st.subheader("Orders at the broker")
        _table(account["broker_orders"], "")
    st.subheader("Guards")
    guards = account["facts"]["guards"] or {}
    on = {words: guards.get(name) for name, words in _GUARDS.items() if guards.get(name) not in (None, False)}
    st.markdown("  \n".join(f"{words}: **{_plain(value)}**" for words, value in on.items()) or "None is on.")
    events = [{**row, "moment": when(row["moment"])} for row in account["events"]]
    _table(events, "No guard has tripped, nothing has drifted.")


def _gain(equity: float | None, begun: float | None) -> str | None:
    return None if not equity or not begun else f"{equity / begun - 1:+.2%}"


def _plain(value: Any) -> str:
    return "yes" if value is True else f"{value:g}" if isinstance(value, float) else str(value)


def _table(rows: list[dict[str, Any]], none: str) -> None:
    if not rows:
        st.caption(none)
        return
    named = [{name.replace("_", " ").capitalize(): value for name, value in row.items()} for row in rows]
    number = st.column_config.NumberColumn
    looks = {"Value": number(format="$%,.2f"), "Shares": number(format="%,.4f"), "Filled": number(format="%,.4f")}
    looks |= {name: number(format="%,.4f") for name in ("Price", "Entry", "Close")}
    st.dataframe(named, hide_index=True, height=min(38 + 35 * len(rows), 320), column_config=looks)


def _kill_switch(journal: str, account: dict[str, Any]) -> None:
    if not account["process"]:
        return
    with st.popover("Kill switch"):
        flatten = (account["facts"]["guards"] or {}).get("flatten")
        st.markdown(
            "Cancels the last decision and ends the process"
            + (", which first sells all positions in the next bar." if flatten else "; positions stay.")
        )
        if st.button("Stop this account", type="primary", key=f"kill {journal}"):
            try:
                api().post("/api/papers/kill", {"journal": journal})
            except RefusedError as error:
                st.error(str(error))
            else:
                st.success("The kill switch is thrown.")


def _against_backtest(journal: str) -> None:
    st.subheader("Against the backtest")
    account = api().get("/api/papers/one", journal=journal)
    runs = [run["run"] for run in api().get("/api/runs")]
    known = account["facts"]["checkpoint"]
    if runs:
        ordered = sorted(runs, key=lambda run: run != known)
        run = choose("Run of the agent", ordered)
        if st.button("Write the report", type="primary", disabled=account["bars"] < 2):
            try:
                remember_job(api().post("/api/papers/report", {"journal": journal, "run": run}), _PLACE)
            except RefusedError as error:
                st.error(str(error))
    else:
        st.info("A report needs the run of the agent, below checkpoints/.")
    show_job_of(_PLACE)
    if account["reports"]:
        apart = api().get("/api/papers/backtest", journal=journal)["apart"]
        equity = dict(map(tuple, (point[:2] for point in account["equity"])))
        beside = [(time, equity[time] - less) for time, less in apart if time in equity]
        both = {"paper": [(time, equity[time]) for time, _ in beside], "backtest": beside}
        draw(lines(both, "Equity ($), paper and the backtest of its bars"), f"both {journal}")
        draw(lines({"difference": apart}, "Paper less backtest ($)"), f"apart {journal}")
        show_report(f"{account['reports'][0]}/report.html")
