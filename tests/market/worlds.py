"""Panels that are hard on indicators: every value is exact in float32, so that an oracle sees the same prices."""

import numpy as np

PRICES = ("open", "high", "low", "close")


def on_grid(prices: dict[str, np.ndarray], bits: int = 16) -> dict[str, np.ndarray]:
    """Round the prices of each asset to a binary grid: then sums of three are exact in float32, and ties are ties."""
    unit = 2.0 ** (np.floor(np.log2(np.median(prices["close"], axis=0))) - bits)
    return {name: np.maximum(np.round(x / unit), 1) * unit for name, x in prices.items()}


def make_broken_panel(panel):
    """Spikes up and down; a long halt without volume; mostly ties; an asset that never moves."""
    num_bars = panel.num_bars
    prices = {name: getattr(panel, name).copy() for name in PRICES}
    volume = panel.volume.copy()
    for x in prices.values():
        x[150, 0] *= 5
        x[220, 0] /= 5
        x[:, 2] = np.round(x[:, 2] / 4) * 4
        x[:, 3] = 25.0
    for x in prices.values():
        x[100:190, 1] = prices["close"][99, 1]
    volume[100:190, 1] = 0
    volume[::3, 2] = 0
    volume[:, 3] = 0
    assert num_bars > 300
    return panel.replace(**on_grid(prices), volume=volume).validate()


def make_scaled_panel(panel):
    """Tiny and huge prices and volumes; moves of 1e-4 of the price; a price that only rises."""
    prices = {name: getattr(panel, name) * np.array([2e-6, 8e3, 1, 0.02]) for name in PRICES}
    first, rise = panel.close[0, 2], np.exp(0.02 * np.arange(panel.num_bars))
    for x in prices.values():
        x[:, 2] = 100 + (x[:, 2] - first) * 0.01
        x[:, 3] *= rise
    volume = np.floor(panel.volume * np.array([1e6, 1e-2, 1, 1e-3]))
    return panel.replace(**on_grid(prices), volume=volume).validate()


def make_intraday_panel(panel, seed: int = 0):
    """The bars of a panel as 5-minute bars in sessions of 5 to 12, some days apart."""
    lengths = np.random.default_rng(seed).integers(5, 13, panel.num_bars)
    session = np.repeat(np.arange(panel.num_bars), lengths)[: panel.num_bars]
    return panel.replace(sessions=(17_000 + 2 * session).astype(np.int32))
