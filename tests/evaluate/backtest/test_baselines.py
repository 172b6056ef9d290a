"""Rules: what they hold, what they see, and the oracles of planted markets and of the next bar."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest
import scipy.optimize

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.evaluate.backtest.baselines import (
    ORACLE,
    RULES,
    buy_and_hold,
    inverse_volatility,
    mean_reversion,
    momentum,
    oracle,
    rules_for,
    total_returns,
    volatility_target,
)
from ploutos_jax.evaluate.backtest.covariance import minimum_variance_weights, shrunk_covariance
from ploutos_jax.evaluate.backtest.run import baselines_by_rule
from ploutos_jax.market.experts import rules as experts
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import Panel
from ploutos_jax.market.synthetic.generate import synthetic_panel
from ploutos_jax.market.synthetic.planted import planted_panel

NUM_ASSETS, NUM_BARS = 4, 300
FREE = EnvConfig(spread_bps=0, tick_size=None, slippage_bps=0, fees="none", min_order_cash=0)


@pytest.fixture(scope="module")
def panel():
    return planted_panel(jax.random.key(0), NUM_ASSETS, NUM_BARS)


@pytest.mark.thorough
def test_the_oracle_holds_what_the_hint_promises(panel):
    market = build_market(panel, "minimal")
    targets = oracle(market)
    np.testing.assert_array_equal(targets, (np.asarray(panel.signals["hint"]) > 0) / NUM_ASSETS)
    span = market.window(100, 200)
    np.testing.assert_array_equal(oracle(span), targets[100:200])


@pytest.mark.thorough
def test_the_oracle_earns_the_returns_of_what_it_holds(panel):
    market = build_market(panel, ())
    ledger = baselines_by_rule(market, FREE, rules_for(market))["oracle"]
    close = np.asarray(panel.close, np.float64)
    held = (oracle(market)[:-1] * (close[1:] / close[:-1] - 1)).sum(axis=1)
    np.testing.assert_allclose(ledger.equity[1:] / ledger.equity[:-1], 1 + held, atol=2e-5)
    assert ledger.cost.sum() == 0 and held.mean() > 3 * held.std() / np.sqrt(held.size)


@pytest.mark.thorough
def test_only_planted_markets_have_an_oracle(panel):
    made = build_market(synthetic_panel(jax.random.key(0), NUM_ASSETS, NUM_BARS).replace(signals=panel.signals), ())
    without = build_market(panel, ["signal_noise_1"])
    for market in (made, without):
        assert rules_for(market) == RULES
        with pytest.raises(ValueError, match="the feature 'signal_hint' of a planted market"):
            oracle(market)
    assert list(rules_for(build_market(panel, ()))) == [*RULES, "oracle"]


BARS, ASSETS = 420, 9


def ragged_panel(seed=0, num_bars=BARS):
    """Assets that start late, end early, pause, split and pay; one that barely moves."""
    rng = np.random.default_rng(seed)
    shape = num_bars, ASSETS
    volatility = np.linspace(0.004, 0.03, ASSETS)
    close = 60 * np.exp(np.cumsum(rng.normal(3e-4, volatility, shape), axis=0))
    opens = close * np.exp(rng.normal(0, 0.004, shape))
    split = np.where(rng.random(shape) < 0.004, 2.0, 1.0)
    split[0] = 1.0
    tradable = rng.random(shape) > 0.02
    tradable[:150, 1], tradable[300:, 2] = False, False
    shares = np.cumprod(split, axis=0)
    high, low = np.maximum(opens, close) * 1.01, np.minimum(opens, close) * 0.99
    prices = {
        name: np.where(tradable, value / shares, np.nan)
        for name, value in {"open": opens, "high": high, "low": low, "close": close}.items()
    }
    dividend = np.where((rng.random(shape) < 0.01) & tradable, 0.3, 0.0)
    days = np.busday_offset("2018-01-02", np.arange(num_bars), roll="forward")
    labels = Labels(tuple("ABCDEFGHI"), ("Unknown",) * ASSETS, days.astype("datetime64[ns]"))
    volume = np.where(tradable, 1e6, 0.0)
    return Panel(
        **prices,
        volume=volume,
        tradable=tradable,
        sessions=days.astype(np.int32),
        split=split,
        dividend=dividend,
        labels=labels,
    )


@pytest.fixture(scope="module")
def ragged():
    return build_market(ragged_panel(), ())


def test_rules_hold_members_only_and_sell_what_has_left():
    """One asset leaves the universe for good in row 200, one joins it there; bars of both go on."""
    panel = ragged_panel()
    inside = np.ones((BARS, ASSETS), bool)
    inside[200:, 0], inside[:200, 3] = False, False
    market = build_market(panel.replace(buyable=inside), ())
    bought = RULES["buy and hold"](market, 60)
    assert np.nanmax(bought[:, 0]) > 0 and np.isnan(bought[:, 3]).all()
    names = (
        "equal weight",
        "momentum",
        "mean reversion",
        "volatility target",
        "minimum variance",
        "inverse volatility",
    )
    for name in names:
        targets = RULES[name](market, 0)
        assert not (np.nan_to_num(targets) > 0)[~inside].any(), name
        assert (targets[200:, 0] == 0).any(), name
        assert np.nanmax(targets.sum(axis=1)) < 1 + 1e-9


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("first", [0, 260])
def test_a_rule_sees_no_later_bar(name, first):
    """Everything after a bar is changed, and no target up to that bar changes by a bit."""
    panel, cut = ragged_panel(), 330
    other = ragged_panel(seed=1)
    later = {
        field: np.where(np.arange(BARS)[:, None] > cut, getattr(other, field), getattr(panel, field))
        for field in ("open", "high", "low", "close", "volume", "tradable", "dividend", "split")
    }
    markets = build_market(panel, ()), build_market(panel.replace(**later), ())
    before, after = (RULES[name](market, first)[: cut + 1 - first] for market in markets)
    np.testing.assert_array_equal(before, after)
    assert before.shape == (cut + 1 - first, ASSETS)


def test_rules_are_weights_of_what_trades(ragged):
    tradable = np.asarray(ragged.tradable)
    for name, rule in RULES.items():
        targets = rule(ragged, 0)
        assert targets.shape == tradable.shape, name
        known = np.nan_to_num(targets)
        assert (known >= 0).all() and (known.sum(axis=1) <= 1 + 1e-9).all(), name
        if name not in ("cash", "ridge"):  # ridge has neither history nor features here
            assert (known[~tradable] == 0).all() and known.any(), name
    # With history before the span the first decision is made in its first bar.
    for name in ("momentum", "mean reversion", "volatility target", "minimum variance", "inverse volatility"):
        assert np.nan_to_num(RULES[name](ragged, 300)[0]).any(), name
    for name in ("momentum", "minimum variance", "inverse volatility"):
        assert not np.nan_to_num(RULES[name](ragged, 0)[0]).any(), name


def total_index(panel):
    """Return `[T, A]` value of a share of the first bar, dividends put back into it; NaN before the listing."""
    close = np.asarray(panel.close, np.float64)
    value, last, owned = np.full(close.shape, np.nan), np.full(ASSETS, np.nan), np.ones(ASSETS)
    for t in range(len(close)):
        owned = owned * np.asarray(panel.split[t], np.float64)
        for a in range(ASSETS):
            if panel.tradable[t, a]:
                owned[a] *= 1 + float(panel.dividend[t, a]) / close[t, a]
                last[a] = owned[a] * close[t, a]
        value[t] = last
    return value


def test_total_returns_follow_splits_dividends_and_gaps(ragged):
    panel = ragged_panel()
    value, tradable = total_index(panel), np.asarray(panel.tradable)
    returns = total_returns(ragged)
    known = np.isfinite(returns)
    # A share's dividend in a bar that is missing does not occur here, so gaps compound.
    np.testing.assert_array_equal(known[1:], tradable[1:] & np.isfinite(value[:-1]))
    expected = value[1:] / value[:-1] - 1
    np.testing.assert_allclose(returns[1:][known[1:]], expected[known[1:]], rtol=1e-3, atol=2e-6)


def test_momentum_and_reversion_rank_as_pandas_does(ragged):
    value = pd.DataFrame(total_index(ragged_panel()))
    row = 21 * 15
    tradable = np.asarray(ragged.tradable[row])
    counted = np.isfinite(total_returns(ragged)[row + 1 - 252 : row + 1 - 21]).sum(axis=0) >= 63
    growth = (value.ffill().loc[row - 21] / value.ffill().loc[row - 252].fillna(value.bfill().loc[0]))[
        tradable & counted
    ]
    number = int(np.ceil(len(growth) / 3))
    best = growth.nlargest(number)
    expected = np.zeros(ASSETS)
    expected[best[best > 1].index] = 1 / number
    np.testing.assert_allclose(np.nan_to_num(momentum(ragged, 0)[row]), expected)

    fallen = np.nan_to_num(mean_reversion(ragged, 0)[row])
    weekly = np.log1p(total_returns(ragged)[row - 4 : row + 1])
    score = pd.Series(-weekly.sum(axis=0))[tradable]  # a gap in the week leaves an asset out
    number = int(np.ceil(score.notna().sum() / 3))
    lowest = score.nlargest(number)
    assert set(np.flatnonzero(fallen)) == set(lowest[lowest > 0].index)


@pytest.mark.thorough
def test_a_price_that_came_back_has_neither_risen_nor_fallen():
    """Rounding used to decide: the log returns of a week add up to ±1e-16, and half of such assets were held."""
    close = np.tile(np.random.default_rng(0).integers(3000, 9000, (5, ASSETS)) / 100, (BARS // 5, 1))
    panel = ragged_panel().replace(tradable=np.ones((BARS, ASSETS), bool), split=None, dividend=None)
    panel = panel.replace(open=close, high=close, low=close, close=close, volume=np.full(close.shape, 1e6))
    market = build_market(panel, ())
    assert (total_returns(market)[6:] != 0).any()
    targets = mean_reversion(market, 0)
    assert (~np.isnan(targets)).any() and not np.nan_to_num(targets).any()
    assert not np.asarray(experts.mean_reversion(market, market.calendar)).any()


def test_the_volatility_target_scales_to_its_target():
    panel = ragged_panel()
    wild = panel.replace(tradable=np.ones_like(panel.tradable), split=None, dividend=None, volume=panel.volume + 1)
    rng = np.random.default_rng(0)
    close = 60 * np.exp(np.cumsum(0.03 * rng.normal(size=(BARS, 1)) + 0.002 * rng.normal(size=(BARS, ASSETS)), axis=0))
    wild = wild.replace(open=close, high=close, low=close, close=close)
    market = build_market(wild, ())
    targets = volatility_target(market, 0)
    row = 21 * 9
    returns = (close[1:] / close[:-1] - 1).mean(axis=1)[row - 63 : row]
    np.testing.assert_allclose(targets[row].sum(), 0.10 / (returns.std(ddof=1) * np.sqrt(252)), rtol=1e-5)
    assert 0 < targets[row].sum() < 0.5 and np.ptp(targets[row]) == 0


def test_inverse_volatility_by_a_loop(ragged):
    """One asset that never moves is left out; one that has traded for too short a time is, too."""
    still = ragged.replace(**{n: np.asarray(getattr(ragged, n)).copy() for n in ("open", "high", "low", "close")})
    for name in ("open", "high", "low", "close"):
        getattr(still, name)[:, 5] = 10.0
    still = still.replace(split=None, dividend=None)
    returns, tradable = total_returns(still), np.asarray(still.tradable)
    targets = inverse_volatility(still, 0)
    for row in range(0, BARS, 21):
        inverse = np.zeros(ASSETS)
        for a in range(ASSETS):
            known = [r for r in returns[max(row - 62, 0) : row + 1, a] if np.isfinite(r)]
            ended = still.delisted is not None and bool(np.asarray(still.delisted)[: row + 1, a].any())
            if len(known) >= 32 and row >= 62 and not ended and a != 5:
                inverse[a] = 1 / np.sqrt(sum((r - np.mean(known)) ** 2 for r in known) / (len(known) - 1))
        here = tradable[row]
        np.testing.assert_allclose(targets[row, here], (inverse / max(inverse.sum(), 1e-12))[here], rtol=1e-9)
    assert np.nanmax(targets) > 0 and np.nan_to_num(targets[:, 5]).sum() == 0


def test_minimum_variance_solves_its_program():
    rng = np.random.default_rng(2)
    for size in (1, 2, 5, 12):
        returns = rng.normal(0, rng.uniform(0.005, 0.03, size), (200, size)) + rng.normal(0, 0.012, (200, 1))
        covariance = shrunk_covariance(returns)
        weights = minimum_variance_weights(covariance)
        assert (weights >= 0).all() and weights.sum() == pytest.approx(1)
        start = np.full(size, 1 / size)
        found = scipy.optimize.minimize(
            lambda w, c=covariance: 1e4 * w @ c @ w,
            start,
            jac=lambda w, c=covariance: 2e4 * c @ w,
            bounds=[(0, 1)] * size,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert weights @ covariance @ weights <= found.x @ covariance @ found.x * (1 + 1e-7)
        # Held assets share one marginal variance, none left out has less (Karush, Kuhn, Tucker).
        slope = covariance @ weights
        np.testing.assert_allclose(slope[weights > 1e-9], slope[weights > 1e-9][0], rtol=1e-6)
        assert (slope >= slope[weights > 1e-9][0] * (1 - 1e-6)).all()
    np.testing.assert_allclose(minimum_variance_weights(np.zeros((4, 4))), 0.25)
    np.testing.assert_allclose(minimum_variance_weights(np.diag([1.0, 2.0, 4.0])), np.array([4, 2, 1]) / 7)


def test_shrinkage_equals_the_formula_by_hand():
    returns = np.random.default_rng(3).normal(0, 0.01, (60, 8))
    returns[:, 1] += returns[:, 0]
    centred = returns - returns.mean(axis=0)
    sample = sum(np.outer(x, x) for x in centred) / 60
    scale = np.trace(sample) / 8
    target = scale * np.eye(8)
    distance = np.linalg.norm(sample - target) ** 2
    error = min(sum(np.linalg.norm(np.outer(x, x) - sample) ** 2 for x in centred) / 60**2, distance)
    np.testing.assert_allclose(
        shrunk_covariance(returns), error / distance * target + (1 - error / distance) * sample, rtol=1e-12
    )
    assert np.linalg.cond(shrunk_covariance(returns[:5])) < 1e6, "fewer bars than assets"
    np.testing.assert_allclose(shrunk_covariance(np.zeros((9, 3))), 0.0)


@pytest.mark.parametrize("fill", ["next_open", "next_close", "same_close"])
def test_foresight_earns_every_rise_from_fill_to_fill(fill):
    panel = ragged_panel(num_bars=80)
    market = build_market(panel, ())
    rules = rules_for(market, fill=fill)
    assert list(rules) == [*RULES, ORACLE] and "sees the next bar" in ORACLE
    config = dataclasses.replace(FREE, fill=fill)
    ledger = baselines_by_rule(market, config, rules)[ORACLE]
    others = baselines_by_rule(market, config, {"buy and hold": buy_and_hold, "mean reversion": mean_reversion})
    assert all(ledger.equity[-1] > 1.2 * other.equity[-1] for other in others.values())
    assert (ledger.returns > -1e-6).mean() > (0.99 if fill != "next_open" else 0.6)
    # A bar of a wild future: what was decided before the bar it sees is the same.
    targets = rules[ORACLE](market, 0)
    later = panel.close.copy()
    later[60:] *= 1.5
    changed = build_market(
        panel.replace(close=later, high=np.fmax(panel.high, later), low=np.fmin(panel.low, later)), ()
    )
    np.testing.assert_array_equal(targets[:58], rules_for(changed, fill=fill)[ORACLE](changed, 0)[:58])


def test_rules_use_the_bars_before_the_span(ragged):
    whole = baselines_by_rule(ragged, FREE, {"momentum": momentum}, 300, 360)["momentum"]
    with pytest.warns(UserWarning, match="the market was cut from a longer one"):
        alone = baselines_by_rule(ragged.window(300, 360), FREE, {"momentum": momentum})["momentum"]
    assert whole.fills["bar"].iloc[0] == 1 and alone.fills.empty
    np.testing.assert_array_equal(whole.times, ragged.times[300:360])


def test_nothing_is_held_across_paths(ragged):
    """Two paths laid end to end: the first return of the second is not one."""
    half = BARS // 2
    ends = np.where(np.arange(BARS) < half, half - 1, BARS - 1).astype(np.int32)
    returns = total_returns(ragged.replace(path_end=ends))
    assert np.isnan(returns[half]).all() and np.isfinite(total_returns(ragged)[half]).any()
