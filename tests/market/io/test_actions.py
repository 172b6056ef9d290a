"""Splits, dividends and gains that files list, or do not, held against the prices."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.io.actions import paid_per_share
from ploutos_jax.market.io.columns import is_adjusted
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.panel import Panel

NUM_DAYS = 500


def walk(seed: int = 0, sigma: float = 0.011, num_days: int = NUM_DAYS) -> np.ndarray:
    return 80 * np.exp(np.cumsum(np.random.default_rng(seed).normal(2e-4, sigma, num_days)))


def rows(close: np.ndarray, ticker: str = "AAA", **columns) -> pd.DataFrame:
    """A long table whose opens lie between the closes around them."""
    dates = pd.bdate_range("2015-01-01", periods=len(close)).strftime("%Y-%m-%d")
    noise = np.exp(np.random.default_rng(9).normal(0, 0.001, len(close)))
    frame = {"date": dates, "ticker": ticker, "open": close * noise, "high": close * 1.02, "low": close * 0.98}
    return pd.DataFrame(frame | {"close": close, "volume": 1e6} | columns)


def read(tmp_path: Path, *frames: pd.DataFrame, **how) -> Panel:
    pd.concat(frames).to_csv(tmp_path / "bars.csv", index=False)
    return load_panel(tmp_path / "bars.csv", **how)


def splits(*events: tuple[int, float], num_days: int = NUM_DAYS) -> np.ndarray:
    ratio = np.ones(num_days)
    for row, value in events:
        ratio[row] = value
    return ratio


def told(panel: Panel, *words: str) -> bool:
    return any(all(word in note for word in words) for note in panel.notes)


# Splits that are listed.


@pytest.mark.parametrize("ratio", [2.0, 7.0, 1.5, 0.1, 0.25])
@pytest.mark.parametrize("is_inverted", [False, True])
def test_a_split_is_read_the_way_round_that_the_price_tells(tmp_path, ratio: float, is_inverted: bool):
    true = splits((200, ratio))
    panel = read(tmp_path, rows(walk() / np.cumprod(true), split=1 / true if is_inverted else true))
    assert panel.split is not None
    np.testing.assert_allclose(panel.split[:, 0], true)
    assert told(panel, "upside down", "AAA 2015-10-08") is is_inverted


def test_a_ticker_that_is_upside_down_does_not_turn_another_that_is_right(tmp_path):
    true = splits((100, 4.0), (300, 3.0))
    close = walk() / np.cumprod(true)
    panel = read(tmp_path, rows(close, "AAA", split=true), rows(close, "BBB", split=1 / true))
    assert panel.split is not None
    np.testing.assert_allclose(panel.split, np.stack([true, true], axis=1))


@pytest.mark.thorough
def test_later_splits_change_nothing_before_them(tmp_path):
    """Raw at first, adjusted later on: each split is judged by bars up to its own."""
    true = splits((100, 2.0), (200, 3.0), (300, 2.0), (400, 5.0))
    close = walk() / np.cumprod(splits((100, 2.0)))
    whole = read(tmp_path, rows(close, split=true))
    begin = read(tmp_path, rows(close, split=true).iloc[:150])
    assert whole.split is not None and begin.split is not None
    np.testing.assert_array_equal(whole.split[:150], begin.split)
    np.testing.assert_array_equal(whole.split[:, 0], splits((100, 2.0)))
    assert told(whole, "3 splits listed", "ignored")
    one, two = build_market(whole, "minimal"), build_market(begin, "minimal")
    np.testing.assert_array_equal(np.asarray(one.features)[:150], np.asarray(two.features))


def test_a_split_listed_early_moves_to_the_day_of_the_price(tmp_path):
    true = splits((210, 3.0))
    panel = read(tmp_path, rows(walk() / np.cumprod(true), split=splits((202, 3.0))))
    assert panel.split is not None and told(panel, "moved there", "AAA 2015-10-22")
    np.testing.assert_array_equal(panel.split[:, 0], true)


def test_a_spin_off_on_the_day_of_a_reverse_split_hides_neither(tmp_path):
    """As of Tyco in 2007: one share for four, and what left with the others is paid out."""
    close = walk(sigma=0.005)
    before, after = close[:200], close[200:]
    prices = np.r_[before, after * 4 - 190.0]
    panel = read(tmp_path, rows(prices, split=splits((200, 0.25)), dividend=np.where(np.arange(500) == 200, 190.0, 0)))
    assert panel.split is not None and panel.dividend is not None
    assert (panel.split[200, 0], panel.dividend[200, 0]) == (0.25, 190.0) and panel.notes == ()


# Splits that no column tells.


@pytest.mark.parametrize(("ratio", "shown"), [(2.0, "0.5"), (20.0, "0.05"), (0.1, "10"), (1.5, "0.6667")])
def test_a_jump_like_a_split_is_noted_with_ticker_and_date(tmp_path, ratio: float, shown: str):
    calm = rows(walk(3), "CALM")
    panel = read(tmp_path, rows(walk() / np.cumprod(splits((200, ratio)))), calm)
    assert told(panel, "no column tells", f"AAA 2015-10-08 (price x {shown})") and not told(panel, "CALM")


def test_a_split_of_one_ticker_beside_listed_ones_of_another_is_noted(tmp_path):
    true = splits((250, 2.0))
    close = walk() / np.cumprod(true)
    panel = read(tmp_path, rows(close, "AAA", split=true), rows(close, "BBB", split=1.0))
    assert told(panel, "no column tells", "BBB 2015-12-17") and not told(panel, "no column tells", "AAA")


def test_crashes_wild_assets_and_single_bad_prices_are_not_taken_for_splits(tmp_path):
    crash = walk() * np.where(np.arange(NUM_DAYS) < 200, 1.0, 0.58)
    wild = walk(1, sigma=0.15)
    typo = walk(2)
    typo[200] /= 4
    panel = read(tmp_path, rows(crash, "AAA"), rows(wild, "BBB"), rows(typo, "CCC"))
    assert not told(panel, "no column tells")


# Dividends.


def paying(close: np.ndarray, share: float, every: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return raw closes, adjusted closes and dividends of a path of total-return closes."""
    raw, paid = close.copy(), np.zeros(len(close))
    for t in range(1, len(close)):
        paid[t] = raw[t - 1] * share if t % every == 0 else 0.0
        raw[t] = raw[t - 1] * close[t] / close[t - 1] - paid[t]
    return raw, close * raw[-1] / close[-1], paid


@pytest.mark.parametrize(("share", "every", "num_days"), [(0.01, 63, 1500), (0.005, 21, 800), (0.04, 100, 500)])
def test_dividends_of_adjusted_prices_are_noted_with_their_days(tmp_path, share: float, every: int, num_days: int):
    raw, adjusted, paid = paying(walk(5, num_days=num_days), share, every)
    panel = read(tmp_path, rows(adjusted, "ADJ", Dividends=paid), rows(raw, "RAW", Dividends=paid))
    assert told(panel, "Dividends of ADJ count twice", "ADJ 2015-") and not told(panel, "RAW")


def test_a_special_dividend_that_the_price_holds_already_is_ignored(tmp_path):
    raw, adjusted, paid = paying(walk(5), 0.3, 300)
    panel = read(tmp_path, rows(adjusted, "ADJ", dividend=paid), rows(raw, "RAW", dividend=paid))
    assert panel.dividend is not None and told(panel, "1 dividend ignored", "ADJ 2016-02-25")
    assert panel.dividend[300].tolist() == [0.0, paid[300]]


def test_an_adjusted_close_beside_the_close_tells_which_of_the_two_dividends_are_in(tmp_path):
    """`Close` and `Adj Close` alike, as where both are adjusted; a close that knows of splits alone proves nothing."""
    raw, adjusted, paid = paying(walk(5), 0.01, 63)
    twice = read(tmp_path, rows(adjusted, Dividends=paid, **{"Adj Close": adjusted}))
    assert told(twice, "Dividends of AAA count twice")
    splits_alone = read(tmp_path, rows(raw, Dividends=paid, **{"Adj Close": raw}))
    assert splits_alone.dividend is not None and splits_alone.notes == ()
    right = read(tmp_path, rows(raw, Dividends=paid, **{"Adj Close": adjusted}))
    assert right.dividend is not None and (right.dividend > 0).sum() == 7 and right.notes == ()


@pytest.mark.parametrize(
    ("dividend", "gain", "fall", "paid"),
    [
        (7.857, 6.42, 7.857, 7.857),
        (0.4, 1.6, 2.0, 2.0),
        (2.0, 1.0, 2.9, 3.0),
        (2.0, 1.0, 2.2, 2.0),
        (0.0, 1.5, 0.1, 1.5),
        (1.0, 0.0, 9.0, 1.0),
        (2.0, 1.0, np.nan, 2.0),
    ],
)
def test_a_gain_is_added_unless_the_dividend_holds_it(dividend: float, gain: float, fall: float, paid: float):
    assert paid_per_share(np.array(dividend), np.array(gain), np.array(fall)) == paid


def test_gains_in_a_column_are_paid_once_and_are_no_feature(tmp_path):
    close, event = np.full(60, 50.0), np.arange(60) == 30
    for dividend, gain, fall in ((3.0, 2.5, 3.0), (3.0, 2.5, 5.5)):
        prices = close - np.where(np.arange(60) >= 30, fall, 0.0)
        columns = {"Dividends": event * dividend, "Capital Gains": event * gain}
        panel = read(tmp_path, rows(prices, **columns))
        assert panel.dividend is not None and panel.dividend[30, 0] == fall and not panel.signals


# Columns of adjusted values.


@pytest.mark.parametrize(
    "name",
    ["adj_open", "Adj. High", "adjLow", "adjClose", "AdjVolume", "adjusted close", "close_adj", "Open (adjusted)"]
    + ["split_adjusted_close", "adj_factor", "cfacpr", "5. adjusted close", "Adj Close*"],
)
def test_names_of_adjusted_columns_are_known(name: str):
    assert is_adjusted(name)


@pytest.mark.parametrize("name", ["close", "adjacent", "headline", "factor", "vwap", "adj", "readjustments"])
def test_names_of_other_columns_are_not(name: str):
    assert is_adjusted(name) is (name == "adj")


def test_columns_of_tiingo_make_no_features_and_its_events_are_booked(tmp_path):
    true = splits((200, 4.0))
    raw = walk() / np.cumprod(true)
    adjusted = {f"adj{name}": walk() for name in ("Open", "High", "Low", "Close", "Volume")}
    panel = read(tmp_path, rows(raw, splitFactor=true, divCash=np.where(np.arange(500) == 250, 0.2, 0.0), **adjusted))
    assert not panel.signals and panel.split is not None and panel.dividend is not None
    assert (panel.split[200, 0], panel.dividend[250, 0]) == (4.0, 0.2)
    assert told(panel, "adjOpen", "no feature")
