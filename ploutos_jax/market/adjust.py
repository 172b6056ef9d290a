"""Splits and dividends: prices as traded to total-return prices, forward in time."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ploutos_jax.market.panel import Panel


def total_return(panel: Panel, num_paths: int = 1) -> Panel:
    """Return the panel with prices adjusted forward for splits and dividends, and volume for splits.

    A holder over the open of bar t gets `split[t]` new shares per old one and then `dividend[t]` per new share, which
    is reinvested at the close, so that adjusted closes grow by

        (close[t] + dividend[t]) · split[t] / close[t-1].

    All four prices of bar t are scaled by the same factor. Splits and dividends that fall on missing bars reach the
    next existing one. The usual backward adjustment would write later splits and dividends into row t; here row t
    depends on rows up to t alone.

    Args:
        panel: prices as traded.
        num_paths: number of paths of equal length lying end to end along T; each starts at a factor of 1.

    Returns:
        A panel without `dividend` and `split`, known at close t (the open too: its factor needs the close). On the
        host it is computed in float64; inside a `jit` in the default dtype.
    """
    if panel.split is None and panel.dividend is None:
        return panel
    xp: Any = jnp if is_traced(panel) else np
    shape = (num_paths, panel.num_bars // num_paths, panel.num_assets)
    close = xp.asarray(panel.close, float).reshape(shape)
    split = xp.ones(shape) if panel.split is None else xp.asarray(panel.split, float).reshape(shape)
    dividend = xp.zeros(shape) if panel.dividend is None else xp.asarray(panel.dividend, float).reshape(shape)
    shares = xp.cumprod(split, axis=1)
    paid = xp.cumsum(dividend * shares, axis=1)
    exists = xp.isfinite(close)
    last_row = xp.maximum.accumulate(xp.where(exists, xp.arange(shape[1])[:, None], -1), axis=1)
    row_before = xp.concatenate([xp.full_like(last_row[:, :1], -1), last_row[:, :-1]], axis=1)
    paid_before = xp.take_along_axis(paid, xp.maximum(row_before, 0), axis=1)
    pending = xp.where(exists & (row_before >= 0), paid - paid_before, 0) / shares
    factor = shares * xp.cumprod(1 + pending / xp.where(exists, close, 1), axis=1)
    factor, shares = factor.reshape(panel.close.shape), shares.reshape(panel.close.shape)
    prices = {name: xp.asarray(getattr(panel, name), float) * factor for name in ("open", "high", "low", "close")}
    volume = xp.asarray(panel.volume, float) / shares
    return panel.replace(**prices, volume=volume, dividend=None, split=None)


def is_traced(panel: Panel) -> bool:
    """Tell whether the panel's arrays are being traced by JAX, so that the host cannot read them."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(panel))
