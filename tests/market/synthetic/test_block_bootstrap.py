"""Block bootstrap: whole cross-sections of real bars in blocks, whose returns are those of the rows drawn."""

import dataclasses

import jax
import numpy as np
import pytest

from ploutos_jax.market.adjust import total_return
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.instrument import Instrument
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.synthetic.block_bootstrap import bootstrap_panel, draw_rows, prepare_blocks, whole_sessions
from tests.market.worlds import make_intraday_panel

PRICES = ("open", "high", "low", "close")


def own_log_returns(panel) -> dict[str, np.ndarray]:
    """Return log prices less that of the asset's last close before it, NaN without one, in plain loops."""
    prices = {name: np.asarray(getattr(panel, name), np.float64) for name in PRICES}
    found = {name: np.full(prices["close"].shape, np.nan) for name in PRICES}
    for asset in range(panel.num_assets):
        last = np.nan
        for t in range(panel.num_bars):
            if not np.isfinite(prices["close"][t, asset]):
                continue
            for name in PRICES:
                found[name][t, asset] = np.log(prices[name][t, asset] / last)
            last = prices["close"][t, asset]
    return found


@pytest.fixture(scope="module")
def drawn(ragged):
    source = prepare_blocks(ragged)
    key = jax.random.key(3)
    return source, jax.random.split(key, 2), bootstrap_panel(key, source.blocks, 200, 15.0, num_paths=2)


@pytest.mark.thorough
def test_bars_are_those_of_the_rows_drawn(ragged, drawn):
    _, keys, panel = drawn
    panel.validate()
    real = own_log_returns(total_return(ragged))
    exists = np.isfinite(np.asarray(ragged.close))
    for path, key in enumerate(keys):
        rows = np.asarray(draw_rows(key, 329, 200, 15.0)) + 1  # the first row has no close before it
        part = panel.window(200 * path, 200 * path + 200)
        np.testing.assert_array_equal(np.isfinite(part.close), exists[rows])
        np.testing.assert_array_equal(part.tradable, np.asarray(ragged.tradable)[rows])
        made = own_log_returns(part)
        for name in PRICES:
            known = np.isfinite(made[name]) & np.isfinite(real[name][rows])
            assert known.sum() > 500
            np.testing.assert_allclose(made[name][known], real[name][rows][known], atol=2e-6)


@pytest.mark.thorough
def test_blocks_are_geometric_and_wrap_around():
    rows = np.asarray(draw_rows(jax.random.key(0), 50, 200_000, 8.0))
    assert rows.min() == 0 and rows.max() == 49
    follows = rows[1:] == (rows[:-1] + 1) % 50
    # A new block happens to go on where the last one ended in 1 of 50 cases.
    assert 1 - follows.mean() == pytest.approx(1 / 8 * 49 / 50, rel=0.03)
    assert np.bincount(rows).std() / np.bincount(rows).mean() < 0.1
    assert (np.asarray(draw_rows(jax.random.key(0), 50, 100, 1e9)) == (rows[0] + np.arange(100)) % 50).all()


def test_prices_begin_at_the_last_close_and_volume_at_its_usual_level(ragged, drawn):
    _, _, panel = drawn
    first = np.array([np.asarray(panel.close)[np.isfinite(panel.close[:, a]), a][0] for a in range(4)])
    last = np.array([ragged.close[np.isfinite(ragged.close[:, a]), a][-1] for a in range(4)])
    np.testing.assert_allclose(first, last, rtol=0.2)
    made = np.nanmean(np.asarray(panel.close) * np.asarray(panel.volume), axis=0)
    real = np.nanmean(ragged.close * ragged.volume, axis=0)
    np.testing.assert_allclose(made, real, rtol=0.5)


def test_draws_run_in_jit_and_keep_their_calendar(drawn):
    source, _, panel = drawn
    draw = jax.jit(lambda key, blocks: bootstrap_panel(key, blocks, 200, 15.0, num_paths=2))
    one, other = (draw(jax.random.key(i), source.blocks) for i in (3, 4))
    np.testing.assert_allclose(one.close, panel.close, rtol=1e-5)
    assert np.nanmax(np.abs(np.asarray(one.close) - other.close)) > 1
    np.testing.assert_array_equal(one.sessions, other.sessions)
    days = np.busday_offset("2010-01-04", np.arange(200)).astype(int)
    np.testing.assert_array_equal(one.sessions, np.tile(days, 2))
    np.testing.assert_array_equal(one.path_end, np.repeat([199, 399], 200))


def test_labels_span_what_was_drawn_from(ragged, drawn):
    source, _, panel = drawn
    labels = source.drawn_labels(400)
    assert panel.replace(labels=labels).validate().symbols == ragged.symbols
    assert labels.times[0] == ragged.times[1] and labels.times[-1] == ragged.times[-1]
    assert source.first_day == str(ragged.times[1])[:10]


@pytest.mark.thorough
def test_intraday_bars_are_drawn_by_session(panel, make_panel):
    sessions = (17_000 + np.arange(330) // 10).astype(np.int32)
    sessions[40:44] = sessions[39]  # a session of 14 bars, and one of 6
    labels = panel.labels
    times = np.datetime64("2016-07-18T14:30", "ns") + (sessions - 17_000) * np.timedelta64(1, "D")
    times = times + np.concatenate([np.arange(n) for n in np.bincount(sessions - 17_000)]) * np.timedelta64(5, "m")
    intraday = panel.replace(sessions=sessions, labels=type(labels)(labels.symbols, labels.sectors, times))
    source = prepare_blocks(intraday)
    assert (source.blocks.num_sessions, source.blocks.session_bars) == (30, 10)
    assert whole_sessions(127, source.blocks) == 120
    made = bootstrap_panel(jax.random.key(0), source.blocks, 120, 4.0)
    assert np.unique(made.sessions, return_counts=True)[1].tolist() == [10] * 12
    # Rows of a session stay together and in order: its first bar opens where the drawn session's did.
    opened = np.log(np.asarray(made.open[10::10], np.float64) / np.asarray(made.close[9:-1:10], np.float64))
    known = np.asarray(source.blocks.open)[:, 0]
    assert all(np.abs(known - row).max(axis=1).min() < 2e-6 for row in opened)
    with pytest.raises(ValueError, match="num_bars=127 of a path must be a multiple of the 10 bars of a session"):
        bootstrap_panel(jax.random.key(0), source.blocks, 127)
    with pytest.raises(ValueError, match="has 1 sessions to draw from"):
        prepare_blocks(make_intraday_panel(make_panel(num_bars=14)))


@pytest.mark.thorough
@pytest.mark.realdata
def test_a_real_cross_section_keeps_its_correlations_and_clusters(data_dir):
    real = load_panel(data_dir / "sp500_daily_2013_2018.parquet", tickers=("AAPL", "MSFT", "XOM", "JPM", "GE", "T"))
    source = prepare_blocks(real)
    made = bootstrap_panel(jax.random.key(0), source.blocks, 5000, 60.0).replace(labels=source.drawn_labels(5000))
    made.validate()
    returns = [np.diff(np.log(np.asarray(p.close, np.float64)), axis=0) for p in (total_return(real), made)]
    returns = [x[np.isfinite(x).all(axis=1)] for x in returns]
    np.testing.assert_allclose(np.corrcoef(returns[1].T), np.corrcoef(returns[0].T), atol=0.08)
    np.testing.assert_allclose(returns[1].std(axis=0), returns[0].std(axis=0), rtol=0.1)
    market = build_market(made, "minimal")
    assert np.isfinite(market.features).all()


def drawn_with(source, **varied):
    return bootstrap_panel(jax.random.key(3), source.blocks, 200, 15.0, num_paths=6, **varied)


@pytest.mark.thorough
def test_a_path_holds_tickers_drawn_at_random(ragged):
    """Each column of a path is, bar for bar, one of the columns that the same key draws of all tickers."""
    source = prepare_blocks(ragged)
    whole, some = drawn_with(source), drawn_with(source, path_tickers=3)
    assert some.close.shape == (1200, 3)
    chosen = []
    for path in range(6):
        rows = slice(200 * path, 200 * path + 200)
        every, own = (np.asarray(panel.close)[rows] for panel in (whole, some))
        places = [
            [int(a) for a in range(4) if np.array_equal(own[:, i], every[:, a], equal_nan=True)] for i in range(3)
        ]
        assert all(len(place) == 1 for place in places), "one ticker each"
        columns = [place[0] for place in places]
        assert len(set(columns)) == 3, "without replacement"
        for name in (*PRICES, "volume", "tradable"):
            np.testing.assert_array_equal(getattr(some, name)[rows], getattr(whole, name)[rows][:, columns], name)
        chosen.append(tuple(columns))
    assert len(set(chosen)) > 3 and set(np.ravel(chosen)) == {0, 1, 2, 3}


@pytest.mark.thorough
def test_every_ticker_is_as_likely_as_any_other(make_panel):
    source = prepare_blocks(make_panel(num_bars=4, num_assets=5))
    sizes = {"num_paths": 3000, "path_tickers": 2}
    panel = bootstrap_panel(jax.random.key(0), source.blocks, 1, 1.0, **sizes)
    # Of one bar, volume times close less rounding is the usual trade of the ticker and of its row: 15 values.
    usual = np.asarray(source.blocks.traded_cash) * np.asarray(source.blocks.volume)[:, 0]
    cash = np.asarray(panel.close) * np.asarray(panel.volume)
    ticker = np.abs(np.log(cash)[..., None, None] - np.log(usual)).min(axis=-2).argmin(axis=-1)
    counts = np.bincount(ticker.ravel(), minlength=5)
    assert counts.sum() == 6000 and (np.abs(counts - 1200) < 4.5 * np.sqrt(1200 * 0.8)).all()


@pytest.mark.thorough
def test_only_tickers_that_trade_are_drawn(ragged):
    idle = ragged.replace(tradable=ragged.tradable & (np.arange(4) != 1))
    source = prepare_blocks(idle).with_bars()
    assert source.labels.symbols == ("T0", "T2", "T3") and source.blocks.num_assets == 3
    labels = source.drawn_labels(1200, 2)
    assert labels.symbols == ("any-1", "any-2") and labels.are_places and set(labels.sectors) == {"Unknown"}
    assert len(labels.instruments) == 2 and "2 of 3 tickers" in labels.notes[-1]
    drawn_with(source, path_tickers=2).replace(labels=labels).validate()
    with pytest.raises(ValueError, match=r"path_tickers=4 must lie in \[1, 3\]: the bars hold 3 tickers that trade"):
        drawn_with(source, path_tickers=4)


def test_costs_of_places_are_those_of_all_their_tickers(ragged):
    source = prepare_blocks(ragged)
    adjusted = dataclasses.replace(source, labels=dataclasses.replace(source.labels, adjusted=("T1",)))
    labels = adjusted.drawn_labels(1200, 2)
    assert labels.adjusted == labels.symbols and "1 of them have adjusted prices" in labels.notes[-1]
    kinds = (Instrument("futures", "by name"), *source.labels.instruments[1:])
    mixed = dataclasses.replace(source, labels=dataclasses.replace(source.labels, instruments=kinds))
    with pytest.raises(ValueError, match="path_tickers=2: the tickers are of several kinds"):
        mixed.drawn_labels(1200, 2)


def test_returns_are_scaled_about_their_mean(ragged):
    """Path by path in float64: close to close, and open, high and low from the close before; nothing else moves."""
    source = prepare_blocks(ragged)
    plain, scaled = drawn_with(source), drawn_with(source, volatility_jitter=0.3)
    scaled.validate()
    for name in ("volume", "tradable", "sessions"):
        if name != "volume":  # dollars of a bar are kept, shares follow the price
            np.testing.assert_array_equal(getattr(plain, name), getattr(scaled, name), name)
    cash = [np.nan_to_num(np.asarray(p.close, np.float64) * np.asarray(p.volume)) for p in (plain, scaled)]
    np.testing.assert_allclose(cash[1], cash[0], rtol=1e-3)
    logs, exists = np.asarray(source.blocks.close, np.float64)[:, 0], np.asarray(source.blocks.exists)[:, 0]
    mean = np.where(exists, logs, 0).sum(axis=0) / exists.sum(axis=0)
    factors = []
    for path in range(6):
        before, after = (own_log_returns(p.window(200 * path, 200 * path + 200)) for p in (plain, scaled))
        moved = [x["close"] - mean for x in (before, after)]
        known = np.isfinite(moved[0])
        factor = (moved[0][known] * moved[1][known]).sum() / np.square(moved[0][known]).sum()
        factors.append(factor)
        for name in PRICES:
            expected = mean + factor * (before[name] - mean)
            np.testing.assert_allclose(after[name], expected, atol=5e-6, err_msg=name)
    assert min(factors) >= 0.7 and max(factors) <= 1.3 and np.ptp(factors) > 0.15


@pytest.mark.thorough
def test_no_jitter_is_a_factor_of_one(ragged):
    source = prepare_blocks(ragged)
    np.testing.assert_allclose(drawn_with(source, volatility_jitter=0.0).close, drawn_with(source).close, rtol=1e-5)
