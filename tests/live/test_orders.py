"""Orders for the next open: the first ones of a backtest that has one more bar, whatever the rules."""

import dataclasses

import numpy as np
import pytest

from ploutos_jax.agents.ensemble import ensemble
from ploutos_jax.evaluate.backtest.run import backtest
from ploutos_jax.live.next_bar import next_time, with_next_bar
from ploutos_jax.live.orders import COLUMNS, Holding, orders_for_today, read_holdings
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Panel
from tests.evaluate.backtest.worlds import COSTLY, NUM_BARS, make_agent, make_eventful_panel, make_market, make_panel
from tests.market.io.test_load import bars
from tests.marks import thorough_but

LAST = 50
"""The last row of the file that orders are made from; one more bar has been seen by the backtest."""


def with_flat_bar(panel, row):
    """The panel with one row flat at the close before: what the orders assume of the bar that is to come."""
    changed = {}
    for name in ("open", "high", "low", "close"):
        prices = np.array(getattr(panel, name))
        prices[row] = panel.close[row - 1]
        changed[name] = prices
    volume = np.array(panel.volume)
    volume[row] = panel.volume[row - 1]
    return panel.replace(**changed, volume=volume)


def first_fills(agent, panel, row=LAST):
    """The fills of the first bar of a backtest whose first decision is made at a row, of a file that ends after it."""
    market = build_market(panel.window(0, row + 2), list(agent.feature_names))
    ledger = backtest(agent, market, row)
    return ledger.fills[ledger.fills["reason"] == "order"].reset_index(drop=True), ledger


@pytest.fixture(scope="module")
def panel():
    return make_panel()


FORMS = {
    "discrete": COSTLY,
    "weights": dataclasses.replace(COSTLY, action="weights"),
    "bands": dataclasses.replace(COSTLY, action="bands", stop_loss=None, take_profit=None),
    "levels, by volume": dataclasses.replace(COSTLY, action="levels", max_participation=0.001),
    "lots": dataclasses.replace(COSTLY, lot_size=10.0, fees="alpaca"),
}


@pytest.mark.parametrize("form", thorough_but(["bands"], FORMS))
def test_orders_are_the_first_of_a_backtest_with_one_more_bar(panel, form):
    agent = make_agent(make_market(), FORMS[form])
    orders = orders_for_today(agent, panel.window(0, LAST + 1))
    fills, ledger = first_fills(agent, with_flat_bar(panel, LAST + 1))
    assert len(orders) > 0 and tuple(orders.columns[: len(COLUMNS)]) == COLUMNS
    assert list(zip(orders["ticker"], orders["side"], strict=True)) == list(
        zip(fills["ticker"], fills["side"], strict=True)
    )
    for name in ("shares", "price"):
        np.testing.assert_allclose(orders[name], fills[name], rtol=1e-5, err_msg=name)
    assert orders["cost"].sum() == pytest.approx(ledger.cost[1], rel=1e-4)
    assert orders.attrs["decided"] == str(panel.times[LAST])[:10] and orders.attrs["fills"] == "at the next open"


@pytest.mark.parametrize("form", thorough_but(["weights"], ["discrete", "weights"]))
def test_at_any_open_they_are_the_same_tickers_and_values(panel, form):
    """The bar that comes opens elsewhere: sizes in dollars stay, since they are shares of equity."""
    agent = make_agent(make_market(), FORMS[form])
    orders = orders_for_today(agent, panel.window(0, LAST + 1))
    fills, _ = first_fills(agent, panel)
    assert len(orders) > 0
    assert list(zip(orders["ticker"], orders["side"], strict=True)) == list(
        zip(fills["ticker"], fills["side"], strict=True)
    )
    # Per-share commissions are a part of the cash that is spent, so values differ by less than that.
    np.testing.assert_allclose(orders["value"], fills["shares"] * fills["price"], rtol=1e-4)


@pytest.mark.thorough
def test_every_order_form_and_an_ensemble(panel):
    market = make_market()
    limit = dataclasses.replace(COSTLY, order_type="limit", limit_offset_bps=20.0, stop_loss=None, take_profit=None)
    orders = orders_for_today(make_agent(market, limit), panel)
    assert len(orders) and (orders["side"] == "buy").all()
    close = panel.close[-1, [panel.symbols.index(ticker) for ticker in orders["ticker"]]]
    np.testing.assert_allclose(orders["price"], close * (1 - 0.002), rtol=1e-5)
    same = dataclasses.replace(COSTLY, fill="same_close")
    assert orders_for_today(make_agent(market, same), panel).attrs["fills"] == "at the close observed"
    agent = make_agent(market, COSTLY)
    assert orders_for_today(ensemble([agent, agent]), panel).equals(orders_for_today(agent, panel))


@pytest.mark.thorough
def test_gaps_splits_and_an_asset_that_has_ended():
    panel = make_eventful_panel()
    agent = make_agent(build_market(panel, "minimal"), COSTLY)
    for row in (40, 59, 70):
        orders = orders_for_today(agent, panel.window(0, row + 1))
        assert len(orders) > 0
        live = [s for s, ok in zip(panel.symbols, panel.tradable[row], strict=True) if ok]
        assert set(orders["ticker"]) <= set(live)


def test_what_is_held_goes_on(panel):
    """A was bought at twice its close and stands below its stop, B at half and above its target: both are sold."""
    agent = make_agent(make_market(), COSTLY)
    close = dict(zip(panel.symbols, panel.close[-1], strict=True))
    held = {"A": Holding(100.0, 2 * close["A"]), "B": Holding(50.0, close["B"] / 2), "C": 10.0}
    orders = orders_for_today(agent, panel, holdings=held, cash=5_000.0)
    worth = 5_000 + 100 * close["A"] + 50 * close["B"] + 10 * close["C"]
    assert orders.attrs["equity"] == pytest.approx(worth, rel=1e-6) and orders.attrs["cash"] == 5_000
    sold = orders.set_index("ticker")
    assert list(sold.loc[["A", "B"], "reason"]) == ["stop", "target"]
    assert list(sold.loc[["A", "B"], "shares"]) == [100.0, 50.0]
    assert sold.loc["A", "weight_before"] == pytest.approx(100 * close["A"] / worth, rel=1e-6)
    assert sold.loc["A", "weight_after"] == 0


def test_exits_that_stand_after_the_order(panel):
    orders = orders_for_today(make_agent(make_market(), COSTLY), panel)
    bought = orders[orders["side"] == "buy"]
    assert len(bought) > 0
    np.testing.assert_allclose(bought["stop"], 0.98 * bought["price"], rtol=1e-6)
    np.testing.assert_allclose(bought["target"], 1.04 * bought["price"], rtol=1e-6)
    free = dataclasses.replace(COSTLY, stop_loss=None, take_profit=None)
    assert not {"stop", "target"} & set(orders_for_today(make_agent(make_market(), free), panel).columns)


@pytest.mark.thorough
@pytest.mark.parametrize("row", [30, 60, NUM_BARS - 1])
def test_features_of_known_bars_do_not_see_the_assumed_one(row):
    panel = make_eventful_panel().window(0, row + 1)
    known, more = (build_market(one, "core") for one in (panel, with_next_bar(panel)))
    np.testing.assert_array_equal(np.asarray(more.features)[:-1], np.asarray(known.features))
    assert more.num_bars == row + 2


def test_the_next_day_is_a_trading_day():
    friday = Panel.from_frame(bars(8))
    assert str(friday.times[-1])[:10] == "2020-01-10"
    assert str(next_time(friday)[0])[:10] == "2020-01-13"
    daily = bars(20)
    daily["date"] = np.tile(np.arange("2020-01-01", "2020-01-21", dtype="datetime64[D]").astype(str), 2)
    assert str(next_time(Panel.from_frame(daily))[0])[:10] == "2020-01-21"


def test_the_next_bar_of_a_session_is_in_it():
    hours = [f"2020-01-{day:02} {hour}:30" for day in (6, 7, 8) for hour in range(15, 20)]
    frame = bars(15, ("SPY",)).assign(date=hours)
    panel = Panel.from_frame(frame)
    assert next_time(panel.window(0, 13)) == (np.datetime64("2020-01-08T18:30"), panel.sessions[-1])
    assert next_time(panel) == (np.datetime64("2020-01-09T15:30"), panel.sessions[-1] + 1)


def test_what_is_refused(panel):
    agent = make_agent(make_market(), COSTLY)
    for how, message in (
        ({"holdings": {"Z": 1.0}}, "The agent trades no 'Z', which is held; it knows A, B, C"),
        ({"holdings": {"A": -1.0}}, "The holding of A is -1.0 shares; give 0 or more"),
        ({"holdings": {"A": Holding(1.0, 0.0)}}, "The entry price of A is 0.0; give dollars"),
        ({"cash": -5.0}, "cash=-5.0 must be dollars"),
        ({"cash": 0.0}, "worth nothing"),
        ({"features": ["log_return_1"]}, "The market has other features than the agent was trained with"),
    ):
        with pytest.raises(ValueError, match=message):
            orders_for_today(agent, panel, **how)
    own = dataclasses.replace(agent, feature_names=(*agent.feature_names[:-1], "mine"))
    with pytest.raises(ValueError, match=r"Unknown feature 'mine'.*give all its columns as features="):
        orders_for_today(own, panel)
    with pytest.raises(ValueError, match="several paths"):
        orders_for_today(agent, panel.replace(path_end=np.repeat([44, 89], 45)))
    with pytest.raises(ValueError, match="lacks 3 of the agent's 3 tickers"):
        orders_for_today(agent, Panel.from_frame(bars(40, ("X", "Y"))))


def test_holdings_are_read_from_a_file(tmp_path):
    file = tmp_path / "held.csv"
    file.write_text("Ticker, Shares, entry_price\nA, 10, 12.5\nB, 2.5,\n")
    assert read_holdings(file) == {"A": Holding(10.0, 12.5), "B": Holding(2.5)}
    for text, message in (
        ("ticker\nA\n", "has no column shares: found ticker"),
        ("ticker,shares\nA,ten\n", "row 1: shares is 'ten', which is no number"),
        ("ticker,shares\nA,1\nA,2\n", "row 2: A again"),
        ("ticker,shares\n,1\n", "row 1: a ticker is missing"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_holdings(file)
    with pytest.raises(ValueError, match="No such file"):
        read_holdings(tmp_path / "none.csv")


@pytest.mark.thorough
def test_nothing_is_random(panel):
    agent = make_agent(make_market(), COSTLY)
    one, two = (orders_for_today(agent, panel) for _ in range(2))
    assert len(one) > 0 and one.equals(two)
