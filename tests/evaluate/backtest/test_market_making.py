"""Limit orders as a strategy: worth nothing where prices are fair, and paid by a bounce that is no profit."""

import dataclasses

import jax
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.evaluate.backtest.baselines import RULES
from ploutos_jax.evaluate.backtest.run import MARKET_MAKING, baselines, market_making
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Market
from ploutos_jax.market.synthetic.generate import synthetic_panel
from ploutos_jax.market.synthetic.params import SyntheticParams
from ploutos_jax.market.synthetic.planted import planted_panel
from tests.evaluate.backtest.worlds import COSTLY, FREE, make_panel

pytestmark = pytest.mark.thorough

OFFSETS = (5.0, 20.0, 50.0, 100.0)
HALF_SPREAD = 5e-4


@pytest.fixture(scope="module")
def fair() -> Market:
    """Prices that are martingales between and inside bars, of 40 independent assets."""
    return build_market(planted_panel(jax.random.key(100), num_assets=40, num_bars=2_000, strength=0.0), [])


@pytest.fixture(scope="module")
def gapping() -> Market:
    """Martingales with gaps over night, regimes and jumps."""
    params = SyntheticParams(fairness=1.0, drift=(0.0, 0.0, 0.0))
    return build_market(synthetic_panel(jax.random.key(2), num_assets=40, num_bars=2_000, params=params), [])


def per_bar(ledger: Ledger) -> tuple[float, float]:
    """Return the mean return of a bar and its standard error."""
    returns = np.diff(ledger.equity) / ledger.equity[:-1]
    return returns.mean(), returns.std(ddof=1) / np.sqrt(len(returns))


def gains(ledger: Ledger) -> np.ndarray:
    """Return what each fill gains to the close of its bar, per dollar traded."""
    table, column = ledger.fills, {symbol: place for place, symbol in enumerate(ledger.symbols)}
    close = ledger.close[table["bar"].to_numpy(), table["ticker"].map(column).to_numpy()]
    return np.where(table["side"] == "buy", 1, -1) * (close / table["price"].to_numpy() - 1)


@pytest.mark.parametrize("offset", OFFSETS)
def test_no_offset_earns_in_a_fair_market(fair: Market, offset: float):
    one_side = market_making(fair, FREE, offset_bps=offset, units=1)
    gained = gains(one_side)
    error = gained.std(ddof=1) / np.sqrt(len(gained))
    # Neither more than luck, nor less: what the offset saves is what adverse selection takes.
    assert len(gained) > 10_000
    assert abs(gained.mean()) <= 2 * error < 2e-4
    both = market_making(fair, FREE, offset_bps=offset)
    for ledger in (one_side, both):
        mean, error = per_bar(ledger)
        assert mean <= 2 * error
    # Of two sides in a bar the worse counts: never better than chance.
    assert gains(both).mean() < 0


@pytest.mark.parametrize("offset", OFFSETS)
def test_no_offset_earns_where_fair_prices_gap(gapping: Market, offset: float):
    ledger = market_making(gapping, FREE, offset_bps=offset, units=1)
    mean, error = per_bar(ledger)
    assert len(ledger.fills) > 10_000
    assert mean <= 2 * error


def bouncing(num_bars: int = 400) -> Market:
    """A market whose middle never moves: bars that print at the bid and at the ask in turn."""
    side = np.where(np.arange(num_bars) % 2 == 0, 1, -1)[:, None] * np.array([1, -1])
    price = 100 * (1 + HALF_SPREAD * side)
    panel = make_panel(num_bars=num_bars, num_assets=2)
    before = np.concatenate([price[:1], price[:-1]])
    extremes = {"high": np.maximum(price, before), "low": np.minimum(price, before)}
    return build_market(panel.replace(open=before, close=price, **extremes), [])


def test_a_bounce_between_bid_and_ask_fakes_a_profit():
    market = bouncing()
    assert np.ptp(np.asarray(market.close).mean(axis=1)) < 1e-4  # nothing to earn: the middle stands still
    ledger = market_making(market, FREE, offset_bps=8.0, units=1)
    mean, error = per_bar(ledger)
    assert mean > 10 * error and mean > 0
    # Bought a little above the bid and sold a little below the ask, every time.
    price = ledger.fills.groupby("side")["price"].mean()
    assert 99.95 < price["buy"] < 100 < price["sell"] < 100.05
    # Beyond the bounce nothing is reached, and what would have been paid at the market is a loss.
    assert len(market_making(market, FREE, offset_bps=11.0).fills) == 0


def test_quotes_stay_within_the_band_and_pay_fees_alone(market: Market):
    ledger = market_making(market, COSTLY, offset_bps=30.0, units=3)
    held = ledger.gross_exposure / ledger.equity
    assert 0.1 < held.max() <= 1.1 and ledger.cash.min() >= 0
    table = ledger.fills
    assert (table["price"] == table["reference_price"]).all() and (table["reason"] == "order").all()
    assert table["fee"].sum() == pytest.approx(ledger.cost.sum(), rel=1e-5)
    assert table["fee"].to_numpy() == pytest.approx(
        (table["shares"] * (table["price"] * 2e-4 + 0.005)).to_numpy(), rel=1e-4
    )
    sides = table.groupby(["bar", "ticker"])["side"].nunique()
    assert (sides == 1).all()
    worth = table["shares"] * table["price"] / ledger.equity[table["bar"].to_numpy() - 1]
    assert worth.median() == pytest.approx(1 / 9, rel=0.1)


def test_it_is_played_on_request_only(market: Market):
    config = dataclasses.replace(FREE, order_type="limit")
    assert MARKET_MAKING not in {*RULES, *baselines(market, config)}
    ledger = market_making(market, EnvConfig(limit_offset_bps=40.0))
    assert (ledger.name, ledger.role) == (MARKET_MAKING, "oracle")
    assert ledger.equity.tolist() == market_making(market, EnvConfig(), offset_bps=40.0).equity.tolist()
    with pytest.raises(ValueError, match="units=0 must be at least 1"):
        market_making(market, FREE, units=0)
    with pytest.raises(ValueError, match="limit_offset_bps=-1"):
        market_making(market, FREE, offset_bps=-1.0)


def test_baselines_of_an_agent_with_limit_orders_trade_at_the_market(market: Market):
    plain, resting = (baselines(market, dataclasses.replace(COSTLY, order_type=kind)) for kind in ("market", "limit"))
    for name in RULES:
        assert plain[name].equity.tolist() == resting[name].equity.tolist()
    assert plain["random"].equity.tolist() != resting["random"].equity.tolist()
