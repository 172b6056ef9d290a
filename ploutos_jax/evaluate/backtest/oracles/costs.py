"""What a side of a trade costs, as far as it goes in proportion to what is traded; for rules that plan with it."""

import numpy as np
from jaxtyping import Float

from ploutos_jax.env.broker.instruments import resolve_costs
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.market.panel import Market


def side_cost(config: EnvConfig, market: Market, row: int = 0) -> Float[np.ndarray, " A"]:
    """Return `[A]` the usual cost of buying or of selling an asset, as a share of what is traded; known at a row.

    Half the spread, not narrower than half a tick at the close of the row, slippage in basis points, and commission in
    proportion. What depends on the size of an order, on the bar or on chance is left out: impact, slippage by
    volatility, spreads that widen, fees per share and per order, and the fees of a schedule, a few tenths of a basis
    point of a sale of US equities.

    Args:
        config: rules and costs.
        market: bars and instruments.
        row: at whose close the first decision is made.
    """
    costs = resolve_costs(config, market)
    close = np.asarray(market.close[row], np.float64)
    tick = costs.tick_size / (2 * np.where(close > 0, close, np.inf))
    half_spread = np.maximum(config.spread_bps * 1e-4 / 2, tick)
    return half_spread + config.slippage_bps * 1e-4 + costs.commission
