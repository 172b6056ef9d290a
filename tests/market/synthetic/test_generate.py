"""Synthetic markets: consistent bars, the numbers of a real market, and nothing in them that a rule could earn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.sectors import GICS_SECTORS
from ploutos_jax.market.synthetic.generate import synthetic_panel
from ploutos_jax.market.synthetic.params import SyntheticParams
from tests.marks import thorough_but

NUM_PANELS, NUM_ASSETS, NUM_BARS = 4, 30, 2520


@pytest.fixture(scope="module")
def whole():
    """One panel of four paths."""
    return synthetic_panel(jax.random.key(0), NUM_ASSETS, NUM_BARS, num_paths=NUM_PANELS)


@pytest.fixture(scope="module")
def panels(whole):
    """The four paths, one by one."""
    return [whole.window(i * NUM_BARS, (i + 1) * NUM_BARS) for i in range(NUM_PANELS)]


@pytest.fixture(scope="module")
def returns(panels):
    """`[T-1, A]` log returns of the four paths."""
    return [np.diff(np.log(np.asarray(panel.close, np.float64)), axis=0) for panel in panels]


@pytest.mark.thorough
def test_bars_are_consistent(whole):
    whole.validate()
    assert whole.spread_scale is not None and whole.path_end is not None
    opens, high, low, close, volume, spread = (
        np.asarray(getattr(whole, name)) for name in ("open", "high", "low", "close", "volume", "spread_scale")
    )
    assert (high >= np.maximum(opens, close)).all() and (low <= np.minimum(opens, close)).all()
    assert (low > 0).all() and np.isfinite(high).all()
    assert (volume > 0).all() and np.array_equal(volume, np.round(volume))
    assert np.asarray(whole.tradable).all()
    assert (spread > 0).all() and spread.max() < 20 and 0.7 < np.median(spread) < 1.1


def test_labels_sessions_and_sectors(whole, panels):
    days = whole.times.astype("datetime64[D]")
    assert days[0] == np.datetime64("2010-01-04")
    assert np.is_busday(days).all() and (np.diff(days) > np.timedelta64(0, "D")).all()
    np.testing.assert_array_equal(np.asarray(whole.sessions), days.astype(np.int64))
    assert len(set(whole.symbols)) == NUM_ASSETS and whole.symbols == panels[2].symbols
    # No exchange has such tickers: what is made up does not pass for a company.
    assert all(symbol[:4].isalpha() and symbol[4:] == ".SIM" for symbol in whole.symbols)
    assert set(whole.sectors) == set(GICS_SECTORS)
    np.testing.assert_array_equal(whole.path_end, np.repeat(np.arange(1, 5) * NUM_BARS - 1, NUM_BARS))
    np.testing.assert_array_equal(panels[2].path_end, np.full(NUM_BARS, NUM_BARS - 1))


@pytest.mark.thorough
def test_the_key_decides(whole, panels):
    again = synthetic_panel(jax.random.key(0), NUM_ASSETS, NUM_BARS, num_paths=NUM_PANELS)
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    assert not np.array_equal(panels[0].close, panels[1].close)
    other = synthetic_panel(jax.random.key(1), NUM_ASSETS, NUM_BARS, num_paths=NUM_PANELS)
    assert not np.isclose(np.log(other.close[100]), np.log(whole.close[100])).any()


def test_volatility_and_correlation_are_those_of_stocks(returns):
    annual = np.concatenate([each.std(axis=0) for each in returns]) * np.sqrt(252)
    assert annual.min() > 0.10 and annual.max() < 0.80
    assert 0.20 < annual.mean() < 0.40
    apart = ~np.eye(NUM_ASSETS, dtype=bool)
    correlation = np.mean([np.corrcoef(each.T)[apart].mean() for each in returns])
    assert 0.2 < correlation < 0.5
    sector = np.arange(NUM_ASSETS) % len(GICS_SECTORS)
    same = (sector[:, None] == sector) & apart
    inside, across = (np.mean([np.corrcoef(each.T)[pairs].mean() for each in returns]) for pairs in (same, apart))
    assert inside > across + 0.05
    assert 0.10 < np.mean([each.mean(axis=1).std() for each in returns]) * np.sqrt(252) < 0.25


def test_tails_are_fat_and_volatility_clusters(returns):
    for each in returns:
        scaled = (each - each.mean(axis=0)) / each.std(axis=0)
        assert (scaled**4).mean() > 5
    size = np.concatenate([np.abs(each) for each in returns], axis=1)
    assert lag_correlation(size).mean() > 0.1


def lag_correlation(series):
    """Correlation of `[T, N]` series with themselves one bar later, `[N]`."""
    centred = series - series.mean(axis=0)
    return (centred[1:] * centred[:-1]).mean(axis=0) / (centred**2).mean(axis=0)


def test_returns_do_not_foretell_the_next(returns, panels):
    """Neither for an asset, nor for the whole market, nor from the night to the day."""
    bound = 4 / np.sqrt(NUM_BARS * NUM_PANELS)
    market = np.stack([each.mean(axis=1) for each in returns], axis=1)
    # Fat tails that come in clusters widen the spread of a correlation to about twice that of normal noise, and the
    # drift of a regime lasts as long as the regime.
    assert abs(lag_correlation(market).mean()) < 2 * bound
    assert abs(np.mean([lag_correlation(each).mean() for each in returns])) < bound
    nights, days = [], []
    for panel in panels:
        opens, close = (np.log(np.asarray(x, np.float64)) for x in (panel.open, panel.close))
        nights.append((opens[1:] - close[:-1]).mean(axis=1))
        days.append((close - opens)[1:].mean(axis=1))
    night, day = np.concatenate(nights), np.concatenate(days)
    assert abs(np.corrcoef(night, day)[0, 1]) < 2 * bound
    assert 0.3 < night.std() / np.hypot(night.std(), day.std()) < 0.7


def test_volume_follows_the_size_of_returns(panels, returns):
    for panel, each in zip(panels, returns, strict=True):
        log_volume = np.log(np.asarray(panel.volume, np.float64))[1:]
        assert 0.45 < np.median(lag_correlation(log_volume)) < 0.65
        assert 0.35 < np.median(log_volume.std(axis=0)) < 0.5
        related = [np.corrcoef(np.abs(each[:, i]), log_volume[:, i])[0, 1] for i in range(NUM_ASSETS)]
        assert 0.15 < np.median(related) < 0.45
        spread = np.log(np.asarray(panel.spread_scale))[1:]
        market = np.abs(each.mean(axis=1))
        assert np.corrcoef(spread.mean(axis=1), market)[0, 1] > 0.2


@pytest.fixture(scope="module")
def driftless():
    """A dozen paths without drift, made fair."""
    params = SyntheticParams(drift=(0.0, 0.0, 0.0), fairness=1.0)
    panels = [synthetic_panel(jax.random.key(100 + i), NUM_ASSETS, NUM_BARS, params, num_paths=4) for i in range(3)]
    return [panel.window(i * NUM_BARS, (i + 1) * NUM_BARS) for panel in panels for i in range(4)]


@pytest.mark.parametrize("level", thorough_but([0.02], [0.01, 0.02, 0.04]))
def test_a_level_touched_tells_nothing_of_the_close(driftless, level):
    """Leaving at a level inside the bar is worth as much as waiting for the close."""
    opens, high, low, close = (
        np.concatenate([np.asarray(getattr(panel, name), np.float64) for panel in driftless])
        for name in ("open", "high", "low", "close")
    )
    stopped = np.where(low <= opens * (1 - level), 1 - level - close / opens, 0).mean(axis=1)
    taken = np.where(high >= opens * (1 + level), 1 + level - close / opens, 0).mean(axis=1)
    for gain in (stopped, taken, (close / opens - 1).mean(axis=1)):
        assert abs(gain.mean()) < 4 * gain.std() / np.sqrt(gain.size)
    assert stopped.std() / np.sqrt(stopped.size) < 4e-5


@pytest.fixture(scope="module")
def simple_returns(driftless):
    """Mean return per bar of holding all assets in equal parts, `[N]`, by rule: without exits and with."""
    markets = [build_market(panel, "minimal") for panel in driftless]
    rules = {"none": (None, None), "stop": (0.02, None), "target": (None, 0.04), "both": (0.02, 0.04)}
    return {name: np.concatenate([play(*rule, market) for market in markets]) for name, rule in rules.items()}


def play(stop_loss, take_profit, market):
    """Return the `[T-1]` returns of going back to equal weights at every open, with exits between, without costs."""
    num_bars, num_assets = market.close.shape
    env = TradingEnv(
        EnvConfig(
            action="weights",
            episode_length=num_bars - 1,
            max_position_pct=1.0,
            stop_loss=stop_loss,
            take_profit=take_profit,
            spread_bps=0.0,
            tick_size=None,
            slippage_bps=0.0,
            fees="none",
        )
    )
    params = env.default_params(market)
    return np.asarray(played(env, jnp.full(num_assets, 1 / num_assets), params), np.float64)


def run(env, weights, params):
    def step(state, _):
        _, after, _, _, _, _ = env.step_env(jax.random.key(0), state, weights, params)
        return after, after.equity / state.equity - 1

    _, start = env.reset_at(0, env.config.episode_length, params)
    return jax.lax.scan(step, start, None, length=env.config.episode_length)[1]


played = jax.jit(run, static_argnums=0)


@pytest.mark.thorough
def test_prices_without_drift_are_a_martingale(simple_returns):
    plain = simple_returns["none"]
    assert abs(plain.mean()) < 4 * plain.std() / np.sqrt(plain.size)


@pytest.mark.parametrize("rule", thorough_but(["both"], ["stop", "target", "both"]))
def test_exits_inside_the_bar_earn_nothing(simple_returns, rule):
    """Highs and lows are those of a path that does not know where the bar will close.

    Both exits together may lose a little: where a bar touches both levels the broker takes the stop.
    """
    gain = simple_returns[rule] - simple_returns["none"]
    error = gain.std() / np.sqrt(gain.size)
    assert 0 < error < 4e-5
    assert abs(gain.mean()) < 4 * error


@pytest.mark.thorough
def test_drift_is_what_holders_earn():
    quiet = SyntheticParams(
        drift=(0.002, 0.002, 0.002),
        volatility=(1e-4, 1e-4, 1e-4),
        sector_volatility=1e-4,
        asset_volatility=0.02,
        jump_rate=(0.0, 0.0, 0.0),
        fairness=1.0,
    )
    panel = synthetic_panel(jax.random.key(5), NUM_ASSETS, NUM_BARS, quiet, num_paths=NUM_PANELS)
    close = np.asarray(panel.close, np.float64).reshape(NUM_PANELS, NUM_BARS, NUM_ASSETS)
    daily = close[:, 1:] / close[:, :-1] - 1
    error = daily.std() / np.sqrt(daily.size)
    assert error < 6e-5
    assert daily.mean() == pytest.approx(0.002, abs=4 * error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_assets": 0}, "at least 1 asset"),
        ({"num_bars": 0}, "at least 1 asset"),
        ({"num_assets": -1}, "not -1, 10 and 1"),
        ({"num_paths": 0}, "at least 1 path, not 2, 10 and 0"),
        ({"preset": "sp500-2m"}, "preset='sp500-2m' is unknown; known are sp500-daily"),
        ({"jitter": 1.0}, r"jitter=1.0 must lie in \[0, 1\)"),
        ({"num_paths": 5000}, "reach beyond the year 2199"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        synthetic_panel(jax.random.key(0), **{"num_assets": 2, "num_bars": 10} | arguments)


@pytest.fixture(scope="module")
def minutes():
    """Forty sessions of one-minute bars, `[days, 390, A]` by field."""
    panel = synthetic_panel(jax.random.key(2), 3, 40 * 390, preset="sp500-1m")
    panel.validate()
    names = ("open", "high", "low", "close", "volume")
    return panel, {name: np.asarray(getattr(panel, name), np.float64).reshape(40, 390, 3) for name in names}


@pytest.mark.thorough
def test_sessions_of_minutes_open_and_close_as_in_new_york(minutes):
    panel, _ = minutes
    times = panel.times.astype("datetime64[m]").reshape(40, 390)
    assert str(times[0, 0]) == "2010-01-04T14:30" and str(times[0, -1]) == "2010-01-04T20:59"
    # Clocks change on 2010-03-14: later sessions begin an hour earlier in UTC.
    assert np.array_equal(np.unique((times[:, 0] - times[:, 0].astype("datetime64[D]")).astype(int)), [870])
    assert len(np.unique(panel.sessions)) == 40 and (np.diff(times, axis=1) == np.timedelta64(1, "m")).all()
    holidays = np.array(["2010-01-18", "2010-02-15"], "datetime64[D]")
    assert not np.isin(holidays, panel.times.astype("datetime64[D]")).any()


@pytest.mark.thorough
def test_a_session_moves_and_trades_most_at_its_ends(minutes):
    """First and last half hours have about 15 % of the volume each, noon's 5.6 %; the open moves 1.7 times as far."""
    _, bars = minutes
    volume = bars["volume"] / bars["volume"].sum(axis=1, keepdims=True)
    first, noon, last = (
        volume[:, rows].sum(axis=1).mean() for rows in (slice(0, 30), slice(180, 210), slice(360, 390))
    )
    assert first == pytest.approx(0.15, abs=0.012) and last == pytest.approx(0.15, abs=0.012)
    assert noon == pytest.approx(0.056, abs=0.006)
    moves = np.log(bars["close"] / bars["open"])
    early, middle = (np.sqrt((moves[:, rows] ** 2).mean()) for rows in (slice(0, 30), slice(165, 225)))
    assert early / middle == pytest.approx(1.7, abs=0.25)
    # Within a session a bar opens where the one before it closed.
    np.testing.assert_allclose(bars["open"][:, 1:], bars["close"][:, :-1], rtol=3e-7)


@pytest.mark.thorough
def test_longer_bars_are_put_together_from_the_same_minutes(minutes):
    _, bars = minutes
    panel = synthetic_panel(jax.random.key(2), 3, 40 * 7, preset="sp500-60m")
    hours = {name: np.asarray(getattr(panel, name)).reshape(40, 7, 3) for name in bars}
    groups = np.minimum(np.arange(390) // 60, 6)
    for hour in (0, 3, 6):
        rows = groups == hour
        np.testing.assert_allclose(hours["open"][:, hour], bars["open"][:, rows][:, 0], rtol=1e-6)
        np.testing.assert_allclose(hours["close"][:, hour], bars["close"][:, rows][:, -1], rtol=1e-6)
        np.testing.assert_allclose(hours["high"][:, hour], bars["high"][:, rows].max(axis=1), rtol=1e-6)
        np.testing.assert_allclose(hours["low"][:, hour], bars["low"][:, rows].min(axis=1), rtol=1e-6)
        np.testing.assert_allclose(hours["volume"][:, hour], bars["volume"][:, rows].sum(axis=1), rtol=1e-3)
