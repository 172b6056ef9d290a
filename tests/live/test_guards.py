"""Every guard, tripped; the kill switch by file and by signal; drift; and what is said of them."""

import dataclasses
import http.server
import json
import threading

import numpy as np
import pytest

from ploutos_jax.evaluate.backtest.run import backtest
from ploutos_jax.evaluate.reference import Reference
from ploutos_jax.live.drift import WINDOW, DriftMonitor, describe_drift
from ploutos_jax.live.guards import Guards
from ploutos_jax.live.journal import Journal
from ploutos_jax.live.notify import to_all, to_command, to_webhook
from ploutos_jax.live.replay import Replay
from ploutos_jax.live.trader import Trader
from tests.evaluate.backtest.worlds import make_panel
from tests.live.paper import FIRST, FORMS, Clocked, agent_of

WEIGHTS = FORMS["weights"]


def trade(path, panel, config=WEIGHTS, source=None, on_bar=lambda trader, one: None, **more):
    said = []
    source = Replay(panel, FIRST) if source is None else source
    with Journal(path) as journal:
        trader = Trader(agent_of(panel, config), source, journal, say=lambda *words: said.append(words), **more)
        trader.run(on_bar=lambda one: on_bar(trader, one))
        return journal.events(), journal.accounts(), journal.decisions(), journal.fills(), said


@pytest.mark.thorough
def test_an_order_that_is_worth_too_much_is_left_out(tmp_path):
    events, _, decisions, fills, said = trade(tmp_path / "j", make_panel(), guards=Guards(max_order_cash=25_000))
    assert (events["kind"] == "order value").any() and said[0][0] == "order value"
    held = [np.isnan(action).any() for action in decisions["action"]]
    assert any(held) and len(fills) > 0
    with Journal(tmp_path / "j", read_only=True) as journal:
        orders = journal.orders()
    assert len(orders) > 0 and (orders["shares"] * orders["price"])[orders["reason"] == "order"].max() <= 25_000


@pytest.mark.thorough
def test_a_position_is_not_made_larger_than_its_limit(tmp_path):
    events, accounts, _, fills, _ = trade(tmp_path / "j", make_panel(), guards=Guards(max_position=0.25))
    assert (events["kind"] == "position").any() and len(fills) > 0
    free = trade(tmp_path / "free", make_panel())[1]
    assert (accounts["gross_exposure"] / accounts["equity"]).max() < (free["gross_exposure"] / free["equity"]).max()


def crash(panel):
    """The panel with all closes of one bar at half."""
    close, low = np.array(panel.close), np.array(panel.low)
    close[50:], low[50] = close[50:] / 2, low[50] / 2
    later = {
        name: np.where(np.arange(90)[:, None] > 50, getattr(panel, name) / 2, getattr(panel, name))
        for name in ("open", "high")
    }
    low[51:] /= 2
    return panel.replace(close=close, low=np.minimum(low, close), **later)


@pytest.mark.parametrize("flatten", [False, True])
def test_a_daily_loss_ends_buying_until_the_next_session(tmp_path, flatten):
    panel = crash(make_panel())
    config = dataclasses.replace(WEIGHTS, stop_loss=None, take_profit=None)
    guards = Guards(max_daily_loss=0.1, flatten=flatten)
    events, accounts, decisions, fills, said = trade(tmp_path / "j", panel, config, guards=guards)
    tripped = events[events["kind"] == "daily loss"]["bar"].tolist()
    assert tripped == [50 - FIRST] and said[0][0] == "daily loss"
    after = [fill for fill in fills if fill["bar"] == 51 - FIRST]
    assert all(fill["side"] == "sell" for fill in after)
    if flatten:
        assert (decisions["action"][50 - FIRST] == 0).all()
        assert accounts["gross_exposure"][51 - FIRST] == 0 and len(after) == 3


def test_a_bar_that_comes_late_is_not_acted_on(tmp_path):
    source = Clocked(make_panel())
    source.late = {40: 3 * source.seconds, 41: 2.5 * source.seconds}
    events, _, decisions, fills, _ = trade(tmp_path / "j", make_panel(), source=source, now=source.now)
    assert events["bar"].tolist() == [40 - FIRST, 41 - FIRST] and set(events["kind"]) == {"stale data"}
    assert all(np.isnan(decisions["action"][bar]).all() for bar in (40 - FIRST, 41 - FIRST))
    assert not any(fill["bar"] in (41 - FIRST, 42 - FIRST) and fill["reason"] == "order" for fill in fills)


def test_a_source_that_goes_silent_is_told_once(tmp_path):
    panel = make_panel()
    source = Clocked(panel)
    source.labels = dataclasses.replace(
        source.labels, calendar=dataclasses.replace(panel.calendar, days_per_year=365.25)
    )
    ticks = source.bars

    def with_silence(after):
        for number, bar in enumerate(ticks(after)):
            yield bar
            if number == 5:
                for _ in range(10):
                    source.clock += source.seconds
                    yield None

    source.bars = with_silence
    events = trade(tmp_path / "j", panel, source=source, now=source.now, guards=Guards(stale_bars=5.0))[0]
    assert events["text"].str.startswith("no bar since").sum() == 1


@pytest.mark.parametrize("flatten", [False, True])
@pytest.mark.parametrize("by_file", [False, True])
def test_the_kill_switch_stops_and_flattens(tmp_path, flatten, by_file):
    guards = Guards(kill_file=str(tmp_path / "stop"), flatten=flatten)

    def on_bar(trader, one):
        if one.number == 20:
            (tmp_path / "stop").touch() if by_file else trader.kill()

    events, accounts, decisions, fills, said = trade(tmp_path / "j", make_panel(), guards=guards, on_bar=on_bar)
    assert (events["kind"] == "kill switch").any() and said[-1][0] == "kill switch"
    assert accounts["gross_exposure"][20] > 0
    with Journal(tmp_path / "j", read_only=True) as journal:
        orders = journal.orders()
    assert (orders[orders["bar"] == 20]["status"] == "cancelled").all()
    if flatten:  # the bar that follows sells all, and the account ends
        sold = [fill["side"] for fill in fills if fill["bar"] == 21]
        assert len(accounts) == 22 and (decisions["action"][20] == 0).all() and set(sold) == {"sell"}
        assert accounts["gross_exposure"][21] == 0
        assert any("the next one sells all positions" in text for _, text in said)
        return
    assert len(accounts) == 21 and np.isnan(decisions["action"][20]).all()
    # Called again, the bar that follows orders nothing.
    (tmp_path / "stop").unlink(missing_ok=True)
    _, accounts, _, fills, _ = trade(
        tmp_path / "j", make_panel(), guards=guards, on_bar=lambda trader, one: trader.kill()
    )
    assert len(accounts) == 22 and not [fill for fill in fills if fill["bar"] == 21 and fill["reason"] == "order"]


def test_limits_out_of_bounds_are_refused():
    with pytest.raises(ValueError, match="max_daily_loss"):
        Guards(max_daily_loss=2.0)


def test_drift_of_features_returns_actions_and_costs_is_told_once():
    panel = make_panel()
    agent = agent_of(panel)
    scaling = agent.params.scaling.features
    centre, spread = np.asarray(scaling.centre), np.asarray(scaling.spread)
    rng = np.random.default_rng(0)

    def follow(monitor, shift=0.0, deviation=0.02, invested=0.55, every=5, cost=1.0):
        found = []
        for bar in range(WINDOW + 5):
            features = centre + spread * rng.normal(0, 1, (3, len(centre)))
            features[:, 0] += shift * spread[0]
            returns = rng.normal(0, deviation, 3)
            acts = invested, bar % every == 0
            found += monitor.follow(features, np.ones(3, bool), returns, *acts, cost, 10_000.0)
        return found

    reference = Reference(0.02, {"5": 0.7, "6": 0.295, "9": 0.005}, trading=0.2, cost_bps=1.0)
    assert follow(DriftMonitor(agent, reference)) == []
    for changed, what in (
        ({"shift": 4.0}, "feature"),
        ({"deviation": 0.07}, "returns"),
        ({"invested": 0.95}, "actions"),
        ({"every": 1}, "actions"),
        ({"every": 1000}, "actions"),
        ({"cost": 5.0}, "costs"),
    ):
        found = follow(DriftMonitor(agent, reference), **changed)
        assert [one.what for one in found] == [what] and describe_drift(found[0])
    # Positions last: those of a part of training alone are no drift, and neither are twice as many orders.
    assert follow(DriftMonitor(agent, reference), invested=0.65, every=2) == []
    told = [follow(DriftMonitor(agent, reference), **more)[0] for more in ({"invested": 0.95}, {"every": 1})]
    assert told[0] == ("actions", "invested", 1.0, 0.005) and told[1] == ("actions", "trading", 1.0, 0.2)
    shifted = follow(DriftMonitor(agent, reference), shift=4.0)[0]
    assert shifted.name == agent.feature_names[0] and shifted.now == pytest.approx(4.0, abs=0.3)


def test_what_training_was_like():
    panel = make_panel()
    from ploutos_jax.market.features.build import build_market

    market = build_market(panel, "minimal")
    reference = Reference.of(market)
    assert reference.deviation == pytest.approx(np.diff(np.log(panel.close), axis=0).std(), rel=1e-4)
    assert reference.invested == {} and reference.trading is None and reference.cost_bps is None
    ledger = backtest(agent_of(panel), market)
    known = Reference.of(market, ledger)
    share = ledger.gross_exposure[1:] / ledger.equity[1:]
    by_hand = [((share >= low / 10) & (share < (low + 1) / 10)).mean() for low in range(10)] + [(share >= 1).mean()]
    assert known.invested == {str(i): pytest.approx(x) for i, x in enumerate(by_hand) if x}
    bars = {bar for bar, reason in zip(ledger.fills["bar"], ledger.fills["reason"], strict=True) if reason == "order"}
    assert known.trading == pytest.approx(len(bars) / (panel.num_bars - 1)) and len(bars) > 5


def test_notices_go_by_webhook_and_command_and_one_that_fails_stops_nothing(tmp_path, capsys):
    got = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        hook = to_webhook(f"http://127.0.0.1:{server.server_port}/secret-token")
        say = to_all(
            [hook, to_command(f"sh -c 'cat > {tmp_path}/mail'"), to_webhook("http://127.0.0.1:9/secret-token")]
        )
        say("daily loss", "A: not bought")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert got == [{"kind": "daily loss", "text": "A: not bought"}]
    assert (tmp_path / "mail").read_text() == "A: not bought"
    said = capsys.readouterr().err
    assert "could not be sent" in said and "secret-token" not in said


def test_paths_that_lie_end_to_end_have_no_return_between_them():
    from ploutos_jax.market.features.build import build_market

    one, other = (build_market(make_panel(seed), "minimal") for seed in (0, 1))
    ends = np.concatenate([np.full(90, 89), np.full(90, 179)]).astype(np.int32)
    both = one.replace(
        close=np.concatenate([one.close, 50 * other.close]),
        tradable=np.concatenate([one.tradable, other.tradable]),
        path_end=ends,
    )
    moves = np.concatenate([np.diff(np.log(np.asarray(market.close)), axis=0) for market in (one, other)])
    assert Reference.of(both).deviation == pytest.approx(moves.std(), rel=1e-4)


def test_a_reference_is_read_from_a_run(tmp_path):
    assert Reference.read(tmp_path) is None
    known = Reference(0.02, {"1": 1.0}, 0.25, 3.5)
    (tmp_path / "summary.json").write_text(json.dumps({"reference": known.to_plain()}))
    assert Reference.read(tmp_path) == known
    (tmp_path / "summary.json").write_text('{"reference": {"deviation": "x"}}')
    assert Reference.read(tmp_path) is None
