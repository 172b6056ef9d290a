"""Stress overlays: what each does, on ragged and plain panels, daily and intraday; and what none may do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.panel import SCALES, Panel
from ploutos_jax.market.stress.apply import NO_SCENARIO, SCENARIOS, Shock, stress, stress_some
from tests.market.worlds import make_intraday_panel

PRICES = ("open", "high", "low", "close")
ARRAYS = (*PRICES, "volume", "tradable", "dividend", "split")


@pytest.fixture(scope="module")
def many(make_panel):
    """Forty assets that share a market, three years of days; float32, as inside a program."""
    panel = make_panel(num_bars=780, num_assets=40)
    rng = np.random.default_rng(5)
    betas = rng.uniform(0.5, 1.5, 40)
    shared = np.exp(np.outer(np.cumsum(rng.normal(0, 0.01, 780)), betas))
    before = np.concatenate([shared[:1], shared[:-1]])
    opens, close = panel.open * before, panel.close * shared
    high = np.maximum(opens, close) * panel.high / np.maximum(panel.open, panel.close)
    low = np.minimum(opens, close) * panel.low / np.minimum(panel.open, panel.close)
    prices = {"open": opens, "high": high, "low": low, "close": close}
    return panel.replace(**{name: x.astype(np.float32) for name, x in prices.items()})


def rows_of(shock: Shock) -> slice:
    return slice(int(shock.first), int(shock.last) + 1)


def assert_same(a, b, rows: slice, names: tuple[str, ...] = ARRAYS) -> None:
    for name in names:
        if getattr(a, name) is not None:
            ours, theirs = (np.asarray(getattr(panel, name)) for panel in (a, b))  # JAX compiles every new slice
            np.testing.assert_array_equal(ours[rows], theirs[rows], err_msg=name)


def simple_returns(panel: Panel) -> np.ndarray:
    close = np.asarray(panel.close, np.float64)
    return close[1:] / close[:-1] - 1


@functools.cache
def compiled_features():
    return functools.partial(build_market, features="minimal")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_before_the_shock_changes_and_bars_stay_bars(ragged, scenario):
    market = compiled_features()(ragged)
    for seed, severity in ((0, 0.0), (1, 0.37), (2, 1.0), (3, None)):
        stressed, shock = stress(jax.random.key(seed), ragged, scenario, severity)
        stressed.validate()
        first = int(shock.first)
        assert 330 // 8 <= first <= int(shock.last) < 330
        assert int(shock.scenario) == SCENARIOS.index(scenario)
        assert severity is None or float(shock.severity) == np.float32(severity)
        assert_same(ragged, stressed, slice(0, first))
        for name in SCALES:
            scale = getattr(stressed, name)
            assert scale is None or (np.delete(scale, np.r_[rows_of(shock)], axis=0) == 1).all()
        later = compiled_features()(stressed)
        for name in ("features", "atr", "volatility", "adv", *PRICES):
            after, before = (np.asarray(getattr(one, name)) for one in (later, market))
            np.testing.assert_array_equal(after[:first], before[:first], err_msg=name)
        changed = [not np.array_equal(getattr(ragged, n), getattr(stressed, n), equal_nan=True) for n in ARRAYS[:6]]
        assert any(changed)
        # What there was no bar of stays missing; nothing but a halt takes a bar away.
        exists, was = np.isfinite(stressed.close), np.isfinite(ragged.close)
        assert not (exists & ~was).any() and (scenario == "halt_and_delist" or (exists == was).all())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_returns_after_the_shock_are_those_of_the_path(many, scenario):
    stressed, shock = stress(jax.random.key(4), many, scenario, 0.2)
    after = int(shock.last) + 2
    assert after < 700
    ours, theirs = simple_returns(stressed)[after:], simple_returns(many)[after:]
    alive = np.isfinite(ours).all(axis=0)
    assert alive.sum() >= 37
    np.testing.assert_allclose(ours[:, alive], theirs[:, alive], atol=1e-6)


def test_the_same_key_gives_the_same_shock_and_another_one_another(many):
    one, again, other = (stress(jax.random.key(i), many, "prolonged_bear") for i in (0, 0, 1))
    assert_same(one[0], again[0], slice(None))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), one[1], again[1]))
    assert float(one[1].severity) != float(other[1].severity) and int(one[1].first) != int(other[1].first)


@pytest.mark.parametrize(("severity", "drop", "kept"), [(0.0, 0.05, 0.0), (0.5, 0.125, 0.25), (1.0, 0.20, 0.5)])
def test_a_flash_crash_of_a_day_lies_inside_one_bar(many, severity, drop, kept):
    stressed, shock = stress(jax.random.key(0), many, "flash_crash", severity)
    t = int(shock.first)
    assert int(shock.last) == t
    np.testing.assert_array_equal(stressed.open[t], many.open[t])
    np.testing.assert_allclose(stressed.low[t], many.low[t] * (1 - drop), rtol=1e-5)
    np.testing.assert_allclose(stressed.close[t], many.close[t] * (1 - drop) ** kept, rtol=1e-5)
    np.testing.assert_array_equal(stressed.spread_scale[t], np.float32(5 + 45 * severity))
    np.testing.assert_allclose(stressed.volume[t], many.volume[t] * (3 + 7 * severity), rtol=1e-6)
    np.testing.assert_array_equal(stressed.volume[t + 1 :], many.volume[t + 1 :])


def test_a_flash_crash_of_minutes_falls_and_recovers_bar_by_bar(make_panel):
    # 390 bars a session: a bar is a minute. At 0.5: 12.5 % down in 15.5 minutes, three quarters back in 32.5.
    panel = make_panel(num_bars=1560, num_assets=3)
    panel = panel.replace(sessions=(17_000 + np.arange(1560) // 390).astype(np.int32))
    stressed, shock = stress(jax.random.key(0), panel, "flash_crash", 0.5)
    assert int(shock.last) - int(shock.first) + 1 == 48
    level = np.log(np.asarray(stressed.close) / panel.close)[rows_of(shock)]
    minute = np.arange(1, 49)[:, None]
    depth = np.log(1 - 0.125)
    by_hand = np.where(
        minute <= 15.5, depth * minute / 15.5, depth * (1 - 0.75 * np.minimum((minute - 15.5) / 32.5, 1))
    )
    np.testing.assert_allclose(level, np.broadcast_to(by_hand, level.shape), atol=2e-6)
    lows = np.log(np.asarray(stressed.low) / panel.low)[rows_of(shock)]
    np.testing.assert_allclose(lows.min(axis=0), depth, atol=2e-6)
    np.testing.assert_allclose(stressed.close[-1] / panel.close[-1], 0.875**0.25, rtol=1e-5)


def test_low_liquidity_changes_costs_and_volume_alone(many):
    for severity, length, spread, volume in ((0.0, 20, 3, 0.3), (1.0, 120, 10, 0.05)):
        stressed, shock = stress(jax.random.key(1), many, "low_liquidity", severity)
        rows = rows_of(shock)
        assert rows.stop - rows.start == length
        assert_same(many, stressed, slice(None), PRICES)
        assert (stressed.spread_scale[rows] == spread).all() and (stressed.impact_scale[rows] == 2).all()
        np.testing.assert_allclose(stressed.volume[rows], many.volume[rows] * volume, rtol=1e-6)
        np.testing.assert_array_equal(stressed.volume[rows.stop :], many.volume[rows.stop :])


def test_volatility_grows_as_asked_and_wicks_with_it(many):
    grown, ranges, excess = [], [], []
    for seed in range(8):
        stressed, shock = stress(jax.random.key(seed), many, "extreme_volatility", 1.0)
        rows = slice(int(shock.first) - 1, int(shock.last))
        assert rows.stop - rows.start == 60
        before, after = simple_returns(many)[rows], simple_returns(stressed)[rows]
        grown.append(after.mean(axis=1).std() / before.mean(axis=1).std())
        ranges.append(np.log(stressed.high / stressed.low)[rows].mean() / np.log(many.high / many.low)[rows].mean())
        excess.append(after.mean() / 4 - before.mean())
    # The market's deviation x 4, and some jumps; of a bar's range a good part is the asset's own, x 2.
    assert 3.9 < np.median(grown) < 5.5
    assert 2.0 < np.median(ranges) < 3.5
    # Expected returns grow with the deviation, jumps of -0.5 % 12 times a year (times 1/4) apart.
    assert abs(np.mean(excess)) < 1e-3


def mean_correlation(panel: Panel, shock: Shock) -> float:
    returns = simple_returns(panel)[int(shock.first) - 1 : int(shock.last)]
    return float(np.corrcoef(returns.T)[np.triu_indices(returns.shape[1], 1)].mean())


def test_correlations_rise_to_one_or_break_down(make_panel):
    # As in the synthetic market: 1 % a day of the market, 1.3 % of the asset's own.
    rng = np.random.default_rng(0)
    market, betas = rng.normal(0, 0.01, 780), rng.uniform(0.7, 1.3, 40)
    close = 50 * np.exp(np.cumsum(np.outer(market, betas) + rng.normal(0, 0.013, (780, 40)), axis=0))
    opens = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(opens, close) * 1.002, np.minimum(opens, close) * 0.998
    panel = make_panel(num_bars=780, num_assets=40).replace(open=opens, high=high, low=low, close=close)
    usual, together, apart = [], [], []
    for seed in range(4):
        one, shock = stress(jax.random.key(seed), panel, "all_correlated", 1.0)
        usual.append(mean_correlation(panel, shock))
        together.append(mean_correlation(one, shock))
        other, shock = stress(jax.random.key(seed), panel, "correlation_breakdown", 1.0)
        apart.append(mean_correlation(other, shock))
    assert 0.25 < np.mean(usual) < 0.5
    assert 0.85 < np.mean(together) < 0.95
    assert -0.05 < np.mean(apart) < 0.1


def test_a_gap_falls_between_close_and_open_by_beta_and_one_name_more(many):
    stressed, shock = stress(jax.random.key(3), many, "gap_down", 0.5)
    t = int(shock.first)
    assert int(shock.last) == t
    factor = np.asarray(stressed.open[t] / many.open[t], np.float64)
    for name in PRICES:
        np.testing.assert_allclose(
            getattr(stressed, name)[t:] / getattr(many, name)[t:], factor[None].repeat(780 - t, 0), rtol=1e-5
        )
    returns = simple_returns(many)[: t - 1]
    market = returns.mean(axis=1)
    betas = (returns * market[:, None]).sum(axis=0) / (market**2).sum()
    name = int(np.argmin(np.log(factor) - betas * np.log(1 - 0.075)))
    others = np.delete(np.arange(40), name)
    np.testing.assert_allclose(np.log(factor[others]) / np.log(1 - 0.075), betas[others], atol=0.15)
    assert np.log(factor[name]) == pytest.approx(np.log(1 - 0.175) + betas[name] * np.log(1 - 0.075), abs=0.02)


def test_a_gap_of_minutes_comes_overnight(panel):
    intraday = make_intraday_panel(panel)
    starts = np.flatnonzero(np.diff(intraday.sessions, prepend=-1))
    found = {int(stress(jax.random.key(seed), intraday, "gap_down")[1].first) for seed in range(8)}
    assert found <= set(starts.tolist()) and len(found) > 3


def test_a_bear_market_loses_what_it_should_with_rallies_on_the_way(many):
    rally = 0
    for severity, length, per_day in ((0.0, 250, 5e-4), (0.6, 520, 11e-4)):
        stressed, shock = stress(jax.random.key(2), many, "prolonged_bear", severity)
        first, last = int(shock.first), int(shock.last)
        assert last - first + 1 == length
        drift = np.log(np.asarray(stressed.close, np.float64) / many.close)
        total = drift[last].mean()
        assert total == pytest.approx(-(per_day + 3e-4) * length, rel=0.03)
        daily = np.diff(drift[first - 1 : last + 1].mean(axis=1))
        rising = daily > 1e-4
        gains = [daily[i : i + 20].sum() for i in np.flatnonzero(np.diff(rising.astype(int), prepend=0) == 1)]
        assert len(gains) >= length // 100 - 1 and all(0.08 < gain < 0.19 for gain in gains)
        rally += len(gains)
    assert rally >= 5


@pytest.mark.thorough
def test_halted_assets_do_not_trade_and_reopen_elsewhere(many):
    stressed, shock = stress(jax.random.key(6), many, "halt_and_delist", 1.0)
    first, last = int(shock.first), int(shock.last)
    hit = np.flatnonzero(shock.assets)
    assert len(hit) == 8 and last - first + 1 == 20
    gone = ~np.isfinite(stressed.close)
    assert gone[first : last + 1, hit].all() and not np.delete(gone, hit, axis=1).any()
    assert not stressed.tradable[gone].any() and (stressed.volume[gone] == 0).all()
    ended = [a for a in hit if gone[last + 1 :, a].all()]
    assert len(ended) == 1
    others = [a for a in hit if a not in ended]
    moved = np.asarray(stressed.open[last + 1] / many.open[last + 1])[others]
    np.testing.assert_allclose(np.abs(moved - 1), 0.4, rtol=1e-5)
    assert 0 < (moved > 1).sum() < 7
    market = compiled_features()(stressed)
    assert np.argwhere(market.delisted).tolist() == [[first, ended[0]]]


def test_scenarios_compose(many):
    once, _ = stress(jax.random.key(0), many, "low_liquidity", 0.0, between=(300, 301))
    twice, _ = stress(jax.random.key(1), once, "flash_crash", 0.0, between=(305, 306))
    assert [float(twice.spread_scale[t, 0]) for t in (304, 305, 306)] == [3, 15, 3]
    np.testing.assert_allclose(twice.volume[305], many.volume[305] * 0.9, rtol=1e-6)


def test_paths_have_shocks_of_their_own_and_never_meet(many):
    severity = np.array([0.1, 0.9, 0.5], np.float32)
    for scenario in ("extreme_volatility", "halt_and_delist"):
        stressed, shock = stress(jax.random.key(0), many, scenario, severity, num_paths=3)
        assert shock.assets.shape == (3, 40) and (np.asarray(shock.severity) == severity).all()
        place, end = np.divmod(np.asarray(shock.first), 260)[0], np.asarray(shock.last) // 260
        assert place.tolist() == end.tolist() == [0, 1, 2]
        # Another path in the middle changes nothing of the others.
        moved = {name: getattr(many, name).copy() for name in (*PRICES, "volume")}
        for x in moved.values():
            x[260:520] *= np.linspace(1, 3, 260, dtype=np.float32)[:, None]
        again, _ = stress(jax.random.key(0), many.replace(**moved), scenario, severity, num_paths=3)
        for rows in (slice(0, 260), slice(520, 780)):
            assert_same(stressed, again, rows)


@pytest.mark.thorough
def test_some_paths_are_stressed_and_the_others_left_alone(many):
    run = jax.jit(lambda key, chance: stress_some(key, many.replace(labels=None), chance, num_paths=6))
    alone, shock = run(jax.random.key(0), 0.0)
    assert (shock.scenario == NO_SCENARIO).all() and (shock.last < shock.first).all()
    assert_same(alone, many, slice(None))
    assert (alone.spread_scale == 1).all() and (alone.impact_scale == 1).all()
    seen: set[int] = set()
    for seed in range(8):
        stressed, shock = run(jax.random.key(seed), 0.5)
        hit = np.asarray(shock.scenario) >= 0
        seen |= set(np.asarray(shock.scenario)[hit].tolist())
        for path in range(6):
            rows = slice(130 * path, 130 * (path + 1))
            first = int(shock.first[path]) if hit[path] else rows.stop
            assert rows.start < first <= rows.stop
            assert_same(stressed, many, slice(rows.start, first))
        stressed.validate()
    assert len(seen) >= 6
    assert 10 < sum(int((run(jax.random.key(seed), 0.5)[1].scenario >= 0).sum()) for seed in range(8)) < 38


@pytest.mark.thorough
def test_one_asset_and_few_bars_are_enough(make_panel):
    panel = make_panel(num_bars=2, num_assets=1)
    for scenario in SCENARIOS:
        stressed, shock = stress(jax.random.key(0), panel, scenario, 1.0)
        stressed.validate()
        assert (int(shock.first), int(shock.last)) == (1, 1)


def test_what_cannot_be_is_refused(panel):
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"Unknown scenario 'flash-crash'; did you mean 'flash_crash'\?"):
        stress(key, panel, "flash-crash")
    with pytest.raises(ValueError, match=r"Unknown scenario 'boom'"):
        stress_some(key, panel, 0.5, scenarios=("boom",), num_paths=1)
    for severity in (1.5, -0.1, np.nan, np.array([0.1, 0.2])):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            stress(key, panel, "gap_down", severity)
    for between in ((0, 5), (5, 5), (5, 400)):
        with pytest.raises(ValueError, match=r"must be rows \(from, to\) of a path of 330 bars"):
            stress(key, panel, "gap_down", between=between)
    with pytest.raises(ValueError, match="does not consist of 4 paths of equal length"):
        stress(key, panel, "gap_down", num_paths=4)


@pytest.mark.realdata
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_real_markets_take_every_scenario(data_dir, scenario):
    panel = load_real(data_dir)
    stressed, shock = stress(jax.random.key(0), panel, scenario, 0.7)
    stressed.validate()
    assert_same(panel, stressed, slice(0, int(shock.first)))
    assert int(shock.assets.sum()) >= (60 if scenario == "halt_and_delist" else 400)
    assert jnp.isfinite(compiled_features()(stressed).features).all()


@functools.cache
def load_real(data_dir) -> Panel:
    return load_panel(data_dir / "sp500_daily_2013_2018.parquet")
