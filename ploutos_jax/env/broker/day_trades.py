"""The pattern-day-trader rule of 2001 to 2026: at most three day trades in five sessions for small accounts.

Source: FINRA Rule 4210(f)(8)(B) as it stood until 2026-06-04 (repealed by SR-FINRA-2025-017); which orders a broker
refuses: Alpaca, "User Protection".
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ploutos_jax.env.broker.account import count
from ploutos_jax.env.broker.bar import Bar
from ploutos_jax.env.broker.ranking import largest_first
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import EnvParams, EnvState

LAST_ALLOWED = 3
"""Day trades in the window of sessions that do not mark an account."""

RULE_ENDS = int(np.datetime64("2026-06-04").astype(np.int64))
"""First session (days since 1970-01-01) without the rule."""


def is_bound(params: EnvParams, state: EnvState, in_force: Bool[Array, ""]) -> Bool[Array, ""]:
    """Tell whether the rule, if it is in force, limits the account: equity was too low at the last session's end."""
    if state.session_equity is None:
        return jnp.zeros((), bool)
    return in_force & (state.session_equity < params.day_trade_equity_cash)


def allowed_sales(
    config: EnvConfig,
    params: EnvParams,
    state: EnvState,
    bar: Bar,
    sells: Bool[Array, " A"],
    value: Float[Array, " A"],
    forced: Bool[Array, " A"],
) -> Bool[Array, " A"]:
    """Tell which of the `[A]` sales of one moment the rule lets through.

    Args:
        config, params, state, bar: rules, numbers, the account and the bar.
        sells: `[A]` bool, sales requested.
        value: `[A]` dollars, by which they are ranked.
        forced: `[A]` bool, exits of the same moment that are not in the account yet; they come first.
    """
    if config.day_trade_mode == "entry" or state.opened_today is None or state.day_trades is None:
        return sells
    left = LAST_ALLOWED - state.day_trades.sum() - count(forced & state.opened_today)
    risky = sells & state.opened_today
    kept = largest_first(risky, value, bar.adv, left, LAST_ALLOWED)
    return ~risky | kept | ~is_bound(params, state, bar.has_day_trade_rule)


def allowed_buys(
    config: EnvConfig, params: EnvParams, state: EnvState, bar: Bar, buys: Bool[Array, " A"], value: Float[Array, " A"]
) -> Bool[Array, " A"]:
    """Tell which of the `[A]` buys of one moment the rule lets through.

    Sales of the same moment do not matter: one that makes a day trade ends a position that could have become one.
    """
    opened = state.opened_today
    if opened is None or state.day_trades is None or state.flagged is None:
        return buys
    bound = is_bound(params, state, bar.has_day_trade_rule)
    allowed = ~(bound & state.flagged)
    if config.day_trade_mode == "exit":
        return buys & allowed
    held = state.shares != 0 if bar.delisted is None else (state.shares != 0) & ~bar.delisted
    left = LAST_ALLOWED - state.day_trades.sum() - count(opened & held)
    risky = buys & ~opened
    kept = largest_first(risky, value, bar.adv, left, LAST_ALLOWED)
    return allowed & (~risky | kept | ~bound)


def refused_for_sure(
    config: EnvConfig, params: EnvParams, state: EnvState, in_force: Bool[Array, ""]
) -> tuple[Bool[Array, " A"], Bool[Array, " A"]]:
    """Tell which `[A]` buys and sales the rule refuses whatever else is ordered and however the bar goes.

    What it leaves only shrinks within a bar, as a sale that is a day trade ends a position that could have become one.
    Only the payout of a delisted position leaves more.

    Args:
        config, params: rules and numbers.
        state: the account at close t, in the session of the orders (`account.roll_session`).
        in_force: whether there is the rule in that session.
    """
    none = jnp.zeros(state.shares.shape, bool)
    opened = state.opened_today
    if opened is None or state.day_trades is None or state.flagged is None:
        return none, none
    bound = is_bound(params, state, in_force)
    buys, sales = none | (bound & state.flagged), none
    left = LAST_ALLOWED - state.day_trades.sum()
    if config.day_trade_mode != "exit":
        buys = buys | (bound & ~opened & (left - count(opened & (state.shares != 0)) <= 0))
    if config.day_trade_mode != "entry":
        sales = bound & opened & (left <= 0)
    return buys, sales
