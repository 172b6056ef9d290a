"""Features that know sessions: intraday against plain loops, and daily bars as sessions of one bar."""

import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.features.catalog import FEATURES
from ploutos_jax.market.features.causality import perturb_after
from ploutos_jax.market.features.compute import compute_features
from ploutos_jax.market.features.indicators import levels
from ploutos_jax.market.io.load import load_panel
from tests.market.worlds import make_intraday_panel

PIVOTS = ("pivot", "pivot_r1", "pivot_s1", "pivot_r2", "pivot_s2")
PRICED = (*PIVOTS, "gap", "overnight_share_20", "close_over_vwap_14")
NAMES = (*PRICED, "session_progress")
CHOSEN = tuple(feature for feature in FEATURES if feature.name in NAMES)


def session_features(panel) -> dict[str, np.ndarray]:
    table = np.asarray(compute_features(panel, CHOSEN))
    return {feature.name: table[..., i] for i, feature in enumerate(CHOSEN)}


def by_loop(panel, asset: int) -> dict[str, np.ndarray]:
    """The same of one asset, bar by bar over its own bars, NaN where not known."""
    rows = np.flatnonzero(np.isfinite(np.asarray(panel.close)[:, asset]))
    opens, high, low, close, volume = (
        np.asarray(getattr(panel, n), float)[rows, asset] for n in ("open", "high", "low", "close", "volume")
    )
    session = np.asarray(panel.sessions)[rows]
    first = np.array([np.flatnonzero(session == s)[0] for s in session])
    values = {name: np.full(panel.num_bars, np.nan) for name in NAMES}
    night, day = np.full(len(close), np.nan), np.full(len(close), np.nan)
    for i in range(1, len(close)):
        opens_session = first[i] == i
        night[i] = np.log(opens[i] / close[i - 1]) if opens_session else 0
        day[i] = np.log(close[i] / opens[i]) if opens_session else np.log(close[i] / close[i - 1])
    for i, row in enumerate(rows):
        so_far = slice(first[i], i + 1)
        if i >= 13:
            average = (
                np.sum(volume[so_far] * (high + low + close)[so_far] / 3) / volume[so_far].sum()
                if volume[so_far].sum()
                else close[i]
            )
            values["close_over_vwap_14"][row] = close[i] / average - 1
        if i >= 20:
            nights, days = (night[i - 19 : i + 1] ** 2).sum(), (day[i - 19 : i + 1] ** 2).sum()
            values["overnight_share_20"][row] = nights / (nights + days)
        if first[i] == 0:
            continue
        last = session == session[first[i] - 1]
        longest = max((session == s).sum() for s in set(session[: first[i]]))
        values["session_progress"][row] = min((i - first[i] + 1) / longest, 1)
        top, bottom, end = high[last].max(), low[last].min(), close[first[i] - 1]
        values["gap"][row] = (opens[first[i]] - end) / (top - bottom)
        p = (top + bottom + end) / 3
        lines = dict(zip(PIVOTS, (p, 2 * p - bottom, 2 * p - top, p + top - bottom, p - top + bottom), strict=True))
        for name, level in lines.items():
            if i >= 14:
                values[name][row] = (level - close[i]) / (top - bottom)
    return {name: np.clip(x, -10, 10) for name, x in values.items()}


@pytest.mark.parametrize("name", NAMES)
def test_five_minute_bars_with_gaps_and_a_late_listing(name, ragged):
    panel = make_intraday_panel(ragged.replace(split=None, dividend=None))
    values = session_features(panel)[name]
    for asset in range(panel.num_assets):
        truth = by_loop(panel, asset)[name]
        assert np.isfinite(truth).sum() > 200
        np.testing.assert_allclose(values[:, asset], np.nan_to_num(truth), rtol=1e-4, atol=1e-5)


def test_the_present_session_does_not_move_its_own_pivots(ragged):
    panel = make_intraday_panel(ragged.replace(split=None, dividend=None))
    high, low, close = (jnp.asarray(getattr(panel, name), jnp.float32)[:, :1] for name in ("high", "low", "close"))
    starts = levels.session_starts(jnp.asarray(panel.sessions)[:, None])
    for level in levels.previous_session(high, low, close, starts):
        held = np.asarray(level)[:, 0]
        changes = np.flatnonzero(~np.isclose(held[1:], held[:-1], equal_nan=True)) + 1
        assert set(changes) <= set(np.flatnonzero(np.asarray(starts)[:, 0]))
        assert len(changes) > 20


@pytest.mark.parametrize("t", [3, 40, 170, 300])
def test_no_session_feature_looks_ahead(t, ragged):
    panel = make_intraday_panel(ragged.replace(split=None, dividend=None))
    before, after = (session_features(p) for p in (panel, perturb_after(panel, t, np.random.default_rng(t))))
    for name in NAMES:
        np.testing.assert_array_equal(after[name][: t + 1], before[name][: t + 1], err_msg=name)
    for name in PRICED:
        assert (after[name][t + 1 :] != before[name][t + 1 :]).any(), name


def test_a_daily_bar_is_a_session_of_one_bar(panel):
    values = session_features(panel)
    close, opens = (np.asarray(getattr(panel, name)) for name in ("close", "open"))
    night, day = np.log(opens[1:] / close[:-1]), np.log(close[1:] / opens[1:])
    share = (night[-20:] ** 2).sum(axis=0) / (night[-20:] ** 2 + day[-20:] ** 2).sum(axis=0)
    np.testing.assert_allclose(values["overnight_share_20"][-1], share, rtol=1e-4)
    spread = values["pivot_r2"][-1] - values["pivot_s2"][-1]
    range_over_pivots = values["pivot_r1"][-1] - values["pivot_s1"][-1]
    np.testing.assert_allclose(range_over_pivots * 2, spread, rtol=1e-3)
    np.testing.assert_array_equal(values["session_progress"][1:], 1)


@pytest.mark.realdata
@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bars", ["minutes", "hours"])
def test_real_bars_within_sessions(bars, name, request):
    panel, values, truth = request.getfixturevalue(bars)
    assert 15 < len(np.unique(panel.sessions)) < panel.num_bars / 4
    known = np.isfinite(truth[name])
    assert known.mean() > 0.9
    np.testing.assert_allclose(values[name][known, 0], truth[name][known], rtol=1e-3, atol=2e-4)
    assert values[name][known].std() > 0


@pytest.fixture(scope="module")
def minutes(data_dir):
    panel = load_panel(str(data_dir / "spy_1m_2024_2025.parquet")).window(0, 8000)
    return panel, session_features(panel), by_loop(panel, 0)


@pytest.fixture(scope="module")
def hours(data_dir):
    panel = load_panel(str(data_dir / "us_hourly_1998_2021.parquet"), tickers=["AIG"]).window(
        "2007-01-01", "2010-12-31"
    )
    return panel, session_features(panel), by_loop(panel, 0)


@pytest.mark.slow
@pytest.mark.realdata
def test_a_year_of_minutes_has_every_feature(data_dir):
    market = build_market(load_panel(str(data_dir / "spy_1m_2024_2025.parquet")))
    assert market.features.shape == (102_236, 1, 87)
    assert jnp.isfinite(market.features).all()
    assert (market.features[2000:, 0, -2:] == 1).all()
    still = [
        name for name, x in zip(market.feature_names[:-2], market.features[2000:, 0].T, strict=False) if x.std() == 0
    ]
    assert still == ["beta_60", "return_rank_20"], "an asset alone is its own market"
