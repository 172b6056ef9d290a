"""The check for look-ahead: what it accepts and what it finds."""

import numpy as np
import pandas as pd
import pytest

from ploutos_jax.market.features.causality import check_causal, perturb_after

PRICES = ("open", "high", "low", "close")


def lagged_return(panel):
    return np.diff(np.log(panel.close), axis=0, prepend=np.nan)


def next_return(panel):
    return np.diff(np.log(panel.close), axis=0, append=np.nan)


def standardised_close(panel):
    return (panel.close - np.nanmean(panel.close, axis=0)) / 100


def filled_backward(panel):
    return pd.DataFrame(panel.close).bfill().to_numpy()


def warm_up_filled_backward(panel):
    return pd.DataFrame(panel.open).rolling(10).mean().bfill().to_numpy()


def peeking_signal(panel):
    return np.roll(panel.signals["news"], -3, axis=0)


def tradable_tomorrow(panel):
    return np.roll(panel.tradable, -1, axis=0)


@pytest.mark.parametrize("function", [lagged_return, "rsi_14", "minimal"])
def test_check_causal_accepts(function, ragged):
    check_causal(function, ragged)


@pytest.mark.parametrize(
    "function",
    [
        next_return,
        standardised_close,
        filled_backward,
        warm_up_filled_backward,
        peeking_signal,
        tradable_tomorrow,
    ],
)
def test_check_causal_finds_a_look_ahead(function, ragged):
    news = np.random.default_rng(0).normal(size=ragged.close.shape)
    with pytest.raises(ValueError, match=rf"'{function.__name__}' looks ahead: its value at bar \d+, asset \d \(20"):
        check_causal(function, ragged.replace(signals={"news": news}), num_checks=6)


def test_check_causal_names_the_first_bar(panel):
    def tomorrow_in_row_7(panel):
        return np.where(np.arange(panel.num_bars)[:, None] == 7, panel.close[-1], panel.close)

    with pytest.raises(ValueError, match=r"'tomorrow_in_row_7' looks ahead: its value at bar 7, asset 0 \(2015-01-08"):
        check_causal(tomorrow_in_row_7, panel, num_checks=1)


def test_check_causal_needs_two_bars(panel):
    with pytest.raises(ValueError, match="at least 2 bars; the panel has 1"):
        check_causal("rsi_14", panel.window(0, 1))


def test_perturb_after_keeps_the_past_and_stays_valid(ragged):
    changed = perturb_after(ragged, 120, np.random.default_rng(0)).validate()
    for name in (*PRICES, "volume", "tradable", "dividend", "split"):
        before, after = getattr(ragged, name), getattr(changed, name)
        np.testing.assert_array_equal(after[:121], before[:121])
        assert (after[121:] != before[121:]).any(), name
