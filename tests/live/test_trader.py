"""Paper trading is the backtest, one bar at a time: the same features, fills and account, killed or not."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.evaluate.backtest.run import backtest
from ploutos_jax.live.bars import ClosedBar, labels_from, plain_labels
from ploutos_jax.live.journal import Journal, strip
from ploutos_jax.live.ledger import compare
from ploutos_jax.live.replay import Replay
from ploutos_jax.live.trader import Trader
from ploutos_jax.live.window import Adjustment, BarWindow, window_bars
from ploutos_jax.market.adjust import total_return
from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.experts.table import EXPERTS, PREFIX
from ploutos_jax.market.features.build import build_market
from ploutos_jax.policy.actor_critic import PolicyConfig
from tests.agents.test_remembering import remembering
from tests.evaluate.backtest.worlds import make_agent, make_eventful_panel, make_panel
from tests.live.paper import FIRST, FORMS, account_equal, agent_of, play
from tests.marks import thorough_but

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"


@pytest.mark.parametrize("form", thorough_but(["discrete"], FORMS))
def test_an_account_is_that_of_a_backtest(tmp_path, form):
    panel = make_panel()
    agent = agent_of(panel, FORMS[form])
    play(tmp_path / "j", panel, agent=agent)
    with Journal(tmp_path / "j", read_only=True) as journal:
        compared = compare(journal, agent, labels_from(journal.facts()["labels"]))
    assert len(compared.paper.fills) > 5 and compared.fills_differ == 0 and compared.flips == []
    assert (compared.bars[["equity_replay", "cash_replay"]] == 0).all(axis=None)
    whole = backtest(agent, build_market(panel, "minimal"), FIRST)
    np.testing.assert_allclose(compared.paper.equity, whole.equity, rtol=1e-6)
    if agent.env_config.is_choice:
        assert (compared.paper.equity == whole.equity).all() and (compared.paper.cash == whole.cash).all()
        assert compared.paper.fills.drop(columns="date").equals(whole.fills.drop(columns="date"))


@pytest.mark.thorough
def test_splits_dividends_gaps_and_an_asset_that_ends(tmp_path):
    panel = make_eventful_panel()
    agent = agent_of(panel)
    followed = play(tmp_path / "j", panel, agent=agent)
    features = np.asarray(build_market(panel, "minimal").features)
    for one in followed:
        np.testing.assert_array_equal(one.market.features[1], features[FIRST + one.number])
    with Journal(tmp_path / "j", read_only=True) as journal:
        compared = compare(journal, agent, labels_from(journal.facts()["labels"]))
    assert compared.fills_differ == 0 and (compared.bars["equity_backtest"] == 0).all()


@pytest.mark.thorough
def test_a_network_that_remembers_has_the_memory_of_a_backtest(tmp_path):
    panel = make_panel()
    agent = remembering(build_market(panel, "minimal"))
    followed = play(tmp_path / "j", panel, agent=agent)
    with Journal(tmp_path / "j", read_only=True) as journal:
        compared = compare(journal, agent, labels_from(journal.facts()["labels"]))
        wanted = np.stack(list(journal.decisions()["wanted"]))
    assert len(followed) == panel.num_bars - FIRST and len(np.unique(wanted)) > 1
    assert compared.fills_differ == 0 and all(abs(flip.margin) < 1e-4 for flip in compared.flips)


@pytest.mark.thorough
def test_features_of_many_bars_are_those_of_the_whole_history():
    """More bars than a window holds twice, all features, prices adjusted all along."""
    panel = make_panel(seed=5, num_bars=1400, num_assets=2)
    rng = np.random.default_rng(6)
    split = np.where(rng.random(panel.close.shape) < 0.002, 2.0, 1.0)
    shares = np.cumprod(split, axis=0)
    prices = {name: getattr(panel, name) / shares for name in ("open", "high", "low", "close")}
    dividend = np.where(rng.random(split.shape) < 0.01, 0.01 * prices["close"], 0.0)
    panel = panel.replace(**prices, split=split, dividend=dividend)
    whole = build_market(panel, "standard")
    labels = dataclasses.replace(panel.labels, calendar=panel.calendar, instruments=panel.instruments)
    window, adjusted = BarWindow(labels, whole.feature_names), total_return(panel)
    for row in range(panel.num_bars):
        window.add(ClosedBar.of(panel, row))
        if row in (0, 1, 300, 511, 512, 800, 1023, 1024, 1100, 1399):
            market = window.market()
            np.testing.assert_allclose(market.features[1], whole.features[row], rtol=0, atol=1e-6)
            for name in ("close", "volume", "atr", "volatility", "adv", "tradable"):
                np.testing.assert_array_equal(getattr(market, name)[1], getattr(whole, name)[row], err_msg=name)
    factor = window.adjustment.shares * window.adjustment.growth
    np.testing.assert_array_equal(panel.close[-1] * factor, adjusted.close[-1])
    assert window.size == 512 and np.asarray(window.market().features).shape[0] == 3


def test_a_window_holds_two_sessions_before_the_present_one():
    assert window_bars(Calendar()) == 512
    assert window_bars(Calendar(bars_per_session=390)) == 1280 and window_bars(Calendar(bars_per_session=24)) == 512


def test_an_asset_without_bars_for_longer_than_the_window_keeps_its_price():
    panel = make_panel(seed=1, num_bars=700, num_assets=2)
    gone = {name: np.array(getattr(panel, name)) for name in ("open", "high", "low", "close")}
    for values in gone.values():
        values[100:, 1] = np.nan
    volume, tradable = np.array(panel.volume), np.array(panel.tradable)
    volume[100:, 1], tradable[100:, 1] = 0, False
    panel = panel.replace(**gone, volume=volume, tradable=tradable)
    window = BarWindow(dataclasses.replace(panel.labels, calendar=panel.calendar), ("log_return_1",))
    for row in range(700):
        window.add(ClosedBar.of(panel, row))
    np.testing.assert_allclose(window.market().close[1:, 1], panel.close[99, 1], rtol=1e-6)


def test_experts_of_intraday_bars_are_refused():
    labels = dataclasses.replace(make_panel().labels, calendar=Calendar(252 * 390, 390, 252))
    with pytest.raises(ValueError, match="expert_momentum, weights of a strategy that looks back for a year"):
        BarWindow(labels, ("expert_momentum", "known"))


@pytest.mark.thorough
@pytest.mark.parametrize("calendar", [Calendar(), Calendar(365.25, 1, 365.25)], ids=["stocks", "coins"])
def test_experts_of_many_bars_decide_on_the_days_of_the_whole_history(calendar):
    """Daily bars of more than a window, with gaps, a dividend and an asset that comes late; taken up twice."""
    panel = make_panel(seed=8, num_bars=1500, num_assets=4)
    rng, dividend = np.random.default_rng(9), np.zeros(panel.close.shape)
    dividend[700, 1] = 1.0
    missing = rng.random(panel.close.shape) < 0.02
    missing[:400, 3] = True
    prices = {name: np.where(missing, np.nan, getattr(panel, name)) for name in ("open", "high", "low", "close")}
    volume = np.where(missing, 0.0, panel.volume)
    panel = panel.replace(**prices, volume=volume, tradable=~missing, dividend=dividend)
    labels = dataclasses.replace(panel.labels, calendar=calendar, instruments=panel.instruments)
    panel = panel.replace(labels=labels)
    names = [PREFIX + name for name in EXPERTS]
    whole = build_market(panel, [*names, "log_return_1"])
    held = np.asarray(whole.features)
    window, adjustment = BarWindow(labels, whole.feature_names), None
    assert window.size == (512 if calendar == Calendar() else 768)
    compared = 0
    for row in range(panel.num_bars):
        if row in (1000, 1311):  # as a process does that goes on with a journal
            adjustment = window.adjustment
            window = BarWindow(labels, whole.feature_names, adjustment)
            window.count, window.adjustment = row - window.size, Adjustment.none(4)
            for earlier in range(row - window.size, row):
                window.add(ClosedBar.of(panel, earlier))
            window.adjustment = adjustment
        window.add(ClosedBar.of(panel, row))
        if row in (0, 1, 252, 300) or (row > 380 and row % 7 == 3):
            market = window.market()
            np.testing.assert_allclose(market.features[1], held[row], rtol=0, atol=1e-6, err_msg=str(row))
            compared += 1
    assert compared > 150 and market.feature_names == whole.feature_names
    # The table is not one that stands still: each expert changes its mind, and none like another.
    for place in range(len(names)):
        assert len(np.unique(held[400:, :, place].round(4), axis=0)) > 4
    assert len({held[400:, :, place].tobytes() for place in range(len(names))}) == len(names)


@pytest.mark.thorough
def test_an_agent_that_mixes_experts_trades_as_in_a_backtest(tmp_path):
    panel = make_panel(seed=8, num_bars=420, num_assets=3)
    market = build_market(panel, ["expert_momentum", "expert_mean_reversion", "log_return_1", "rsi_14"])
    config = FORMS["bands"]
    network = Network.for_env(PolicyConfig(hidden=(8, 8), width=8), config, 3, 2**20, market.feature_names)
    assert network.model.num_experts == 2
    plain = make_agent(market, config)
    weights = network.init(jax.random.key(3), market.num_features)
    scaling = plain.params.scaling.replace(features=network.fit_scaling(market.features, market.tradable))
    agent = dataclasses.replace(plain, network=network, params=AgentParams(network=weights, scaling=scaling))
    for end in (380, 395, 396, None):  # stopped and gone on
        with Journal(tmp_path / "j") as journal:
            Trader(agent, Replay(panel, 360, end), journal).run()
    with Journal(tmp_path / "j", read_only=True) as journal:
        compared = compare(journal, agent, labels_from(journal.facts()["labels"]))
    assert len(compared.paper.fills) > 20 and compared.fills_differ == 0
    assert all(abs(flip.margin) < 1e-4 for flip in compared.flips)
    assert (compared.bars[["equity_replay", "cash_replay"]] == 0).all(axis=None)
    np.testing.assert_allclose(compared.paper.equity, backtest(agent, market, 360).equity, rtol=1e-5)


def test_stopped_and_gone_on_is_as_if_never_stopped(tmp_path):
    panel = make_eventful_panel()
    agent = agent_of(panel)
    play(tmp_path / "whole", panel, agent=agent)
    for end in (FIRST + 1, FIRST + 2, 50, 51, 75, None):
        play(tmp_path / "parts", panel, agent=agent, end=end)
    assert account_equal(tmp_path / "whole", tmp_path / "parts")


def test_two_processes_on_one_journal_are_refused(tmp_path):
    with Journal(tmp_path / "j"):
        with pytest.raises(ValueError, match="is being written by another process"):
            Journal(tmp_path / "j")
        code = (
            "import sys\nfrom ploutos_jax.live.journal import Journal\n"
            "try:\n Journal(sys.argv[1])\nexcept ValueError as error:\n print(error)"
        )
        said = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "j")], capture_output=True, text=True, check=True
        )
        assert "is being written by another process" in said.stdout
    Journal(tmp_path / "j").close()


def test_a_journal_of_another_agent_is_refused(tmp_path):
    panel = make_panel()
    play(tmp_path / "j", panel, end=40)
    other = agent_of(panel, FORMS["weights"])
    with (
        Journal(tmp_path / "j") as journal,
        pytest.raises(ValueError, match="is the journal of another account: its agent"),
    ):
        Trader(dataclasses.replace(other, step=7), Replay(panel, FIRST), journal)
    (tmp_path / "text").write_text("no database at all, but text that is long enough to be one")
    with pytest.raises(ValueError, match="is no journal of a paper account"):
        Journal(tmp_path / "text")


def test_what_is_shared_holds_no_bars(tmp_path):
    play(tmp_path / "j")
    strip(tmp_path / "j", tmp_path / "shared")
    with Journal(tmp_path / "j", read_only=True) as whole, Journal(tmp_path / "shared", read_only=True) as shared:
        assert shared.state() is None
        assert shared._db.execute("SELECT count(*) FROM bars").fetchone() == (0,)
        assert shared.accounts().equals(whole.accounts()) and shared.fills() == whole.fills()
        account = whole.facts()["account"]
        assert len(shared.orders()) == len(whole.orders()) > 0
        assert "account" not in shared.facts() and not shared.orders()["client_id"].str.contains(account).any()
    assert account.encode() not in (tmp_path / "shared").read_bytes()
    with pytest.raises(ValueError, match="exists already"):
        strip(tmp_path / "j", tmp_path / "shared")


def test_labels_come_back_as_they_were():
    source = Replay(make_panel(), FIRST)
    back = labels_from(json.loads(json.dumps(plain_labels(source.labels))))
    assert dataclasses.replace(back, times=source.labels.times) == source.labels


def test_an_adjustment_follows_total_return():
    panel = make_eventful_panel()
    adjusted, follow = total_return(panel), Adjustment.none(panel.num_assets)
    for row in range(panel.num_bars):
        factor, shares = follow.follow(ClosedBar.of(panel, row))
        np.testing.assert_array_equal(panel.close[row] * factor, adjusted.close[row])
        np.testing.assert_array_equal(panel.volume[row] / shares, adjusted.volume[row])


# One process imports JAX, and a fork of it trades and is killed: no part of JAX is started before the fork.
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
from tests.evaluate.backtest.worlds import make_eventful_panel
from tests.live.paper import agent_of, play

folder, kills, rng = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))

def start(name):
    child = os.fork()
    if not child:
        panel = make_eventful_panel()
        play(folder / name, panel, agent=agent_of(panel))
        os._exit(0)
    return child

def is_over(child):
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

def wait_for_journal(child, name):
    while not (folder / name).exists() and not is_over(child):
        time.sleep(0.001)
    return time.monotonic()

for attempt in range(2):  # the second time nothing is compiled
    child = start(f"whole-{attempt}")
    began = wait_for_journal(child, f"whole-{attempt}")
    assert os.waitpid(child, 0)[1] == 0
    seconds = time.monotonic() - began
done = finished = 0
while done < kills:
    child = start(f"parts-{finished}")
    until = wait_for_journal(child, f"parts-{finished}") + rng.uniform(0, seconds)
    while time.monotonic() < until and not is_over(child):
        time.sleep(0.001)
    if not is_over(child):
        os.kill(child, signal.SIGKILL)
        done += 1
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    finished += status == 0
child = start(f"parts-{finished}")
assert os.waitpid(child, 0)[1] == 0
print(done, finished + 1)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_random_moments(tmp_path, kills):
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLER, str(tmp_path), str(kills), "1"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    done, finished = map(int, said.stdout.split())
    assert done == kills
    for number in range(finished):
        assert account_equal(tmp_path / "whole-1", tmp_path / f"parts-{number}")


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("form", ["discrete", "weights"])
@pytest.mark.parametrize(
    ("file", "start", "end", "bars"),
    [
        ("crypto_btcusd_1h_2018_2022.parquet", "2021-01-01", "2021-12-31", 8000),
        ("spy_1m_2024_2025.parquet", "2024-10-01", "2024-10-31", 8000),
    ],
)
def test_real_bars_are_traded_as_by_a_backtest(tmp_path, file, start, end, bars, form):
    """In a process whose programs are compiled as for users.

    With the quick compiler settings of the tests a step alone and one inside a scan round differently.
    """
    if not (DATA / file).is_file():
        pytest.skip("needs the market data folder beside the repository")
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.live.real_bars", str(DATA / file), start, end, form]
    done = subprocess.run([*command, str(tmp_path / "j")], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    found = json.loads(done.stdout)
    assert found["bars"] > bars and found["features_apart"] <= 1e-6 and found["fills"] > 1000
    assert found["fills_differ"] == 0 and found["equity_replay_apart"] == 0 and found["cash_replay_apart"] == 0
    assert found["scaled_features_apart"] <= 1e-5 and found["outputs_apart"] <= 1e-4
    assert all(abs(margin) <= 1e-4 for margin in found["flips"])
