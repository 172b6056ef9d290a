"""What `benchmark.py features` measures: the features of 494 tickers over 13 years beside TA-Lib and `ta`.

Every contender runs in a process of its own, so that its memory is its own, and is timed by its best call: what else
the machine does only ever adds.
"""

import math
import multiprocessing
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from ploutos_jax.market.adjust import total_return
from ploutos_jax.market.features.catalog import FEATURE_SETS, FEATURES
from ploutos_jax.market.features.compute import compute_features
from ploutos_jax.market.features.raw import raw_features
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.panel import Panel
from ploutos_jax.market.synthetic.generate import synthetic_panel

BARS_FILE = Path(__file__).resolve().parents[2] / "shared" / "data" / "sp500_daily_adj_2005_2018.parquet"
MADE_SIZE = 494, 3298
"""Assets and bars of synthetic data, where there is no file."""
QUICK_SIZE = 32, 1000
SAMPLE = 6
"""Tickers that `ta` is timed on; its time grows with their number and nothing else."""

PRICES = ("open", "high", "low", "close", "volume")
COLUMNS = {
    "table of 85 features": 85,
    "table of 44 features": 44,
    "44 indicators": 44,
    "TA-Lib": 44,
    "TA-Lib, as a table": 44,
    "ta": 42,
}
OTHERS = ("TA-Lib", "TA-Lib, as a table", "ta")
_BEST_OF_TA = 2
_PROCESS = Path("/proc/self")


def measure_features(*, quick: bool, repeats: int) -> list[dict[str, Any]]:
    """Return figures of every contender whose library is installed."""
    rows = []
    for name in COLUMNS:
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            row = pool.apply(_measure, (name, quick, repeats))
        if row is not None:
            rows.append(row)
    by_name = {row["contender"]: row["seconds"] for row in rows}
    for row in rows:
        ours = by_name["table of 85 features" if row["contender"] == "ta" else "44 indicators"]
        row["times_ours"] = row["seconds"] / ours if row["contender"] in OTHERS else None
    return rows


def _measure(name: str, quick: bool, repeats: int) -> dict[str, Any] | None:
    panel = total_return(_read(quick))
    try:
        call, scale, best_of = _prepare(name, panel, repeats)
    except ModuleNotFoundError:
        return None
    memory = _status("VmRSS")
    first = _time(call)
    _forget_peak()
    seconds = min(_time(call) for _ in range(best_of))
    return {
        "section": "features",
        "contender": name,
        "assets": panel.num_assets,
        "bars": panel.num_bars,
        "columns": COLUMNS[name],
        "seconds": seconds * scale,
        "compile_seconds": max(first - seconds, 0.0) if name not in OTHERS else None,
        "peak_megabytes": (_status("VmHWM") - memory) / 1024 if scale == 1 else None,
        "sampled_assets": None if scale == 1 else SAMPLE,
    }


def _read(quick: bool) -> Panel:
    if BARS_FILE.exists() and not quick:
        return load_panel(str(BARS_FILE))
    panel = synthetic_panel(jax.random.key(0), *(QUICK_SIZE if quick else MADE_SIZE))
    return panel.replace(**{name: np.asarray(getattr(panel, name), float) for name in PRICES})


def _prepare(name: str, panel: Panel, repeats: int) -> tuple[Callable[[], Any], float, int]:
    """Return what to time, by how much to scale it, and how often to call it."""
    if name == "TA-Lib":
        import talib

        tickers = [_bars_of(panel, asset) for asset in range(panel.num_assets)]
        return lambda: [_by_talib(talib, **bars) for bars in tickers], 1.0, repeats
    if name == "TA-Lib, as a table":
        return lambda: _table_by_talib(panel), 1.0, repeats
    if name == "ta":
        import ta

        chosen = np.linspace(0, panel.num_assets - 1, SAMPLE).astype(int)
        tickers = [_bars_of(panel, int(asset)) for asset in chosen]
        num_bars = float(np.isfinite(np.asarray(panel.close)).sum())
        scale = num_bars / sum(len(bars["close"]) for bars in tickers)
        return lambda: [_by_ta(ta, **bars) for bars in tickers], scale, min(repeats, _BEST_OF_TA)
    on_device = panel.replace(**{key: jnp.asarray(getattr(panel, key), jnp.float32) for key in PRICES})
    names = FEATURE_SETS["standard" if COLUMNS[name] == len(FEATURES) else "talib44"]
    if name == "44 indicators":
        return lambda: jax.block_until_ready(raw_features(on_device, names)), 1.0, repeats
    chosen = tuple(feature for feature in FEATURES if feature.name in names)
    return lambda: jax.block_until_ready(compute_features(on_device, chosen)), 1.0, repeats


def _bars_of(panel: Panel, asset: int) -> dict[str, np.ndarray]:
    """Return the existing bars of one asset."""
    exists = np.isfinite(np.asarray(panel.close)[:, asset])
    return {name: np.ascontiguousarray(np.asarray(getattr(panel, name))[exists, asset]) for name in PRICES}


def _by_talib(
    talib: Any, open: np.ndarray, high: np.ndarray, low: np.ndarray, close: np.ndarray, volume: np.ndarray
) -> list[np.ndarray]:
    """Return the 44 columns that the set talib44 is made of, by TA-Lib's C functions alone."""
    bars = high, low, close
    ppo = talib.PPO(close, 12, 26, 1)
    return [
        *(talib.ROCR(close, n) for n in (1, 5, 20)),
        *(talib.ROC(close, n) for n in (10, 20)),
        talib.TRANGE(*bars),
        *(talib.SMA(close, n) for n in (10, 20, 50)),
        *(talib.EMA(close, n) for n in (10, 20)),
        *talib.MACD(close, 12, 26, 9),
        ppo,
        talib.EMA(ppo, 9),
        talib.TRIX(close, 15),
        *(function(*bars, 14) for function in (talib.ADX, talib.PLUS_DI, talib.MINUS_DI)),
        talib.AROONOSC(high, low, 25),
        talib.CCI(*bars, 20),
        *(talib.RSI(close, n) for n in (7, 14)),
        talib.STOCHRSI(close, 14, 14, 1)[0],
        *talib.STOCHF(*bars, 14, 3, 0),
        talib.WILLR(*bars, 14),
        talib.ULTOSC(*bars, 7, 14, 28),
        *talib.BBANDS(close, 20, 2.0, 2.0),
        talib.STDDEV(close, 20, 1.0),
        *(function(*bars, 14) for function in (talib.ATR, talib.NATR)),
        *(talib.SMA(volume, n) for n in (20, 60)),
        talib.MFI(*bars, volume, 14),
        talib.OBV(close, volume),
        talib.MAX(high, 252),
        talib.MIN(low, 252),
        talib.MAXINDEX(high, 252),
        talib.MAX(high, 20),
        talib.MIN(low, 20),
    ]


def _table_by_talib(panel: Panel) -> np.ndarray:
    """Return the 44 columns in the form in which ours come: one float32 table `[T, A, 44]`, NaN where not known."""
    import talib

    table = np.full((panel.num_bars, panel.num_assets, 44), np.nan, np.float32)
    exists = np.isfinite(np.asarray(panel.close))
    for asset in range(panel.num_assets):
        columns = _by_talib(talib, **_bars_of(panel, asset))
        table[exists[:, asset], asset] = np.stack(columns, axis=1)
    return table


def _by_ta(
    ta: Any, open: np.ndarray, high: np.ndarray, low: np.ndarray, close: np.ndarray, volume: np.ndarray
) -> list[Any]:
    """Return the columns of the 85 that `ta` has."""
    import pandas as pd

    h, low_, c, v = (pd.Series(x) for x in (high, low, close, volume))
    bars = h, low_, c
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keltner = ta.volatility.KeltnerChannel(*bars, 20, 10, original_version=False)
        adx, bands, macd = ta.trend.ADXIndicator(*bars), ta.volatility.BollingerBands(c), ta.trend.MACD(c)
        ppo, donchian = ta.momentum.PercentagePriceOscillator(c), ta.volatility.DonchianChannel(*bars)
        aroon = ta.trend.AroonIndicator(h, low_, 25)
        return [
            *(ta.others.daily_log_return(c), *(ta.momentum.roc(c, n) for n in (10, 20))),
            *(ta.trend.sma_indicator(c, n) for n in (10, 20, 50)),
            *(ta.trend.ema_indicator(c, n) for n in (10, 20)),
            *(macd.macd(), macd.macd_signal(), macd.macd_diff(), ppo.ppo(), ppo.ppo_hist()),
            *(ta.trend.trix(c), adx.adx(), adx.adx_pos(), adx.adx_neg(), aroon.aroon_indicator()),
            *(ta.trend.cci(*bars), ta.momentum.rsi(c, 7), ta.momentum.rsi(c, 14), ta.momentum.stochrsi(c)),
            *(ta.momentum.stoch(*bars), ta.momentum.stoch_signal(*bars), ta.momentum.williams_r(*bars)),
            *(ta.momentum.tsi(c), ta.momentum.ultimate_oscillator(*bars)),
            *(bands.bollinger_hband(), bands.bollinger_lband(), bands.bollinger_wband(), bands.bollinger_pband()),
            *(ta.volatility.average_true_range(*bars), ta.volatility.ulcer_index(c), donchian.donchian_channel_pband()),
            *(keltner.keltner_channel_hband(), keltner.keltner_channel_mband(), keltner.keltner_channel_lband()),
            *(ta.volume.money_flow_index(*bars, v), ta.volume.on_balance_volume(c, v)),
            *(ta.volume.chaikin_money_flow(*bars, v), ta.volume.force_index(c, v)),
            *(ta.volume.volume_price_trend(c, v), ta.volume.ease_of_movement(h, low_, v)),
            ta.volume.volume_weighted_average_price(*bars, v),
        ]


def _time(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _forget_peak() -> None:
    """Let the process's largest memory be counted from now on."""
    if _PROCESS.is_dir():
        (_PROCESS / "clear_refs").write_text("5", encoding="ascii")


def _status(name: str) -> float:
    """Return a size of this process in kB; not a number where Linux is not."""
    if not _PROCESS.is_dir():
        return math.nan
    lines = (_PROCESS / "status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name + ":"))


def features_table(rows: list[dict[str, Any]]) -> Table:
    """Return the figures for the terminal."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for label in ("features", "Assets", "Bars", "Columns", "Seconds", "Compile s", "Peak MB", "Time / ours"):
        table.add_column(label, justify="left" if label == "features" else "right")
    for row in rows:
        sampled = "" if row["sampled_assets"] is None else f" (from {row['sampled_assets']} tickers)"
        numbers = (row["seconds"], row["compile_seconds"], row["peak_megabytes"], row["times_ours"])
        formats = ("{:,.2f}", "{:,.1f}", "{:,.0f}", "{:,.1f}")
        cells = ["–" if x is None else form.format(x) for x, form in zip(numbers, formats, strict=True)]
        size = (f"{row['assets']:,}", f"{row['bars']:,}", str(row["columns"]))
        table.add_row(row["contender"] + sampled, *size, *cells)
    return table
