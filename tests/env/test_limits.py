"""What rules rule out is said before training: caps, exits, whole lots and the least order of small accounts."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.limits import LimitsWarning, describe_limits, usual_cap
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import Market, Panel

HELD = EnvConfig(episode_length=5, stop_loss=None, take_profit=None)


def market_of(prices: dict[str, float]) -> Market:
    return market_at(np.array(list(prices.values())) * (1 + 0.001 * np.arange(30))[:, None], tuple(prices))


def market_at(close: np.ndarray, tickers: tuple[str, ...]) -> Market:
    days = np.busday_offset("2020-01-01", np.arange(len(close)), roll="forward")
    full = np.ones(close.shape)
    panel = Panel(
        **dict.fromkeys(("open", "high", "low", "close"), close),
        volume=1e6 * full,
        tradable=full > 0,
        sessions=days.astype(np.int32),
        labels=Labels(tickers, ("Unknown",) * len(tickers), days.astype("datetime64[ns]")),
    )
    return build_market(panel, ())


def notes_of(config: EnvConfig, **prices: float) -> str:
    return " ".join(describe_limits(config, market_of(prices)))


@pytest.mark.parametrize(
    ("num_assets", "cap"), [(1, 1.0), (2, 1.0), (3, 1.0), (4, 0.75), (10, 0.3), (12, 0.25), (13, 0.25), (503, 0.25)]
)
def test_the_cap_follows_the_number_of_assets(num_assets: int, cap: float):
    assert usual_cap(num_assets) == pytest.approx(cap, abs=1e-12)
    params = TradingEnv(HELD).default_params(market_of({f"T{i}": 10.0 for i in range(num_assets)}))
    assert params.max_position_pct == np.float32(cap)
    # Among many assets it is the number that it always was, to the last bit.
    assert num_assets < 12 or params.max_position_pct == jnp.float32(0.25)


def test_a_cap_that_was_chosen_stays():
    params = TradingEnv(dataclasses.replace(HELD, max_position_pct=0.1)).default_params(market_of({"A": 10.0}))
    assert params.max_position_pct == np.float32(0.1)
    old = EnvConfig.from_plain({**HELD.to_plain(), "max_position_pct": 0.25})
    assert TradingEnv(old).default_params(market_of({"A": 10.0})).max_position_pct == np.float32(0.25)


@pytest.mark.thorough
@pytest.mark.parametrize("tickers", ["A", "AB", "ABC"])
@pytest.mark.parametrize("action", ["discrete", "weights"])
def test_an_account_of_few_assets_can_be_fully_invested(tickers: str, action: str):
    market = market_of(dict.fromkeys(tickers, 10.0))
    config = dataclasses.replace(HELD, action=action, buy_pct=1.0, episode_length=10, min_order_cash=0.0)
    env = TradingEnv(config)
    params = env.default_params(market)
    _, state = env.reset_at(0, 10, params)
    wanted = jnp.ones(len(tickers), jnp.int32) if action == "discrete" else jnp.full(len(tickers), 1 / len(tickers))
    info = {}
    for _ in range(3):
        _, state, _, _, _, info = env.step_env(jax.random.key(0), state, wanted, params)
    assert info["exposure"] > 0.99


def test_a_cap_that_keeps_the_account_in_cash_is_told():
    said = notes_of(dataclasses.replace(HELD, max_position_pct=0.25), A=10.0, B=10.0)
    assert "at most 50% of the account" in said and "max_position_pct=0.25" in said and "0.5 or more" in said
    assert notes_of(HELD, A=10.0, B=10.0) == ""
    assert notes_of(dataclasses.replace(HELD, max_position_pct=1 / 3), A=1.0, B=1.0, C=1.0) == ""


def test_exits_that_keep_one_asset_in_cash_are_told():
    said = notes_of(EnvConfig(episode_length=5), A=10.0)
    assert "stop_loss=0.02, take_profit=0.04" in said and "buy_pct=1" in said and "max_position_pct=1" in said
    assert notes_of(EnvConfig(episode_length=5), **{f"T{i}": 10.0 for i in range(4)}) == ""


def test_lots_that_cannot_be_paid_name_their_tickers():
    lots = dataclasses.replace(HELD, lot_size=1.0)
    said = notes_of(lots, DEAR=550_000.0, NEAR=9_999.0, CHEAP=12.0)
    assert "DEAR ($" in said and "CHEAP" not in said and "NEAR" not in said and "$10,000" in said
    # A hundred shares of a cheap stock are dear, too; and what weights may spend is the cap.
    hundred = dataclasses.replace(lots, lot_size=100.0)
    assert "NEAR" in notes_of(hundred, NEAR=101.0, CHEAP=12.0)
    assert notes_of(dataclasses.replace(hundred, action="weights"), NEAR=101.0, CHEAP=12.0) == ""
    assert "DEAR" in notes_of(dataclasses.replace(hundred, action="weights"), DEAR=1001.0, CHEAP=12.0)
    many = notes_of(lots, **{f"T{i}": 1e6 for i in range(9)})
    assert "T4" in many and "T5" not in many and "and 4 more" in many


def test_lots_are_asked_of_the_lowest_price_that_could_be_paid():
    close = np.geomspace(20_000, 9_000, 30)[:, None]
    market = market_at(close, ("FALLS",))
    assert describe_limits(dataclasses.replace(HELD, lot_size=1.0), market) == ()


def test_orders_below_the_least_size_are_told():
    small = dataclasses.replace(HELD, initial_cash=100.0, min_order_cash=20.0)
    assert "nothing can ever be bought" in notes_of(small, A=10.0) and "min_order_cash=20" in notes_of(small, A=10.0)
    assert notes_of(dataclasses.replace(small, buy_pct=0.2), A=10.0) == ""


def test_the_environment_warns_once_for_each(recwarn: pytest.WarningsRecorder):
    warnings.simplefilter("always", LimitsWarning)
    TradingEnv(dataclasses.replace(HELD, lot_size=1.0)).default_params(market_of({"DEAR": 550_000.0, "B": 1.0}))
    assert [str(one.message).startswith("Under these rules DEAR") for one in recwarn] == [True]
