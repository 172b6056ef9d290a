"""Bar: one row of the market as the broker reads it."""

import typing

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import EnvParams


@typing.no_type_check
class Bar(struct.PyTreeNode):
    """One row of the market, and what the broker knows about it. Arrays are `[A]`; what no rule reads is None.

    Attributes:
        row: int32 row of the market.
        open, high, low, close: prices as traded.
        tradable: bool, False where nothing fills.
        buyable: bool, False where no buy fills; None where whatever trades may be bought.
        volume_limit: shares that may be filled in this bar.
        delisted, dividend, split: see `Market`.
        spread_scale, impact_scale: multiples of spread and impact of fills in this bar.
        atr, volatility, adv: what was known at the close observed.
        slippage: fraction of price; one for all assets unless a rule makes it differ.
        fee_rates, fee_caps: `[J]` of the bar's session.
        begins_session, ends_session: bool.
        num_days: int32 calendar days since the bar before.
        has_day_trade_rule: bool, whether the rule was in force.
    """

    row: Int[Array, ""]
    open: Float[Array, " A"]
    high: Float[Array, " A"]
    low: Float[Array, " A"]
    close: Float[Array, " A"]
    tradable: Bool[Array, " A"]
    buyable: Bool[Array, " A"] | None
    volume_limit: Float[Array, " A"] | None
    delisted: Bool[Array, " A"] | None
    dividend: Float[Array, " A"] | None
    split: Float[Array, " A"] | None
    spread_scale: Float[Array, " A"] | None
    impact_scale: Float[Array, " A"] | None
    atr: Float[Array, " A"] | None
    volatility: Float[Array, " A"] | None
    adv: Float[Array, " A"] | None
    slippage: Float[Array, " *A"]
    fee_rates: Float[Array, " J"]
    fee_caps: Float[Array, " J"]
    begins_session: Bool[Array, ""]
    ends_session: Bool[Array, ""]
    num_days: Int[Array, ""]
    has_day_trade_rule: Bool[Array, ""]


def read_bar(
    config: EnvConfig,
    params: EnvParams,
    row: Int[Array, ""],
    observed: Int[Array, ""],
    noise: Float[Array, " A"] | None,
) -> Bar:
    """Read row `row` of the market for orders decided at the close of row `observed`.

    Args:
        config, params: rules and numbers.
        row: the bar traded.
        observed: the bar up to which usual movement and volume are known.
        noise: `[A]` standard normal numbers, or None without random slippage.
    """
    market = params.market

    def take(field: Array | None, at: Array) -> Array | None:
        return None if field is None else field[at]

    known = {name: take(getattr(market, name), observed) for name in ("atr", "volatility", "adv")}
    known = {name: value if name in config.needs else None for name, value in known.items()}
    sessions = market.sessions
    last_row = sessions.shape[0] - 1
    follows = sessions[jnp.minimum(row + 1, last_row)]
    num_days = sessions[row] - sessions[jnp.maximum(row - 1, 0)]
    return Bar(
        row=row,
        open=market.open[row],
        high=market.high[row],
        low=market.low[row],
        close=market.close[row],
        tradable=market.tradable[row],
        buyable=take(market.buyable, row),
        volume_limit=None if config.max_participation is None else market.volume[row] * params.max_participation,
        delisted=take(market.delisted, row),
        dividend=take(market.dividend, row),
        split=take(market.split, row),
        spread_scale=take(market.spread_scale, row),
        impact_scale=None if config.impact is None else take(market.impact_scale, row),
        **known,
        slippage=_slippage(config, params, known["atr"], known["volatility"], noise),
        fee_rates=params.fee_rates[:, row],
        fee_caps=params.fee_caps[:, row],
        begins_session=num_days != 0,
        ends_session=(row == market.path_end[row]) | (follows != sessions[row]),
        num_days=num_days,
        has_day_trade_rule=sessions[row] < params.day_trade_end,
    )


def _slippage(
    config: EnvConfig, params: EnvParams, atr: Array | None, volatility: Array | None, noise: Array | None
) -> Array:
    slippage = params.slippage
    if config.slippage_atr is not None and atr is not None:
        slippage = slippage + params.slippage_atr * atr
    if config.slippage_volatility is not None and volatility is not None:
        slippage = slippage + params.slippage_volatility * volatility
    if config.slippage_noise is not None and noise is not None:
        slippage = slippage * jnp.exp(params.slippage_noise * noise)
    return slippage
