"""Small markets written down bar by bar, for cases worked out by hand."""

from typing import Any

import numpy as np
import pytest

from tests.reference.broker import ReferenceBroker

FIRST = (100.0, 100.0, 100.0, 100.0)
QUIET = (100.0, 101.0, 99.5, 100.0)

PLAIN = {"spread_bps": 0.0, "stop_loss": None, "take_profit": None, "max_position_pct": 1.0}
"""Nothing costs anything and nothing exits by itself."""


def make(*assets: list[tuple[float, float, float, float]], **settings: Any) -> ReferenceBroker:
    """A broker of some assets, each a list of (open, high, low, close) bars; tradable unless said otherwise.

    What a bar knows of an asset (`volume`, `atr`, `volatility`, `adv`, scales of costs) may be one number for all, or
    one per asset.
    """
    first, high, low, close = np.array(assets).transpose(2, 1, 0)
    tradable = settings.pop("tradable", np.ones(close.shape, bool))
    for name in {"volume", "atr", "volatility", "adv", "spread_scale", "impact_scale"} & settings.keys():
        settings[name] = np.broadcast_to(np.asarray(settings[name], float), close.shape)
    return ReferenceBroker(first, high, low, close, tradable, **{"spread_bps": 20.0, **settings})


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def signed(step: dict[str, Any]) -> list[tuple[int, float]]:
    """The fills of a step as (asset, signed shares)."""
    return [(fill.asset, near(fill.side * fill.shares)) for fill in step["fills"]]


def reasons(step: dict[str, Any]) -> list[str]:
    return [fill.reason for fill in step["fills"]]


def near(value: Any) -> Any:
    return pytest.approx(value, rel=1e-12, abs=1e-9)
