"""Bars that the engines trade, and the form in which their results are kept."""

import json
import pathlib
from typing import Any

import numpy as np

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"

NUM_BARS = 240
"""All traces are of one length, so that replaying them compiles few programs."""

Bars = dict[str, np.ndarray]


def draw_bars(seed: int, num_assets: int, *, gaps: bool = True) -> Bars:
    """Draw `[T, A]` open, high, low and close.

    Bars gap now and then by several percent, and some reach far to both sides, so that stops and targets are gapped
    through, reached inside the bar, or both. Without `gaps` each bar opens at the close before it.
    """
    rng = np.random.default_rng(seed)
    shape = (NUM_BARS, num_assets)
    gap = rng.normal(0, 0.006, shape) + np.where(rng.random(shape) < 0.08, rng.normal(0, 0.06, shape), 0)
    move = rng.normal(0, 0.012, shape)
    wick = np.where(rng.random(shape) < 0.06, 0.06, 0.008)
    above, below = np.abs(rng.normal(0, wick)), np.abs(rng.normal(0, wick))
    logs = np.log(rng.uniform(40, 160, num_assets)) + np.cumsum((gap if gaps else 0) + move, axis=0)
    close, first = np.exp(logs), np.exp(logs - move)
    if not gaps:
        first[1:] = close[:-1]
    return {
        "open": first,
        "high": np.maximum(first, close) * np.exp(above),
        "low": np.minimum(first, close) * np.exp(-below),
        "close": close,
    }


def bars_of(rows: list[tuple[float, float, float, float]]) -> Bars:
    """Return bars of one asset written by hand as (open, high, low, close)."""
    return dict(zip(("open", "high", "low", "close"), np.array(rows, float).T[:, :, None], strict=True))


def decide(weights: dict[tuple[int, int], float]) -> list[list[Any]]:
    """Return weights by (bar at whose close they are decided, asset) as rows in that order."""
    return [[bar, asset, float(weight)] for (bar, asset), weight in sorted(weights.items())]


def fills_in_order(fills: list[list[Any]]) -> list[list[Any]]:
    """Sort fills by bar and asset, orders before stops and targets: in a bar, the latter come after the open."""
    return sorted(fills, key=lambda fill: (fill[0], fill[1], fill[5] != "order"))


def write_json(name: str, content: dict[str, Any]) -> None:
    """Write a golden file, one trace and one field a line; floats keep every bit."""
    traces = ",\n".join(
        f"{json.dumps(key)}: {{\n" + ",\n".join(f"  {json.dumps(k)}: {_line(v)}" for k, v in trace.items()) + "\n}"
        for key, trace in content["traces"].items()
    )
    head = "".join(f"{json.dumps(k)}: {_line(v)},\n" for k, v in content.items() if k != "traces")
    path = GOLDEN / f"{name}.json"
    path.write_text(f'{{\n{head}"traces": {{\n{traces}\n}}\n}}\n')
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {len(content['traces'])} traces")


def _line(value: Any) -> str:
    return json.dumps(value, default=lambda x: x.tolist(), separators=(",", ":"), allow_nan=False)
