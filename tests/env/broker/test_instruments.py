"""Costs that are left to the instrument, and settings that go before it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from ploutos_jax.env.broker.instruments import USUAL_COSTS, describe_costs, resolve_costs
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.instrument import INSTRUMENTS, US_EQUITY, Instrument
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.panel import Market
from tests.env.worlds import calm_market

PLAIN = EnvConfig(buy_pct=0.5, max_position_pct=1.0, stop_loss=None, take_profit=None, episode_length=10)


def market_of(*kinds: str, price: float = 100.0, adjusted: tuple[str, ...] = (), num_bars: int = 12) -> Market:
    market = calm_market(np.full((num_bars, len(kinds)), price))
    labels = market.labels
    assert labels is not None
    instruments = tuple(Instrument(kind, "as told") for kind in kinds)
    return market.replace(labels=dataclasses.replace(labels, instruments=instruments, adjusted=adjusted))


def round_trip(market: Market, config: EnvConfig = PLAIN) -> float:
    """Return what buying and selling the first asset costs, as a share of the value bought."""
    env = TradingEnv(config)
    params = env.default_params(market)
    _, state = env.reset_at(0, 8, params)
    step = jax.jit(env.step_env)
    for code in (1, 2):
        action = jnp.zeros(market.num_assets, jnp.int32).at[0].set(code)
        _, state, *_ = step(jax.random.key(0), state, action, params)
    return float(1 - state.equity / 100_000) * 2


def test_us_equities_cost_to_the_last_bit_what_they_cost_when_it_is_written_down():
    written = dataclasses.replace(PLAIN, tick_size=0.01, fees="alpaca")
    for market in (market_of(US_EQUITY), market_of(US_EQUITY, US_EQUITY), market_of(US_EQUITY).replace(labels=None)):
        left, given = (TradingEnv(config).default_params(market) for config in (PLAIN, written))
        assert left.fee_applies is None and jax.tree.structure(left) == jax.tree.structure(given)
        for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(given), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", [name for name in INSTRUMENTS if name != US_EQUITY])
@pytest.mark.parametrize("price", [8.5e-6, 0.005, 1.08, 150.0, 30_000.0])
def test_other_instruments_pay_basis_points_at_any_price(kind: str, price: float):
    bps = 2 * (1 + 1 + USUAL_COSTS[kind].fee_bps)
    assert round_trip(market_of(kind, price=price)) == pytest.approx(bps * 1e-4, rel=0.02)


@pytest.mark.thorough
def test_each_asset_of_a_mixed_market_pays_its_own():
    coin, stock = market_of("crypto", US_EQUITY, price=0.02), market_of(US_EQUITY, "crypto", price=0.02)
    assert round_trip(coin) == pytest.approx(24e-4, rel=0.02)
    # A hundredth of a cent is half a percent of two cents, and the TAF of 2019 as much again.
    assert round_trip(stock) > 50e-4
    alone = market_of(US_EQUITY, price=0.02)
    assert round_trip(stock) == pytest.approx(round_trip(alone), rel=1e-3)


def test_what_is_set_goes_before_the_instrument():
    market = market_of("crypto", "crypto")
    for changes in ({"fees": "none"}, {"commission_bps": 3.0}, {"tick_size": 0.5}, {"tick_size": None}):
        config = dataclasses.replace(PLAIN, **changes)
        found = resolve_costs(config, market)
        assert found.tick_size == (config.tick_size if isinstance(config.tick_size, float) else 0.0)
        own = 1e-3 if config.fees == "auto" and not config.commission_bps else config.commission_bps * 1e-4
        assert found.commission == pytest.approx(own)
    assert resolve_costs(dataclasses.replace(PLAIN, fees="alpaca"), market).fee_applies is None
    as_stock = resolve_costs(dataclasses.replace(PLAIN, instrument="us-equity"), market)
    assert (as_stock.tick_size, as_stock.commission, as_stock.fee_applies) == (0.01, 0.0, None)
    assert resolve_costs(dataclasses.replace(PLAIN, instrument="fx"), market_of(US_EQUITY)).tick_size == 0.0


def test_adjusted_prices_pay_no_tick_and_no_fee_per_share():
    found = resolve_costs(PLAIN, market_of(US_EQUITY, US_EQUITY, adjusted=("A1",)))
    np.testing.assert_array_equal(found.tick_size, [0.01, 0.0])
    np.testing.assert_array_equal(found.fee_applies, [[1, 1], [1, 0]])
    cheap = round_trip(market_of(US_EQUITY, price=1.2, adjusted=("A0",)))
    assert cheap < 5e-4 < round_trip(market_of(US_EQUITY, price=1.2))


@pytest.mark.thorough
def test_a_yen_quoted_stock_and_an_old_price_through_a_file(tmp_path):
    """Files of other markets end to end: ticks and fees of US equities are nowhere in them."""
    days = pd.bdate_range("2024-01-01", periods=90)
    prices = dict.fromkeys(("open", "high", "low", "close"), 2.5)
    frame = pd.DataFrame({"date": days.strftime("%Y-%m-%d"), "ticker": "9501.T", **prices, "volume": 1e9})
    frame.to_csv(tmp_path / "tokyo.csv", index=False)
    panel = load_panel(tmp_path / "tokyo.csv")
    assert any("generic" in note and "9501.T" in note for note in panel.notes)
    market = build_market(panel, "minimal").window(60)
    assert round_trip(market) == pytest.approx(14e-4, rel=0.02)


def test_costs_are_told_in_words():
    assert describe_costs(PLAIN, market_of(US_EQUITY)) == "us-equity: tick 0.01, fees of US equities by date"
    told = describe_costs(PLAIN, market_of("crypto", US_EQUITY, adjusted=("A1",)))
    assert "crypto: no tick, no fees of US equities, 10 bps a side" in told
    assert "1 of 2 at adjusted prices" in told
    assert describe_costs(dataclasses.replace(PLAIN, fees="percent", tick_size=None), market_of("fx")) == (
        "fx: no tick, percent"
    )


def test_settings_of_older_runs_hold_as_written():
    plain = {**EnvConfig().to_plain(), "tick_size": 0.01, "fees": "alpaca"}
    del plain["instrument"]
    config = EnvConfig.from_plain(plain)
    assert (config.instrument, config.tick_size, config.fees) == ("auto", 0.01, "alpaca")
    assert resolve_costs(config, market_of("crypto")).tick_size == 0.01
    assert EnvConfig.from_plain(EnvConfig().to_plain()) == EnvConfig()
