"""Features of trend: distances to averages, and how steadily prices go."""

from collections.abc import Callable

import jax

from ploutos_jax.market.features.compacted import Bars
from ploutos_jax.market.features.definitions.feature import Feature, Raw
from ploutos_jax.market.features.definitions.forms import in_both_forms, of_100, over_close
from ploutos_jax.market.features.indicators import trend
from ploutos_jax.market.features.indicators.recursion import ema, ema_offset
from ploutos_jax.market.features.indicators.rolling import rolling_offset, sma


def _close_over(offset: Callable[[jax.Array, int], jax.Array], window: int) -> Callable[[Bars], jax.Array]:
    """Close over an average, less 1, by the average's offset from the close."""

    def function(bars: Bars) -> jax.Array:
        distance = offset(bars.close, window)
        return -distance / (bars.close + distance)

    return function


FEATURES = (
    Feature(
        "close_over_sma_10",
        _close_over(rolling_offset, 10),
        "C / SMA10 - 1",
        9,
        oracle="TA-Lib SMA",
        raw=Raw("SMA10", lambda b: sma(b.close, 10)),
    ),
    Feature(
        "close_over_sma_20",
        _close_over(rolling_offset, 20),
        "C / SMA20 - 1",
        19,
        oracle="TA-Lib SMA",
        raw=Raw("SMA20", lambda b: sma(b.close, 20)),
    ),
    Feature(
        "close_over_sma_50",
        _close_over(rolling_offset, 50),
        "C / SMA50 - 1",
        49,
        oracle="TA-Lib SMA",
        raw=Raw("SMA50", lambda b: sma(b.close, 50)),
    ),
    Feature(
        "close_over_ema_10",
        _close_over(ema_offset, 10),
        "C / EMA10 - 1",
        9,
        oracle="TA-Lib EMA",
        raw=Raw("EMA10", lambda b: ema(b.close, 10)),
    ),
    Feature(
        "close_over_ema_20",
        _close_over(ema_offset, 20),
        "C / EMA20 - 1",
        19,
        oracle="TA-Lib EMA",
        raw=Raw("EMA20", lambda b: ema(b.close, 20)),
    ),
    in_both_forms(
        "macd",
        lambda b: b.macd[0],
        over_close,
        "(EMA12 - EMA26) / C",
        33,
        oracle="TA-Lib MACD",
        textbook="EMA12 - EMA26",
    ),
    in_both_forms(
        "macd_signal",
        lambda b: b.macd[1],
        over_close,
        "EMA9 of MACD / C",
        33,
        oracle="TA-Lib MACD",
        textbook="EMA9 of MACD",
    ),
    in_both_forms(
        "macd_histogram",
        lambda b: b.macd[2],
        over_close,
        "(MACD - signal) / C",
        33,
        oracle="TA-Lib MACD",
        textbook="MACD - signal",
    ),
    in_both_forms(
        "ppo",
        lambda b: trend.ppo(b.close),
        of_100,
        "EMA12 / EMA26 - 1",
        25,
        oracle="TA-Lib PPO",
        textbook="100 (EMA12 / EMA26 - 1)",
    ),
    in_both_forms(
        "ppo_histogram",
        lambda b: trend.ppo_histogram(b.close),
        of_100,
        "PPO - EMA9 of PPO",
        33,
        oracle="TA-Lib PPO, EMA",
        textbook="PPO - EMA9 of PPO, in percent",
    ),
    in_both_forms(
        "trix_15",
        lambda b: trend.trix(b.close, 15),
        of_100,
        "X / X[-1] - 1, X the threefold EMA15",
        43,
        oracle="TA-Lib TRIX",
        textbook="100 (X / X[-1] - 1)",
    ),
    in_both_forms(
        "adx_14", lambda b: b.directional[2], of_100, "ADX14 / 100", 27, 0, 1, "TA-Lib ADX", textbook="ADX14"
    ),
    in_both_forms(
        "plus_di_14", lambda b: b.directional[0], of_100, "+DI14 / 100", 14, 0, 1, "TA-Lib PLUS_DI", textbook="+DI14"
    ),
    in_both_forms(
        "minus_di_14", lambda b: b.directional[1], of_100, "-DI14 / 100", 14, 0, 1, "TA-Lib MINUS_DI", textbook="-DI14"
    ),
    in_both_forms(
        "aroon_25",
        lambda b: trend.aroon_oscillator(b.high, b.low, 25),
        of_100,
        "(bars since low - bars since high, of 26) / 25",
        25,
        -1,
        1,
        "TA-Lib AROONOSC",
        textbook="Aroon oscillator 25",
    ),
    in_both_forms(
        "cci_20",
        lambda b: trend.cci(b.high, b.low, b.close, 20),
        lambda x, b: x / 200,
        "CCI20 / 200",
        19,
        oracle="TA-Lib CCI",
        textbook="CCI20",
    ),
)
