"""A paper trader at Alpaca killed at random moments: no bar and no order is lost or repeated, at either broker."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress

import numpy as np
import pytest

from ploutos_jax.live.bars import labels_from
from ploutos_jax.live.journal import Journal
from ploutos_jax.live.ledger import compare
from ploutos_jax.live.reconcile import reconcile
from ploutos_jax.live.routing import broker_orders
from tests.live.alpaca_server import KEY, SECRET, TICKERS, Alpaca, serve
from tests.live.test_alpaca import ROOT, SYMBOLS, agent_for, known_fills, stream_of

SPEED = 60 / 0.25
FIRST = 100
TRADER = """
import os, sys, time, urllib.request
from ploutos_jax.live.alpaca_broker import AlpacaPaper
from ploutos_jax.live.alpaca_feed import AlpacaFeed
from ploutos_jax.live.guards import Guards
from ploutos_jax.live.journal import Journal
from ploutos_jax.live.routing import Router
from ploutos_jax.live.stream import Stream
from ploutos_jax.live.trader import Trader
from tests.live.test_alpaca import SYMBOLS, agent_for
from tests.live.alpaca_server import Alpaca

path, rest, socket, num_bars = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])

def clock():  # the machine's own runs as fast as the exchange's
    with urllib.request.urlopen(rest + "/tests/clock") as answer:
        return float(answer.read()) / 1000

where = {"base_url": rest, "socket_url": socket}
feed = AlpacaFeed(SYMBOLS, "1m", **where, clock=clock, reconnect_seconds=0.02)
stream = Stream(feed, feed.labels(SYMBOLS), sleep=lambda seconds: time.sleep(seconds / 50))
with Journal(path) as journal:
    router = Router(AlpacaPaper(SYMBOLS, rest), journal, SYMBOLS)
    trader = Trader(agent_for(stream, Alpaca()), stream, journal, guards=Guards(stale_bars=None), router=router)
    trader.run(should_stop=lambda: trader._number >= num_bars)
os._exit(0)  # a stream takes seconds to close
"""


def newest(path, what="max(bar) FROM accounts"):
    """The newest bar of an account, or another number of its journal; -1 without one."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as db:
        found = db.execute(f"SELECT {what}").fetchone()[0]
        return -1 if found is None else found
    return -1


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("APCA_API_KEY_ID", KEY)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)


@pytest.mark.parametrize(
    ("kills", "num_bars"),
    [pytest.param(2, 25, marks=pytest.mark.thorough), pytest.param(25, 200, marks=pytest.mark.slow)],
)
def test_a_trader_killed_in_mid_run_goes_on(tmp_path, keys, kills, num_bars):
    path, rng = tmp_path / "j", random.Random(7)
    alpaca, over = Alpaca(now=FIRST, speed=SPEED), threading.Event()
    alpaca.furthest = FIRST + 3
    done = 0

    def let_time_pass():
        """The exchange's clock waits for a trader that lags behind, and goes on while none is there."""
        while not over.wait(0.02):
            time_of = newest(path, "max(time) FROM moments")
            if time_of > 0:
                alpaca.furthest = max(alpaca.furthest, alpaca.index(time_of // 1_000_000) + 7)

    with serve(alpaca) as urls:
        teller = threading.Thread(target=let_time_pass)
        teller.start()
        command = [sys.executable, "-W", "ignore", "-c", TRADER, str(path), *urls, str(num_bars)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        try:
            while True:
                known = newest(path)
                child = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
                kill = done < kills and known < num_bars - 5
                # At some moment of the bars that follow, the first one on a new account included.
                bars, part = rng.randrange(0, 4), rng.uniform(0, 0.5)
                while kill and child.poll() is None and newest(path) < known + bars:
                    time.sleep(0.002)
                if kill:
                    time.sleep(part)
                    child.send_signal(signal.SIGKILL)
                _, said = child.communicate(timeout=600)
                assert child.returncode in ((0, -signal.SIGKILL) if kill else (0,)), said.decode()
                done += child.returncode == -signal.SIGKILL
                if not kill:
                    break
        finally:
            over.set()
            teller.join()
        with Journal(path) as journal:
            stream = stream_of(alpaca, urls)
            agent, sent = agent_for(stream, alpaca), broker_orders(journal)
            compared = compare(journal, agent, labels_from(journal.facts()["labels"]))
            numbers = [
                alpaca.index(int(bar.time.astype("datetime64[ms]").astype(int)))
                for _, bar, _ in journal.bars(SYMBOLS, 0)
            ]
            found = reconcile(journal, SYMBOLS)
    print(json.dumps({"kills": done, "bars": len(numbers), "orders": len(sent), "fills": len(compared.paper.fills)}))
    assert done >= kills and len(numbers) >= num_bars
    # Each bar once, in order, none left out; the simulated account is that of the bars played from a file.
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert compared.fills_differ == 0 and len(compared.paper.fills) > 5
    assert (compared.bars[["equity_replay", "equity_backtest"]] == 0).all(axis=None)
    # The broker was never sent an order that it had, has none that the journal does not know, and fills agree.
    assert alpaca.again == [] and set(known_fills(alpaca)) <= set(sent["client_id"])
    closed = sent[sent["is_open"] == 0].set_index("client_id")
    assert closed["filled"].to_dict() == {name: known_fills(alpaca).get(name, 0.0) for name in closed.index}
    unknown = sent[~sent["client_id"].isin(list(known_fills(alpaca)))]
    assert set(unknown["status"]) <= {"late", "unsent", "trying", "refused"}
    open_now = {name for name in sent[sent["is_open"] == 1]["client_id"]}
    mine = found.held[:, 0].copy()
    for order in alpaca.orders.values():  # of the last bar, which nobody has asked after yet
        if order["client_order_id"] in open_now:
            row = sent.set_index("client_id").loc[order["client_order_id"]]
            sign = 1 if order["side"] == "buy" else -1
            mine[SYMBOLS.index(order["symbol"])] += sign * (float(order["filled_qty"]) - row["filled"])
    np.testing.assert_allclose(mine, [alpaca.held(ticker) for ticker in TICKERS], rtol=1e-9, atol=1e-9)
