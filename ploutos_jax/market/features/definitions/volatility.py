"""Features of volatility and of the channels drawn with it."""

from collections.abc import Callable

import jax

from ploutos_jax.market.features.compacted import Bars
from ploutos_jax.market.features.definitions.feature import Feature, Raw
from ploutos_jax.market.features.definitions.forms import in_both_forms, of_100, over_close, yearly
from ploutos_jax.market.features.indicators import volatility
from ploutos_jax.market.features.indicators.rolling import divide


def _bollinger(num_std: float) -> Callable[[Bars], jax.Array]:
    def function(bars: Bars) -> jax.Array:
        offset, std = bars.moments_20
        return (offset + num_std * std) / bars.close

    return function


def _bollinger_width(bars: Bars) -> jax.Array:
    offset, std = bars.moments_20
    return 4 * std / (bars.close + offset)


def _percent_b(bars: Bars) -> jax.Array:
    offset, std = bars.moments_20
    return divide(-offset, 4 * std, 0.0)


def _keltner(num_atr: float) -> Callable[[Bars], jax.Array]:
    def function(bars: Bars) -> jax.Array:
        offset, reach = bars.keltner
        return (offset + num_atr * reach) / bars.close

    return function


def _volatility_ratio(bars: Bars) -> jax.Array:
    short, long = (volatility.realised_volatility(bars.close, window) for window in (5, 60))
    return divide(short, long, 1.0)


def _overnight_share(bars: Bars) -> jax.Array:
    overnight, inside = bars.session_parts
    return volatility.overnight_share(overnight, inside, 20)


FEATURES = (
    Feature(
        "bollinger_upper_20",
        _bollinger(2),
        "(SMA20 + 2 std - C) / C",
        19,
        oracle="TA-Lib BBANDS",
        raw=Raw("SMA20 + 2 std", lambda b: volatility.bollinger(b.close)[2]),
    ),
    Feature(
        "bollinger_lower_20",
        _bollinger(-2),
        "(SMA20 - 2 std - C) / C",
        19,
        oracle="TA-Lib BBANDS",
        raw=Raw("SMA20 - 2 std", lambda b: volatility.bollinger(b.close)[0]),
    ),
    Feature(
        "bollinger_width_20",
        _bollinger_width,
        "(upper - lower) / middle",
        19,
        low=0,
        oracle="ta bollinger_wband",
        raw=Raw("100 (upper - lower) / middle", lambda b: volatility.bollinger_width(b.close)),
    ),
    Feature(
        "bollinger_percent_b_20",
        _percent_b,
        "(C - lower) / (upper - lower) - 1/2",
        19,
        -1.1,
        1.1,
        "ta bollinger_pband",
        raw=Raw("(C - lower) / (upper - lower)", lambda b: volatility.bollinger_percent_b(b.close)),
    ),
    in_both_forms(
        "atr_14", lambda b: b.atr_14, over_close, "ATR14 / C", 14, low=0, oracle="TA-Lib ATR", textbook="ATR14"
    ),
    Feature(
        "natr_14",
        lambda b: b.atr_14 / b.close,
        "NATR14 / 100, the same as atr_14",
        14,
        low=0,
        oracle="TA-Lib NATR",
        raw=Raw("100 ATR14 / C", lambda b: 100 * b.atr_14 / b.close),
    ),
    Feature(
        "keltner_middle_20",
        _keltner(0),
        "(EMA20 - C) / C",
        19,
        oracle="ta KeltnerChannel",
        raw=Raw("EMA20, begun with the first close", lambda b: b.close + b.keltner[0]),
    ),
    Feature(
        "keltner_upper_20",
        _keltner(2),
        "(EMA20 + 2 ATR10 - C) / C",
        19,
        oracle="ta KeltnerChannel",
        raw=Raw("EMA20 + 2 ATR10", lambda b: b.close + b.keltner[0] + 2 * b.keltner[1]),
    ),
    Feature(
        "keltner_lower_20",
        _keltner(-2),
        "(EMA20 - 2 ATR10 - C) / C",
        19,
        oracle="ta KeltnerChannel",
        raw=Raw("EMA20 - 2 ATR10", lambda b: b.close + b.keltner[0] - 2 * b.keltner[1]),
    ),
    in_both_forms(
        "ulcer_14",
        lambda b: volatility.ulcer_index(b.close, 14),
        of_100,
        "root mean square of C / max14 - 1",
        13,
        0,
        1,
        "ta UlcerIndex",
        textbook="100 √(mean of (C / max14 - 1)²) of 14",
    ),
    in_both_forms(
        "volatility_20",
        lambda b: b.volatility_20,
        yearly,
        "√252 · std of 20 log returns",
        20,
        low=0,
        oracle="pandas",
        textbook="std of 20 log returns",
    ),
    in_both_forms(
        "realised_volatility_20",
        lambda b: volatility.realised_volatility(b.close, 20),
        yearly,
        "√252 · root mean square of 20 log returns",
        20,
        low=0,
        textbook="root mean square of 20 log returns",
    ),
    Feature(
        "volatility_ratio_5_60",
        _volatility_ratio,
        "root mean square of 5 log returns over that of 60",
        60,
        0,
        12**0.5,
    ),
    in_both_forms(
        "parkinson_20",
        lambda b: volatility.parkinson(b.high, b.low, 20),
        yearly,
        "√252 · √(mean ln²(H/L) / (4 ln 2)) of 20",
        19,
        low=0,
        textbook="without √252",
    ),
    in_both_forms(
        "garman_klass_20",
        lambda b: volatility.garman_klass(b.open, b.high, b.low, b.close, 20),
        yearly,
        "√252 · √(mean of ln²(H/L)/2 - (2 ln 2 - 1) ln²(C/O)) of 20",
        19,
        low=0,
        textbook="without √252",
    ),
    in_both_forms(
        "yang_zhang_20",
        lambda b: volatility.yang_zhang(b.open, b.high, b.low, b.close, 20),
        yearly,
        "√252 · √(var ln(O/C[-1]) + k var ln(C/O) + (1 - k) Rogers-Satchell) of 20",
        20,
        low=0,
        textbook="without √252",
    ),
    Feature(
        "downside_share_20",
        lambda b: volatility.downside_share(b.returns, 20),
        "Σ min(r, 0)² / Σ r² of 20 log returns",
        20,
        0,
        1,
    ),
    Feature(
        "overnight_share_20",
        _overnight_share,
        "Σ o² / Σ (o² + c²) of 20, o = ln(O/C[-1]) into a session, c the rest",
        20,
        0,
        1,
    ),
    Feature(
        "corwin_schultz_20",
        lambda b: volatility.corwin_schultz(b.high, b.low, 20),
        "mean of 20 two-bar spreads, each at least 0",
        20,
        0,
        2,
    ),
)
