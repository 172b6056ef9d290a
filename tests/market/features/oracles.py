"""What every indicator and feature should be for one asset without gaps, in float64, by other people's code.

TA-Lib, `ta` and pandas where they have it, a plain NumPy computation from the formula where they have not. Where the
formula is 0/0 (flat prices, no volume) their conventions differ; the neutral value then stands in for theirs.
"""

import warnings

import numpy as np
import pandas as pd
import ta
import talib

Arrays = dict[str, np.ndarray]

# Raw indicator -> first row with a value.
FIRST_ROW = {
    **{"sma_10": 9, "sma_20": 19, "sma_50": 49, "ema_10": 9, "ema_20": 19, "wilder_14": 13},
    **{"macd": 33, "macd_signal": 33, "macd_histogram": 33, "ppo": 25, "ppo_histogram": 33, "trix_15": 43},
    **{"adx_14": 27, "plus_di_14": 14, "minus_di_14": 14, "aroon_25": 25, "cci_20": 19},
    **{"rsi_7": 7, "rsi_14": 14, "stochastic_k_14": 13, "stochastic_d_14": 15, "stochastic_rsi_14": 27},
    **{"williams_r_14": 13, "roc_10": 10, "roc_20": 20, "tsi_25_13": 37, "ultimate_oscillator": 28},
    **{"bollinger_upper_20": 19, "bollinger_lower_20": 19, "bollinger_width_20": 19, "bollinger_percent_b_20": 19},
    **{"true_range": 0, "atr_14": 14, "keltner_middle_20": 19, "keltner_upper_20": 19, "keltner_lower_20": 19},
    **{"ulcer_14": 13, "volatility_20": 20, "realised_volatility_5": 5, "realised_volatility_60": 60},
    **{"parkinson_20": 19, "garman_klass_20": 19, "yang_zhang_20": 20, "corwin_schultz_20": 20},
    **{"downside_share_20": 20, "overnight_share_20": 20, "close_location": 0},
    **{"mfi_14": 14, "obv_20": 20, "cmf_20": 19, "force_13": 13, "force_ratio_13": 13, "vpt_20": 20},
    **{"ease_of_movement": 1, "volume_sma_20": 19, "vwap_14": 13, "log_illiquidity_20": 20},
    **{"high_252": 251, "low_252": 251, "bars_since_high_252": 251, "donchian_20": 19},
    **{"pivot": 1, "pivot_r1": 1, "pivot_s1": 1, "pivot_r2": 1, "pivot_s2": 1},
    **{"return_mean_20": 20, "skew_60": 60, "kurtosis_60": 60, "z_score_20": 19, "autocorrelation_60": 61},
    **{"hurst_100": 100, "variance_ratio_5_100": 100},
}


def windows(x: np.ndarray, size: int) -> np.ndarray:
    """Return `[T, size]`, the last `size` values of each row, NaN where there are fewer."""
    padded = np.concatenate([np.full(size - 1, np.nan), x])
    return np.lib.stride_tricks.sliding_window_view(padded, size)


def shift(x: np.ndarray, bars: int) -> np.ndarray:
    return np.concatenate([np.full(bars, np.nan), x[:-bars]])


def ratio(numerator: np.ndarray, denominator: np.ndarray, neutral: float) -> np.ndarray:
    """Quotient, and `neutral` where it is 0/0 or nothing is there to divide by."""
    safe = np.where(denominator == 0, 1, denominator)
    return np.where((denominator == 0) & ~np.isnan(numerator), neutral, numerator / safe)


def raw_values(open: np.ndarray, high: np.ndarray, low: np.ndarray, close: np.ndarray, volume: np.ndarray) -> Arrays:
    """Return the raw indicators of `FIRST_ROW`."""
    prices = tuple(x.astype(float) for x in (open, high, low, close, volume))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        parts = (_trend, _oscillators, _ranges, _volatilities, _volumes, _levels, _statistics)
        return {name: value for part in parts for name, value in part(*prices).items()}


def _trend(open, high, low, close, volume) -> Arrays:
    line, signal, histogram = talib.MACD(close, 12, 26, 9)
    ppo = talib.PPO(close, 12, 26, 1)
    typical = (high + low + close) / 3
    flat = np.ptp(windows(typical, 20), axis=1) == 0
    return {
        **{f"sma_{n}": talib.SMA(close, n) for n in (10, 20, 50)},
        **{f"ema_{n}": talib.EMA(close, n) for n in (10, 20)},
        "wilder_14": _wilder(close, 14),
        "macd": line,
        "macd_signal": signal,
        "macd_histogram": histogram,
        "ppo": ppo,
        "ppo_histogram": ppo - talib.EMA(ppo, 9),
        "trix_15": talib.TRIX(close, 15),
        "adx_14": talib.ADX(high, low, close, 14),
        "plus_di_14": talib.PLUS_DI(high, low, close, 14),
        "minus_di_14": talib.MINUS_DI(high, low, close, 14),
        "aroon_25": talib.AROONOSC(high, low, 25),
        "cci_20": np.where(flat, 0, talib.CCI(high, low, close, 20)),
    }


def _wilder(x: np.ndarray, window: int) -> np.ndarray:
    y = np.full_like(x, np.nan)
    y[window - 1] = x[:window].mean()
    for t in range(window, len(x)):
        y[t] = (y[t - 1] * (window - 1) + x[t]) / window
    return y


def _oscillators(open, high, low, close, volume) -> Arrays:
    frame = pd.DataFrame({"high": high, "low": low, "close": close})
    flat = (windows(high, 14).max(axis=1) - windows(low, 14).min(axis=1)) == 0
    k = np.where(flat, 50, ta.momentum.stoch(frame.high, frame.low, frame.close, 14))
    d = talib.STOCHF(high, low, close, 14, 3, 0)[1]
    still = np.maximum.accumulate(close) == np.minimum.accumulate(close)
    rsi = {n: np.where(still & (np.arange(len(close)) >= n), 50, talib.RSI(close, n)) for n in (7, 14)}
    strength = windows(rsi[14], 14)
    return {
        "rsi_7": rsi[7],
        "rsi_14": rsi[14],
        "stochastic_k_14": k,
        "stochastic_d_14": np.where(windows(flat.astype(float), 3).max(axis=1) > 0, windows(k, 3).mean(axis=1), d),
        "stochastic_rsi_14": np.where(np.ptp(strength, axis=1) < 1e-9, 50, talib.STOCHRSI(close, 14, 14, 1)[0]),
        "williams_r_14": np.where(flat, -50, talib.WILLR(high, low, close, 14)),
        "roc_10": talib.ROC(close, 10),
        "roc_20": talib.ROC(close, 20),
        "tsi_25_13": np.where(still & (np.arange(len(close)) >= 37), 0, ta.momentum.tsi(frame.close)),
        "ultimate_oscillator": _ultimate(high, low, close),
    }


def _ultimate(high, low, close) -> np.ndarray:
    before = shift(close, 1)
    pressure, reach = close - np.minimum(low, before), np.maximum(high, before) - np.minimum(low, before)
    a7, a14, a28 = (ratio(windows(pressure, n).sum(axis=1), windows(reach, n).sum(axis=1), 0.5) for n in (7, 14, 28))
    still = windows(reach, 7).sum(axis=1) == 0
    return np.where(still, 100 * (4 * a7 + 2 * a14 + a28) / 7, talib.ULTOSC(high, low, close, 7, 14, 28))


def _ranges(open, high, low, close, volume) -> Arrays:
    frame = pd.DataFrame({"high": high, "low": low, "close": close})
    upper, _, lower = talib.BBANDS(close, 20, 2, 2)
    flat = np.ptp(windows(close, 20), axis=1) == 0
    keltner = ta.volatility.KeltnerChannel(frame.high, frame.low, frame.close, 20, 10, original_version=False)
    true_range = talib.TRANGE(high, low, close)
    true_range[0] = high[0] - low[0]
    return {
        "bollinger_upper_20": np.where(flat, close, upper),
        "bollinger_lower_20": np.where(flat, close, lower),
        "bollinger_width_20": np.where(flat, 0, ta.volatility.bollinger_wband(frame.close, 20, 2)),
        "bollinger_percent_b_20": np.where(flat, 0.5, ta.volatility.bollinger_pband(frame.close, 20, 2)),
        "true_range": true_range,
        "atr_14": talib.ATR(high, low, close, 14),
        "natr_14": talib.NATR(high, low, close, 14),
        "body": np.abs(close - open),
        "upper_shadow": high - np.maximum(open, close),
        "lower_shadow": np.minimum(open, close) - low,
        "gap": open / shift(close, 1) - 1,
        "keltner_middle_20": keltner.keltner_channel_mband().to_numpy(),
        "keltner_upper_20": keltner.keltner_channel_hband().to_numpy(),
        "keltner_lower_20": keltner.keltner_channel_lband().to_numpy(),
        "ulcer_14": ta.volatility.ulcer_index(frame.close, 14).to_numpy(),
        "close_location": ratio((close - low) - (high - close), high - low, 0),
    }


def _volatilities(open, high, low, close, volume) -> Arrays:
    returns = np.log(close / shift(close, 1))
    night, day = np.log(open / shift(close, 1)), np.log(close / open)
    squares = {n: windows(returns**2, n).mean(axis=1) for n in (5, 20, 60)}
    falls = windows(np.minimum(returns, 0) ** 2, 20).mean(axis=1)
    rogers = windows(np.log(high / close) * np.log(high / open) + np.log(low / close) * np.log(low / open), 20).mean(
        axis=1
    )
    k = 0.34 / (1.34 + 21 / 19)
    night_variance, day_variance = (windows(x, 20).var(axis=1, ddof=1) for x in (night, day))
    klass = 0.5 * np.log(high / low) ** 2 - (2 * np.log(2) - 1) * np.log(close / open) ** 2
    return {
        "volatility_20": windows(returns, 20).std(axis=1, ddof=1),
        "realised_volatility_5": np.sqrt(squares[5]),
        "realised_volatility_20": np.sqrt(squares[20]),
        "realised_volatility_60": np.sqrt(squares[60]),
        "downside_share_20": ratio(falls, squares[20], 0.5),
        "parkinson_20": np.sqrt(windows(np.log(high / low) ** 2, 20).mean(axis=1) / (4 * np.log(2))),
        "garman_klass_20": np.sqrt(windows(klass, 20).mean(axis=1)),
        "yang_zhang_20": np.sqrt(night_variance + k * day_variance + (1 - k) * rogers),
        "overnight_share_20": ratio(windows(night**2, 20).sum(axis=1), windows(night**2 + day**2, 20).sum(axis=1), 0.5),
        "corwin_schultz_20": windows(_spreads(high, low), 20).mean(axis=1),
    }


def _spreads(high, low) -> np.ndarray:
    spreads = np.full(len(high), np.nan)
    for t in range(1, len(high)):
        beta = np.log(high[t - 1] / low[t - 1]) ** 2 + np.log(high[t] / low[t]) ** 2
        gamma = np.log(max(high[t - 1], high[t]) / min(low[t - 1], low[t])) ** 2
        root = 3 - 2 * np.sqrt(2)
        alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / root - np.sqrt(gamma / root)
        spreads[t] = max(0, 2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha)))
    return spreads


def _volumes(open, high, low, close, volume) -> Arrays:
    frame = pd.DataFrame({"high": high, "low": low, "close": close, "volume": volume})
    force = pd.Series(np.abs(np.diff(close, prepend=np.nan)) * volume)
    reach = force.ewm(span=13, min_periods=13, adjust=False).mean().to_numpy()
    obv = talib.OBV(close, volume)
    vpt = ta.volume.volume_price_trend(frame.close, frame.volume).to_numpy()
    money = windows(
        (high + low + close) / 3 * volume * (np.diff((high + low + close) / 3, prepend=np.nan) != 0), 14
    ).sum(axis=1)
    money[:14] = np.nan
    idle = windows(volume, 20).sum(axis=1) == 0
    typical_idle = windows(volume, 14).sum(axis=1) == 0
    impact = ratio(np.abs(np.log(close / shift(close, 1))), close * volume, 0)
    force_index = ta.volume.force_index(frame.close, frame.volume, 13).to_numpy()
    ease = ta.volume.ease_of_movement(frame.high, frame.low, frame.volume).to_numpy()
    return {
        "mfi_14": np.where(money == 0, 50, talib.MFI(high, low, close, volume, 14)),
        "obv_20": obv - shift(obv, 20),
        "cmf_20": np.where(idle, 0, ta.volume.chaikin_money_flow(frame.high, frame.low, frame.close, frame.volume, 20)),
        "force_13": force_index,
        "force_ratio_13": ratio(force_index, reach, 0),
        "vpt_20": np.where(np.arange(len(close)) == 20, vpt, vpt - shift(vpt, 20)),
        "ease_of_movement": np.where((volume == 0) & (np.arange(len(volume)) > 0), 0, ease),
        "volume_sma_20": talib.SMA(volume, 20),
        "volume_ratio_20": ratio(volume, talib.SMA(volume, 20), 1),
        "vwap_14": np.where(
            typical_idle,
            close,
            ta.volume.volume_weighted_average_price(frame.high, frame.low, frame.close, frame.volume, 14),
        ),
        "log_illiquidity_20": np.log(np.maximum(windows(impact, 20).mean(axis=1), 1e-20)),
    }


def _levels(open, high, low, close, volume) -> Arrays:
    highest, lowest = talib.MAX(high, 20), talib.MIN(low, 20)
    newest = talib.MAXINDEX(high[::1], 252)
    age = np.array(
        [251 - np.flatnonzero(row == row.max())[-1] if row[0] == row[0] else np.nan for row in windows(high, 252)]
    )
    assert (np.arange(len(high))[251:] - newest[251:] >= age[251:]).all()  # TA-Lib names an older one of equal highs
    before = [shift(x, 1) for x in (high, low, close)]
    pivot, reach = sum(before) / 3, before[0] - before[1]
    return {
        "high_252": talib.MAX(high, 252),
        "low_252": talib.MIN(low, 252),
        "bars_since_high_252": age,
        "donchian_20": ratio(close - lowest, highest - lowest, 0.5),
        "pivot": pivot,
        "pivot_r1": 2 * pivot - before[1],
        "pivot_s1": 2 * pivot - before[0],
        "pivot_r2": pivot + reach,
        "pivot_s2": pivot - reach,
    }


def _statistics(open, high, low, close, volume) -> Arrays:
    returns = np.log(close / shift(close, 1))
    last = windows(returns, 60)
    flat = np.ptp(last, axis=1) == 0
    distance = last - last.mean(axis=1, keepdims=True)
    second, third, fourth = ((distance**n).mean(axis=1) for n in (2, 3, 4))
    skew = np.sqrt(60 * 59) / 58 * third / second**1.5
    kurtosis = 59 / (58 * 57) * (61 * (fourth / second**2 - 3) + 6)
    close_window = windows(close, 20)
    return {
        "return_mean_20": windows(returns, 20).mean(axis=1),
        "skew_60": np.where(flat, 0, skew),
        "kurtosis_60": np.where(flat, 0, kurtosis),
        "z_score_20": ratio(close - close_window.mean(axis=1), close_window.std(axis=1, ddof=1), 0),
        "autocorrelation_60": _autocorrelation(returns),
        "hurst_100": np.array([_hurst(row) for row in windows(np.log(close), 101)]),
        "variance_ratio_5_100": np.array([_variance_ratio(row) for row in windows(np.log(close), 101)]),
    }


def _autocorrelation(returns: np.ndarray) -> np.ndarray:
    y = np.full(len(returns), np.nan)
    for t in range(61, len(returns)):
        pair = returns[t - 59 : t + 1], returns[t - 60 : t]
        is_flat = np.ptp(pair[0]) == 0 or np.ptp(pair[1]) == 0
        y[t] = 0 if is_flat else np.corrcoef(*pair)[0, 1]
    return y


def _hurst(x: np.ndarray) -> float:
    spreads = [np.std(x[lag:] - x[:-lag]) for lag in (1, 2, 4, 8, 16)]
    if min(spreads) == 0:
        return 0.5
    return np.polyfit(np.log([1, 2, 4, 8, 16]), np.log(spreads), 1)[0] if np.isfinite(spreads).all() else np.nan


def _variance_ratio(x: np.ndarray) -> float:
    mean = (x[-1] - x[0]) / 100
    single = np.sum((np.diff(x) - mean) ** 2) / 99
    several = np.sum((x[5:] - x[:-5] - 5 * mean) ** 2) / (5 * 96 * (1 - 5 / 100))
    return 1 if single == 0 else several / single


def network_values(raw: Arrays, prices: Arrays) -> Arrays:
    """Return every feature of one asset by its raw indicators, but for the two that look at other assets."""
    with np.errstate(all="ignore"):
        return _network_values(raw, **{name: x.astype(float) for name, x in prices.items()})


def _network_values(raw: Arrays, open, high, low, close, volume) -> Arrays:
    returns = {n: np.log(talib.ROCR(close, n)) for n in (1, 5, 20, 60)}
    atr, sigma, volume_sum = raw["atr_14"], raw["volatility_20"], windows(volume, 20).sum(axis=1)
    ease, illiquidity = windows(raw["ease_of_movement"], 60), windows(raw["log_illiquidity_20"], 252)
    long_volume = talib.SMA(volume, 60)
    year = np.sqrt(252)
    short, long = raw["realised_volatility_5"], raw["realised_volatility_60"]
    values = {
        **{f"log_return_{n}": returns[n] for n in returns},
        "momentum_252_21": shift(np.log(talib.ROCR(close, 231)), 21),
        **{f"close_over_{name}": close / raw[name] - 1 for name in ("sma_10", "sma_20", "sma_50", "ema_10", "ema_20")},
        **{name: raw[name] / close for name in ("macd", "macd_signal", "macd_histogram", "atr_14")},
        "natr_14": raw["natr_14"] / 100,
        **{
            name: raw[name] / 100 for name in ("ppo", "ppo_histogram", "trix_15", "adx_14", "plus_di_14", "minus_di_14")
        },
        **{name: raw[name] / 100 for name in ("aroon_25", "stochastic_k_14", "stochastic_d_14", "stochastic_rsi_14")},
        **{name: raw[name] / 100 for name in ("williams_r_14", "roc_10", "roc_20", "tsi_25_13", "ulcer_14")},
        **{name: raw[name] / 50 - 1 for name in ("rsi_7", "rsi_14", "mfi_14", "ultimate_oscillator")},
        "cci_20": raw["cci_20"] / 200,
        **{f"bollinger_{side}_20": raw[f"bollinger_{side}_20"] / close - 1 for side in ("upper", "lower")},
        "bollinger_width_20": raw["bollinger_width_20"] / 100,
        "bollinger_percent_b_20": raw["bollinger_percent_b_20"] - 0.5,
        **{f"keltner_{part}_20": raw[f"keltner_{part}_20"] / close - 1 for part in ("lower", "middle", "upper")},
        **{name: raw[name] for name in ("close_location", "downside_share_20", "overnight_share_20", "donchian_20")},
        **{name: raw[name] for name in ("cmf_20", "corwin_schultz_20", "autocorrelation_60")},
        **{name: year * raw[name] for name in ("parkinson_20", "garman_klass_20", "yang_zhang_20", "volatility_20")},
        # Daily bars, each a session of its own.
        "session_progress": np.where(np.arange(len(close)) < 1, np.nan, 1.0),
        "return_mean_20": year * raw["return_mean_20"],
        "realised_volatility_20": year * raw["realised_volatility_20"],
        "volatility_ratio_5_60": ratio(short, long, 1),
        "obv_20": ratio(raw["obv_20"], volume_sum, 0),
        "force_13": raw["force_ratio_13"],
        "vpt_20": ratio(ratio(raw["vpt_20"], volume_sum, 0), sigma, 0),
        "ease_of_movement_60": np.clip(
            ratio(ease[:, -1] - ease.mean(axis=1), np.where(np.ptp(ease, axis=1) == 0, 0, ease.std(axis=1, ddof=1)), 0),
            -5,
            5,
        ),
        "amihud_20": np.clip(
            ratio(
                illiquidity[:, -1] - illiquidity.mean(axis=1),
                np.where(np.ptp(illiquidity, axis=1) == 0, 0, illiquidity.std(axis=1, ddof=1)),
                0,
            ),
            -5,
            5,
        ),
        "volume_sma_20": np.log(ratio(raw["volume_sma_20"], long_volume, 1)),
        "volume_ratio_20": np.log(raw["volume_ratio_20"]),
        "close_over_vwap_14": close / raw["vwap_14"] - 1,
        **{name: ratio(raw[name] - close, atr, 0) for name in raw if name.startswith("pivot")},
        "close_over_high_252": close / raw["high_252"] - 1,
        "close_over_low_252": close / raw["low_252"] - 1,
        "bars_since_high_252": raw["bars_since_high_252"] / 252,
        "z_score_20": np.clip(raw["z_score_20"], -5, 5),
        "skew_60": np.clip(raw["skew_60"], -5, 5),
        "kurtosis_60": np.arcsinh(raw["kurtosis_60"]),
        "hurst_100": raw["hurst_100"] - 0.5,
        "variance_ratio_5_100": raw["variance_ratio_5_100"] - 1,
        **{name: ratio(raw[name], atr, 0) for name in ("body", "upper_shadow", "lower_shadow", "true_range")},
        "gap": ratio(raw["gap"], sigma, 0),
        "range": (high - low) / close,
    }
    return {name: np.clip(x, -10, 10) for name, x in values.items()}
