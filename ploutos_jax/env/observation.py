"""What the agent sees. The only reader of the market on the agent's side: a look-ahead would have to live here."""

import jax.numpy as jnp

from ploutos_jax.env.types import Array, EnvParams, EnvState, Observation

ASSET_FIELDS = ("weight", "unrealised_return", "age")
"""Per asset: share of equity; close against average entry price, within ±1; bars held as `n / (n + 20)`."""

ACCOUNT_FIELDS = ("cash_share", "drawdown", "growth", "position_count")
"""Cash over equity; loss from the episode's peak; `ln(equity / initial cash)` within ±1; share of assets held."""

_AGE_HALF = 20


def observe(state: EnvState, params: EnvParams) -> Observation:
    """Return the observation at the close of bar `state.t`; nothing in it depends on a later bar.

    Account values are bounded and stored as float16: network and buffers see the same numbers.
    """
    close = params.market.close[state.t]
    held = state.shares != 0
    value = state.shares * close
    entry = jnp.where(held, state.entry_price, 1)
    age = jnp.where(held, state.t - state.entry_bar, 0).astype(close.dtype)
    assets = jnp.stack(
        [
            value / state.equity,
            jnp.where(held, jnp.clip(close / entry - 1, -1, 1), 0),
            age / (age + _AGE_HALF),
        ],
        axis=-1,
    )
    account = jnp.stack(
        [
            state.cash / state.equity,
            1 - state.equity / state.peak_equity,
            jnp.clip(jnp.log(state.equity / params.initial_cash), -1, 1),
            held.mean(dtype=close.dtype),
        ]
    )
    return Observation(t=state.t, assets=assets.astype(jnp.float16), account=account.astype(jnp.float16))


def flatten(observation: Observation, params: EnvParams) -> Array:
    """Return the observation as one float32 vector `[A·F + A·K + G]`: market features, assets, account."""
    row = params.market.features[observation.t].astype(jnp.float32)
    return jnp.concatenate(
        [row.ravel(), observation.assets.astype(jnp.float32).ravel(), observation.account.astype(jnp.float32)]
    )
