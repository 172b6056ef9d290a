"""Parquet folders that are read in several pieces, small enough for tests."""

from pathlib import Path

import numpy as np
import pandas as pd

TICKERS = ("AAA", "BBB", "CCC", "DDD")
FEATURES = ("log_return_20", "rsi_14", "close_over_ema_20", "volatility_20")


def minutes(num_days: int = 40, per_day: int = 120, seed: int = 0) -> pd.DataFrame:
    """Bars of minutes with gaps, a ticker listed late, one that ends early, one without volume and a signal."""
    rng = np.random.default_rng(seed)
    days = pd.bdate_range("2024-01-02", periods=num_days)
    clock = pd.to_timedelta(np.arange(per_day) + 14 * 60 + 30, unit="min")
    times = np.concatenate([(day + clock).to_numpy() for day in days])
    frames = []
    for number, ticker in enumerate(TICKERS):
        close = 50 * np.exp(np.cumsum(rng.normal(0, 1e-3, len(times)))) * (number + 1)
        opens = np.concatenate([close[:1], close[:-1]])
        frame = pd.DataFrame(
            {
                "date": pd.DatetimeIndex(times).tz_localize("UTC"),
                "ticker": ticker,
                "open": opens,
                "high": np.maximum(opens, close) * 1.0005,
                "low": np.minimum(opens, close) * 0.9995,
                "close": close,
                "volume": 0.0 if ticker == "DDD" else rng.integers(1, 1000, len(times)) * 10.0,
                "mood": rng.normal(size=len(times)),
            }
        )
        kept = rng.random(len(times)) > 0.03
        kept &= {"BBB": np.arange(len(times)) > 2000, "CCC": np.arange(len(times)) < 3000}.get(ticker, True)
        # Longer than what a piece sees before it: the price is carried on.
        kept &= ~((ticker == "AAA") & (np.arange(len(times)) > 1500) & (np.arange(len(times)) < 1700))
        frames.append(frame[kept])
    return pd.concat(frames).sort_values(["date", "ticker"], ignore_index=True)


def write_days(frame: pd.DataFrame, folder: Path, rows: int = 20_000) -> Path:
    """Write bars as a folder with a part for each month, in row groups."""
    for month, part in frame.groupby(frame["date"].dt.month):
        place = folder / f"month={month}"
        place.mkdir(parents=True)
        part.to_parquet(place / "part-0.parquet", row_group_size=rows, index=False)
    return folder


def write_tickers(frame: pd.DataFrame, folder: Path, *, hive: bool) -> Path:
    """Write bars as a file for each ticker, named after it, or in a folder that is."""
    for ticker, part in frame.groupby("ticker"):
        place = folder / f"ticker={ticker}" if hive else folder
        place.mkdir(parents=True, exist_ok=True)
        name = "part-0.parquet" if hive else f"{ticker}.parquet"
        part.drop(columns="ticker").to_parquet(place / name, row_group_size=500, index=False)
    return folder
