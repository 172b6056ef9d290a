"""Paper accounts in the control room: what their journals hold, the kill switch, the report."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("streamlit", reason="the control room needs the extra `ui`")
from streamlit.testing.v1 import AppTest

from ploutos_jax.live.journal import Journal
from ploutos_jax.live.replay import Replay
from ploutos_jax.live.report import write_paper_report
from ploutos_jax.live.trader import Trader
from ploutos_jax.ui.paper_accounts import read_account, writer_of
from tests.evaluate.backtest.worlds import make_eventful_panel
from tests.live.paper import FIRST, FORMS, agent_of
from tests.ui.test_pages_of_the_front_end import SECONDS, paused, show_page, stop_all


@pytest.fixture(scope="module")
def traded(tmp_path_factory):
    """A journal of an account with splits and dividends, its agent, and what it held at the end."""
    folder = tmp_path_factory.mktemp("paper")
    panel = make_eventful_panel()
    agent, held = agent_of(panel, FORMS["weights"]), []

    def keep(trader):
        held.append(np.asarray(trader._account.state.shares))
        return False

    with Journal(folder / "btc.journal") as journal:
        trader = Trader(agent, Replay(panel, FIRST, 70), journal)
        trader.run(should_stop=lambda: keep(trader))
    return folder / "btc.journal", agent, held[-1]


@pytest.fixture
def journal(project, traded):
    for file in traded[0].parent.glob("btc.journal*"):
        shutil.copy(file, project.root)
    return project.root / "btc.journal"


def test_an_account_is_what_its_journal_says(project, client, journal, traded):
    (project.root / "paper").mkdir()
    (project.root / "paper" / "other.journal").write_text("no database")
    found = {each["journal"]: each for each in client.get("/api/papers").json()}
    assert set(found) == {"btc.journal", "paper/other.journal"}
    assert "no journal that this version reads" in found["paper/other.journal"]["complaint"]
    account = client.get("/api/papers/one", params={"journal": "btc.journal"}).json()
    with Journal(journal, read_only=True) as read:
        accounts, orders = read.accounts(), read.orders()
    assert [point[1:] for point in account["equity"]] == accounts[["equity", "cash"]].to_numpy().tolist()
    assert account["bars"] == len(accounts) and account["process"] is None
    held = {row["ticker"]: row for row in account["positions"]}
    np.testing.assert_allclose([held.get(name, {"shares": 0})["shares"] for name in "ABC"], traded[2], rtol=1e-5)
    worth = accounts["equity"].iloc[-1] - accounts["cash"].iloc[-1]
    assert sum(row["value"] for row in held.values()) == pytest.approx(worth, rel=1e-4) and len(held) > 0
    assert all(0.3 < row["entry"] / row["close"] < 3 for row in held.values())
    assert account["orders"][0]["bar"] == orders["bar"].iloc[-1] and len(account["orders"]) == min(len(orders), 200)


@pytest.mark.parametrize("name", ["../btc.journal", "/etc/passwd", "data/bars.csv", "none.journal"])
def test_no_other_file_is_opened(client, journal, name):
    (journal.parent.parent / "btc.journal").write_bytes(journal.read_bytes())
    assert client.get("/api/papers/one", params={"journal": name}).status_code == 404
    for path, more in (("kill", {}), ("report", {"run": "checkpoints/run-1"})):
        assert client.post(f"/api/papers/{path}", json={"journal": name, **more}).status_code == 404


TRADING = """
import signal, sys, time
from ploutos_jax.live.journal import Journal
stopped = []
signal.signal(signal.SIGUSR1, lambda *_: stopped.append(1))
with Journal(sys.argv[1]):
    print("trading", flush=True)
    while not stopped:
        time.sleep(0.02)
print("stopped", flush=True)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not tell who holds a lock")
def test_the_kill_switch_reaches_the_process_that_trades(client, journal):
    assert client.post("/api/papers/kill", json={"journal": "btc.journal"}).status_code == 409
    command = [sys.executable, "-W", "ignore", "-c", TRADING, str(journal)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "trading\n"
        assert writer_of(journal) == child.pid
        assert client.get("/api/papers").json()[0]["process"] == child.pid
        answer = client.post("/api/papers/kill", json={"journal": "btc.journal"})
        assert answer.status_code == 202 and answer.json()["process"] == child.pid
        assert child.stdout.readline() == "stopped\n" and child.wait(10) == 0
    assert writer_of(journal) is None
    Journal(journal).close()  # nobody was kept from it


def show(client):
    test = AppTest.from_function(show_page, default_timeout=SECONDS)
    test.secrets["api"] = {"address": str(client.base_url), "key": "none is asked for"}
    test.secrets["page"] = "paper"
    test.run()
    assert not test.exception, test.exception
    return test


@pytest.mark.thorough
def test_the_page_shows_an_account_and_writes_its_report(project, client, journal, traded):
    paused(client)
    shown = show(client)
    with Journal(journal, read_only=True) as read:
        equity = read.accounts()["equity"].iloc[-1]
        assert shown.metric[0].value == f"${equity:,.0f}" and shown.metric[2].value == "40"
        shown.button[0].click().run()
        [job] = client.get("/api/jobs").json()
        assert job["command"].startswith("ploutos paper checkpoints/run-")
        assert job["command"].endswith("--journal=btc.journal --report=reports/paper-btc-1")
        stop_all(client)
        compared = write_paper_report(project.root / "reports" / "paper-btc-1", read, traded[1])
    apart = client.get("/api/papers/backtest", params={"journal": "btc.journal"}).json()["apart"]
    assert [row[1] for row in apart] == compared.bars["equity_backtest"].tolist()
    again = show(client)
    assert not again.exception and len(again.get("plotly_chart")) == 3


def test_without_an_account_the_page_says_how_one_begins(client):
    shown = show(client)
    assert "ploutos paper checkpoints/run-1 --source" in shown.code[0].value


def test_a_file_that_is_no_journal_is_told(project, client):
    (project.root / "x.journal").write_text("no database")
    assert "no journal that this version reads" in show(client).error[0].value
    with pytest.raises(ValueError, match="no journal that this version reads"):
        read_account(project, project.root / "x.journal")
