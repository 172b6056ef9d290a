"""`fees="exchange"`: each ticker pays and rounds as its exchange says, whatever its neighbour does."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.broker.instruments import describe_costs, resolve_costs
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.run import backtest
from ploutos_jax.live.bars import labels_from, plain_labels
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.instrument import Instrument, Venue
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.train.pathwise.refusals import check_smooth
from tests.env.worlds import calm_market
from tests.evaluate.backtest.worlds import make_agent, make_panel

BTC = Venue(tick_size=0.01, lot_size=0.05, min_notional=5.0, maker=0.0002, taker=0.001)
ETH = Venue(tick_size=0.5, lot_size=1.0, min_notional=900.0, maker=None, taker=0.0025)
PLAIN = EnvConfig(action="weights", stop_loss=None, take_profit=None, episode_length=11, min_order_cash=1.0)


def with_venues(market, *venues):
    kinds = tuple(Instrument("crypto", "as told", venue) for venue in venues)
    return market.replace(labels=dataclasses.replace(market.labels, instruments=kinds))


def played(config, market, seed=0):
    env = TradingEnv(config)
    params = env.default_params(market)
    _, state = env.reset_at(0, 11, params)
    step, rows = jax.jit(env.step_env), []
    for weight in np.random.default_rng(seed).uniform(0, 0.5, (10, market.num_assets)).astype(np.float32):
        _, state, *_ = step(jax.random.key(0), state, jnp.asarray(weight), params)
        rows.append((float(state.cash), *np.asarray(state.shares).tolist()))
    return rows


@pytest.mark.parametrize("venue", [BTC, ETH])
def test_one_ticker_is_charged_as_if_the_settings_said_so(venue):
    prices = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.02, (12, 1)), axis=0))
    market = calm_market(prices)
    by_exchange = played(dataclasses.replace(PLAIN, fees="exchange"), with_venues(market, venue))
    written = dataclasses.replace(
        PLAIN,
        **{"fees": "none", "commission_bps": 1e4 * venue.taker, "lot_size": venue.lot_size},
        **{"min_order_cash": venue.min_notional, "tick_size": venue.tick_size},
    )
    assert by_exchange == played(written, market) and len({row[1] for row in by_exchange}) > 3


@pytest.mark.thorough
def test_every_fill_of_two_tickers_is_by_its_own_rules():
    panel = make_panel(num_assets=2)
    config = dataclasses.replace(PLAIN, fees="exchange", spread_bps=0, slippage_bps=0)
    market = with_venues(build_market(panel, "minimal"), BTC, ETH)
    fills = backtest(make_agent(market, config), market).fills
    assert set(fills["ticker"]) == {"A", "B"} and len(fills) > 10
    for row in fills.to_dict("records"):
        venue = BTC if row["ticker"] == "A" else ETH
        value = row["shares"] * row["price"]
        assert row["fee"] == pytest.approx(venue.taker * value, rel=1e-5) == row["commission"]
        assert abs(row["price"] - row["reference_price"]) == pytest.approx(venue.tick_size / 2, rel=1e-3)
        lots = row["shares"] / venue.lot_size
        assert lots == pytest.approx(round(lots), abs=1e-3) and (value > venue.min_notional or row["side"] == "sell")


def test_limit_orders_pay_as_makers_and_exits_as_takers():
    panel = make_panel(num_assets=2)
    config = EnvConfig(action="weights", fees="exchange", order_type="limit", limit_offset_bps=5, stop_loss=0.01)
    market = with_venues(build_market(panel, "minimal"), BTC, ETH)
    fills = backtest(make_agent(market, config), market).fills
    rate = fills["fee"] / (fills["shares"] * fills["price"])
    is_order, is_btc = fills["reason"] == "order", fills["ticker"] == "A"
    assert {(True, True), (True, False), (False, True)} <= set(zip(is_order, is_btc, strict=True))
    np.testing.assert_allclose(rate[is_btc & is_order], BTC.maker, rtol=1e-4)
    np.testing.assert_allclose(rate[is_btc & ~is_order], BTC.taker, rtol=1e-4)
    np.testing.assert_allclose(rate[~is_btc], ETH.taker, rtol=1e-4)  # it tells no fee of makers


def test_a_coin_of_less_than_a_dollar_has_the_tick_that_its_exchange_says():
    market = with_venues(calm_market(np.full((12, 1), 0.5)), Venue(tick_size=0.001, taker=0.0))
    config = dataclasses.replace(PLAIN, fees="exchange", spread_bps=0, slippage_bps=0)
    cash, shares = played(config, market)[0]
    assert (100_000 - cash) / shares == pytest.approx(0.5005, rel=1e-6)


def test_settings_go_before_what_the_exchange_says():
    market = with_venues(calm_market(np.full((12, 2), 100.0)), BTC, ETH)
    config = dataclasses.replace(
        PLAIN, fees="exchange", lot_size=2.0, tick_size=None, commission_bps=3, min_order_cash=50
    )
    found = resolve_costs(config, market)
    assert found.tick_size == 0 and found.commission == pytest.approx(3e-4) and found.lot_size.tolist() == [2, 2]
    assert found.min_order_cash.tolist() == [50, 900]
    told = describe_costs(dataclasses.replace(PLAIN, fees="exchange", order_type="limit"), market)
    assert told == (
        "as the exchange of each of 2 says: 10 to 25 bps a side (2 to 25 for limit orders), tick 0.01 to 0.5,"
        " lot 0.05 to 1, least order $5 to 900"
    )
    with pytest.raises(ValueError, match="fees='exchange' rounds every order to whole lots"):
        check_smooth(dataclasses.replace(PLAIN, fees="exchange"), path_alone=False)


def test_what_is_not_known_is_refused():
    market = calm_market(np.full((12, 2), 100.0))
    config = dataclasses.replace(PLAIN, fees="exchange")
    for known in (market, with_venues(market, BTC, None), with_venues(market, BTC, Venue(lot_size=1.0))):
        with pytest.raises(
            ValueError, match="does not know what the exchange of .*A1 charges: `download --vendor ccxt`"
        ):
            TradingEnv(config).default_params(known)
    with pytest.raises(ValueError, match="of this market charges"):
        resolve_costs(config, market.replace(labels=None))


def test_the_file_beside_the_bars_is_read(tmp_path):
    file = tmp_path / "coins.csv"
    rows = [f"2020-01-{day:02},{ticker},1,1,1,1,5" for day in range(1, 9) for ticker in ("BTC/USDT", "ETH/USDT")]
    file.write_text("date,ticker,open,high,low,close,volume\n" + "\n".join(rows))
    assert [kind.venue for kind in load_panel(file).instruments] == [None, None]
    beside = tmp_path / "coins.csv.markets.json"
    beside.write_text(
        json.dumps({"BTC/USDT": {**BTC._asdict(), "more": 1}, "XRP/USDT": {"maker": -0.0001, "taker": 0.1}})
    )
    panel = load_panel(file)
    assert [kind.venue for kind in panel.instruments] == [BTC, None]
    assert [kind.venue for kind in load_panel(tmp_path, tickers=["ETH/USDT", "BTC/USDT"]).instruments] == [None, BTC]
    back = labels_from(json.loads(json.dumps(plain_labels(build_market(panel, "minimal").labels))))
    assert back.instruments == panel.instruments
    beside.write_text('{"BTC/USDT": {"taker": "much"}}')
    with pytest.raises(ValueError, match=r"coins.csv.markets.json, BTC/USDT: taker is 'much', which is no number"):
        load_panel(file)
    beside.write_text("[1]")
    with pytest.raises(ValueError, match="cannot be read as facts of markets"):
        load_panel(file)
