"""Total-return prices."""

import numpy as np
import pandas as pd
import pytest

from ploutos_jax.market.adjust import total_return

PRICES = ("open", "high", "low", "close")


def test_adjusted_closes_grow_by_the_total_return(make_panel):
    panel = make_panel(num_bars=40, num_assets=2)
    split, dividend = np.ones((40, 2)), np.zeros((40, 2))
    split[10, 0], dividend[10, 0], dividend[20, 0], split[30, 1] = 3.0, 0.5, 1.25, 0.1
    adjusted = total_return(panel.replace(split=split, dividend=dividend))
    growth = adjusted.close[1:] / adjusted.close[:-1]
    np.testing.assert_allclose(growth, (panel.close[1:] + dividend[1:]) * split[1:] / panel.close[:-1], rtol=1e-12)
    for name in PRICES:
        np.testing.assert_allclose(
            getattr(adjusted, name) / adjusted.close, getattr(panel, name) / panel.close, rtol=1e-12
        )
    np.testing.assert_allclose(adjusted.volume * np.cumprod(split, axis=0), panel.volume, rtol=1e-12)
    assert adjusted.split is None
    assert adjusted.dividend is None


def test_actions_on_missing_bars_reach_the_next_bar(make_panel, remove_bars):
    panel = make_panel(num_bars=12, num_assets=1)
    missing = np.zeros((12, 1), bool)
    missing[:2] = missing[5:8] = True
    split, dividend = np.ones((12, 1)), np.zeros((12, 1))
    dividend[0] = 9.0  # before the listing: nobody held it
    dividend[5], split[6], dividend[7] = 1.0, 2.0, 0.3
    adjusted = total_return(remove_bars(panel, missing).replace(split=split, dividend=dividend))
    wealth = 2 * panel.close[8, 0] + 1.0 + 2 * 0.3  # of one share held through the gap
    np.testing.assert_allclose(adjusted.close[8, 0] / adjusted.close[4, 0], wealth / panel.close[4, 0], rtol=1e-12)
    np.testing.assert_allclose(adjusted.close[2:5], panel.close[2:5], rtol=1e-12)
    assert np.isnan(adjusted.close[missing]).all()


@pytest.mark.realdata
def test_total_returns_reproduce_the_vendors_adjusted_close(data_dir, make_panel):
    frame = pd.read_parquet(data_dir / "sp500_daily_adj_2005_2018.parquet")
    frame = frame[frame.ticker.isin(["AAPL", "KO", "XOM"])].sort_values(["date", "ticker"])
    wide = {
        name: frame.pivot(index="date", columns="ticker", values=name).to_numpy(float) for name in frame.columns[2:]
    }
    split = np.where(np.nan_to_num(wide["split"]) > 0, wide["split"], 1)
    panel = make_panel(num_bars=len(split), num_assets=3).replace(
        **{name: wide[name] for name in (*PRICES, "volume")}, split=split, dividend=np.nan_to_num(wide["dividend"])
    )
    adjusted = total_return(panel).close
    ours, theirs = adjusted[1:] / adjusted[:-1], wide["adj_close"][1:] / wide["adj_close"][:-1]
    assert (split != 1).sum() > 0
    assert np.abs(ours / theirs - 1).max() < 0.001
