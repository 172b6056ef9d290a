"""Features of momentum: oscillators."""

from ploutos_jax.market.families.feature import Feature
from ploutos_jax.market.indicators import momentum

FEATURES = (
    Feature("rsi_7", lambda b: momentum.rsi(b.close, 7) / 50 - 1, "RSI7 / 50 - 1", 7, -1, 1, "TA-Lib RSI"),
    Feature("rsi_14", lambda b: momentum.rsi(b.close, 14) / 50 - 1, "RSI14 / 50 - 1", 14, -1, 1, "TA-Lib RSI"),
    Feature(
        "stochastic_rsi_14",
        lambda b: momentum.stochastic_rsi(b.close, 14) / 100,
        "place of RSI14 in its 14-bar range",
        27,
        0,
        1,
        "TA-Lib STOCHRSI",
    ),
    Feature(
        "stochastic_k_14",
        lambda b: momentum.stochastic_k(b.high, b.low, b.close, 14) / 100,
        "%K14 / 100",
        13,
        0,
        1,
        "ta stoch",
    ),
    Feature(
        "stochastic_d_14",
        lambda b: momentum.stochastic_d(b.high, b.low, b.close, 14) / 100,
        "SMA3 of %K14 / 100",
        15,
        0,
        1,
        "TA-Lib STOCHF",
    ),
    Feature(
        "williams_r_14",
        lambda b: momentum.williams_r(b.high, b.low, b.close, 14) / 100,
        "%R14 / 100",
        13,
        -1,
        0,
        "TA-Lib WILLR",
    ),
    Feature("tsi_25_13", lambda b: momentum.tsi(b.close) / 100, "TSI(25, 13) / 100", 37, -1, 1, "ta tsi"),
    Feature(
        "ultimate_oscillator",
        lambda b: momentum.ultimate_oscillator(b.high, b.low, b.close) / 50 - 1,
        "UO(7, 14, 28) / 50 - 1",
        28,
        -1,
        1,
        "TA-Lib ULTOSC",
    ),
)
