"""What the broker knows of each asset's movement and trading, against plain loops over its bars."""

import jax
import numpy as np
import pytest

import ploutos_jax as pj
from ploutos_jax.market.features.liquidity import ATR_BARS, VOLATILITY_BARS, VOLUME_BARS

FIELDS = ("atr", "volatility", "adv")


def measure(panel, num_paths=1):
    """Return the three fields of the market as float64 `[T, A]`."""
    path_end = None
    if num_paths > 1:
        length = panel.num_bars // num_paths
        path_end = np.repeat(np.arange(1, num_paths + 1) * length - 1, length)
    with jax.enable_x64(True):
        market = pj.build_market(panel, features=["log_return_1"], path_end=path_end)
        return {name: np.asarray(getattr(market, name)) for name in FIELDS}


def adjusted(panel, asset):
    """Return high, low and close of one asset's bars in total-return prices of its first bar, NaN where missing."""
    num_bars = panel.num_bars
    split = np.ones(num_bars) if panel.split is None else panel.split[:, asset]
    dividend = np.zeros(num_bars) if panel.dividend is None else panel.dividend[:, asset]
    out, shares, growth, pending, seen = np.full((3, num_bars), np.nan), 1.0, 1.0, 0.0, False
    for t in range(num_bars):
        shares *= split[t]
        pending += dividend[t] * shares
        row = np.array([float(getattr(panel, name)[t, asset]) for name in ("high", "low", "close")])
        if np.isfinite(row).all():
            growth *= 1 + (pending / shares / row[2] if seen else 0.0)
            out[:, t] = row * shares * growth
            pending, seen = 0.0, True
    return out


def expected_activity(panel, asset):
    """Return atr, volatility and adv of one asset, `[3, T]`, by looping over its bars."""
    high, low, close = adjusted(panel, asset)
    ranges, squares, dollars = [], [], []
    rows, known, before = [], (0.0, 0.0, 0.0), None
    for t in range(panel.num_bars):
        if np.isfinite(close[t]):
            top, bottom = (high[t], low[t]) if before is None else (max(high[t], before), min(low[t], before))
            ranges.append(top - bottom)
            if before is not None:
                squares.append(np.log(close[t] / before) ** 2)
            dollars.append(panel.close[t, asset] * panel.volume[t, asset])
            before = close[t]
            volatility = np.sqrt(np.mean(squares[-VOLATILITY_BARS:])) if squares else 0.0
            known = (np.mean(ranges[-ATR_BARS:]) / close[t], volatility, np.mean(dollars[-VOLUME_BARS:]))
        rows.append(known)
    return np.array(rows).T


def assert_activity(panel, found, rows=slice(None)):
    for asset in range(panel.num_assets):
        for name, expected in zip(FIELDS, expected_activity(panel, asset), strict=True):
            np.testing.assert_allclose(found[name][rows, asset], expected, rtol=1e-9, atol=1e-12, err_msg=name)


def test_activity_equals_plain_loops(panel):
    assert_activity(panel, measure(panel))


def test_activity_over_missing_bars_splits_dividends_and_late_listings(ragged):
    found = measure(ragged)
    assert_activity(ragged, found)
    # Before the listing nothing is known; after the last bar what was known stays.
    for name in FIELDS:
        assert not found[name][:37, 2].any()
        assert (found[name][300:, 3] == found[name][299, 3]).all() and found[name][299, 3] > 0


def test_a_split_is_neither_movement_nor_trading(make_panel):
    panel = make_panel(3, 60, 1)
    ratio = np.ones((60, 1))
    ratio[30] = 4.0
    after = np.cumprod(ratio, axis=0)
    prices = {name: getattr(panel, name) / after for name in ("open", "high", "low", "close")}
    halved = panel.replace(**prices, volume=panel.volume * after, split=ratio)
    ours, theirs = measure(halved), measure(panel)
    for name in FIELDS:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-9)


def test_the_first_bars_use_what_there_is(make_panel):
    panel = make_panel(1, 60, 1)
    found = measure(panel)
    first = (panel.high[0] - panel.low[0]) / panel.close[0]
    assert found["atr"][0] == pytest.approx(first)
    assert found["volatility"][0] == 0
    assert found["volatility"][1] == pytest.approx(abs(np.log(panel.close[1] / panel.close[0])))
    assert found["adv"][0] == pytest.approx(panel.close[0] * panel.volume[0])


def test_paths_end_to_end_do_not_see_each_other(make_panel):
    panel = make_panel(2, 120, 3)
    together = measure(panel, num_paths=3)
    for path in range(3):
        rows = slice(path * 40, (path + 1) * 40)
        assert_activity(panel.window(rows.start, rows.stop), together, rows)


@pytest.mark.parametrize("row", [0, 17, 200])
def test_bars_to_come_change_nothing(ragged, make_panel, row):
    other = make_panel(9)
    changes = {}
    for name in ("open", "high", "low", "close", "volume"):
        changes[name] = getattr(ragged, name).copy()
        changes[name][row + 1 :] = getattr(other, name)[row + 1 :]
    split = ragged.split.copy()
    split[row + 1 :] = np.random.default_rng(0).choice([1.0, 2.0], split[row + 1 :].shape)
    tradable = np.isfinite(changes["close"])
    ours, theirs = measure(ragged), measure(ragged.replace(**changes, split=split, tradable=tradable))
    for name in FIELDS:
        np.testing.assert_array_equal(ours[name][: row + 1], theirs[name][: row + 1])
        assert (ours[name][row + 1 :] != theirs[name][row + 1 :]).any()
