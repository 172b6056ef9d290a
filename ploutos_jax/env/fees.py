"""Commissions: what a fill costs beside its price."""

import jax.numpy as jnp

from ploutos_jax.env.types import Array, EnvParams


def commission_cash(notional: Array, shares: Array, params: EnvParams) -> Array:
    """Return the commission of fills in dollars: `notional · commission + shares · commission_per_share_cash`.

    It never exceeds the traded value, so that a sale of a penny stock cannot cost more than it brings.

    Args:
        notional: `[A]` dollars traded, not negative.
        shares: `[A]` shares traded, not negative.
        params: holds the two rates.
    """
    return jnp.minimum(notional * params.commission + shares * params.commission_per_share_cash, notional)
