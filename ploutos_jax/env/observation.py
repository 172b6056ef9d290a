"""What the agent sees. The only reader of the market on the agent's side: a look-ahead would have to live here."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ploutos_jax.env.broker import day_trades, stops
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.masks import valid_actions
from ploutos_jax.env.types import EnvParams, EnvState, Observation
from ploutos_jax.market.sectors import GICS_SECTORS

ASSET_FIELDS = ("weight", "unrealised_return", "age", "stop_distance", "target_distance")
"""Per asset: share of equity; close against average entry price, within ±1; bars held as `n / (n + 20)`; distance d of
the close to the stop and to the target as a share of the close, as `d / (d + 0.05)`, 1 without one."""

ACCOUNT_FIELDS = (
    "cash_share",
    "drawdown",
    "growth",
    "position_count",
    "leverage",
    "day_trades_left",
    "recent_sharpe",
    "recent_volatility",
    *(f"sector_{name.lower().replace(' ', '_')}" for name in GICS_SECTORS),
)
"""Cash over equity; loss from the episode's peak; `ln(equity / initial cash)` within ±1; share of assets held;
positions over equity; day trades that the rule leaves, of 3, 1 where it does not bind; mean over deviation of the
moving averages behind the differential Sharpe ratio, within ±1, and that deviation s as `s / (s + 0.01)`, both 0 where
no reward keeps them; share of equity in each of 11 sectors."""

_BRIEF = 3
_FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "full": (ASSET_FIELDS, ACCOUNT_FIELDS),
    "brief": (ASSET_FIELDS[:_BRIEF], ACCOUNT_FIELDS[:_BRIEF]),
}


def fields_of(observation: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the fields per asset and of the account that `EnvConfig.observation` stands for."""
    return _FIELDS[observation]


_AGE_HALF = 20
_DISTANCE_HALF = 0.05
_VOLATILITY_HALF = 0.01


def observe(config: EnvConfig, state: EnvState, params: EnvParams) -> Observation:
    """Return the observation at the close of bar `state.t`; nothing in it depends on a later bar.

    Account values are bounded and stored as float16 or bytes: network and buffers see the same numbers.
    """
    close = params.market.close[state.t]
    held = state.shares != 0
    weight = state.shares * close / state.equity
    unrealised = jnp.where(held, jnp.clip(close / jnp.where(held, state.entry_price, 1) - 1, -1, 1), 0)
    age = jnp.where(held, state.t - state.entry_bar, 0).astype(close.dtype)
    exits = stops.find_levels(config, params, state)
    none = jnp.ones_like(close)
    levels = jnp.stack(
        [
            age / (age + _AGE_HALF),
            none if exits.stop is None else _nearness(held, close, close - exits.stop),
            none if exits.target is None else _nearness(held, close, exits.target - close),
        ],
        axis=-1,
    )
    account = jnp.stack(
        [
            state.cash / state.equity,
            1 - state.equity / state.peak_equity,
            jnp.clip(jnp.log(state.equity / params.initial_cash), -1, 1),
            held.mean(dtype=close.dtype),
            jnp.abs(weight).sum(),
            _day_trades_left(params, state),
            *_recent_returns(state),
        ]
    )
    sectors = jnp.matmul(params.sector_columns, weight, precision=jax.lax.Precision.HIGHEST)
    if config.observation == "brief":
        of_asset, of_account = fields_of(config.observation)
        levels, account, sectors = levels[:, : len(of_asset) - 2], account[: len(of_account)], sectors[:0]
    return Observation(
        t=state.t,
        positions=jnp.stack([weight, unrealised], axis=-1).astype(jnp.float16),
        levels=jnp.round(255 * levels).astype(jnp.uint8),
        account=jnp.concatenate([account, sectors]).astype(jnp.float16),
        valid=valid_actions(config, params, state),
    )


def flatten(observation: Observation, params: EnvParams) -> Float[Array, " observation"]:
    """Return the observation as one float32 vector `[A·F + A·H + G]`: market features, assets, account."""
    row = params.market.features[observation.t].astype(jnp.float32)
    return jnp.concatenate([row.ravel(), observation.assets.ravel(), observation.account.astype(jnp.float32)])


def _nearness(held: Array, close: Array, distance: Array) -> Array:
    """Return a distance in dollars as a number from 0 (at the level or beyond) to 1 (none)."""
    share = jnp.maximum(distance, 0) / jnp.where(held, close, 1)
    # Written so that an infinite distance gives 1.
    return jnp.where(held, 1 - _DISTANCE_HALF / (share + _DISTANCE_HALF), 1)


def _day_trades_left(params: EnvParams, state: EnvState) -> Array:
    one = jnp.ones_like(state.equity)
    if state.day_trades is None:
        return one
    in_force = params.market.sessions[state.t] < params.day_trade_end
    left = jnp.clip(day_trades.LAST_ALLOWED - state.day_trades.sum(), 0) / day_trades.LAST_ALLOWED
    return jnp.where(in_force & (state.equity < params.day_trade_equity_cash), left, one)


def _recent_returns(state: EnvState) -> tuple[Array, Array]:
    if state.stats is None:
        return jnp.zeros_like(state.equity), jnp.zeros_like(state.equity)
    mean, square = state.stats.sharpe_mean, state.stats.sharpe_square
    deviation = jnp.sqrt(jnp.maximum(square - mean**2, 1e-8))
    return jnp.clip(mean / deviation, -1, 1), deviation / (deviation + _VOLATILITY_HALF)
