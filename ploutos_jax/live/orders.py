"""What an agent would do at the next open: the first orders of a backtest that has one more bar.

They are made by the backtest's own code, on a bar that is flat at the last closes; prices of the real one are not
known, so shares are an estimate where a size is a share of equity, and the values are not.

Letters: A assets.
"""

import csv
import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from ploutos_jax.agents.agent import Agent
from ploutos_jax.env import observation, rewards
from ploutos_jax.env.broker import account, stops
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rollout import Runner
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, EnvState
from ploutos_jax.evaluate.backtest.handover import play_agent
from ploutos_jax.evaluate.backtest.recorder import to_ledger
from ploutos_jax.live.next_bar import with_next_bar
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.labels import name_moment
from ploutos_jax.market.panel import Panel

COLUMNS = ("ticker", "side", "shares", "price", "value", "cost", "reason", "weight_before", "weight_after")
_FILLS = {
    "next_open": "at the next open",
    "next_close": "at the next close",
    "same_close": "at the close observed",
}


class Holding(NamedTuple):
    """A position: shares held, and the average price that was paid, dollars per share; the last close without it."""

    shares: float
    entry_price: float | None = None


def orders_for_today(
    agent: Agent,
    panel: Panel,
    *,
    holdings: Mapping[str, float | Holding] | None = None,
    cash: float | None = None,
    features: Sequence[Any] | None = None,
) -> pd.DataFrame:
    """Return what an agent would order after the last bar of a panel, to be filled at the next open.

    Args:
        agent: what decides, by its greedy action and under the rules and costs of its training.
        panel: bars up to now, as long a history as the features need; tickers that the agent does not know are left
            out.
        holdings: shares held by ticker; none without it.
        cash: dollars; without it those that an episode of the agent begins with.
        features: the columns of the market, where the agent was trained with functions of your own; the agent's own
            names without it.

    Returns:
        One row for each order, sales first: `ticker`, `side` (buy or sell), `shares` at the last close, expected
        `price` with spread and slippage, `value` in dollars, `cost` of spread, slippage and fees, `reason` (`order`,
        or the rule of the broker that closes a position), and the share of equity in the ticker before and after;
        where the rules have exits, the `stop` and the `target` that stand after the order. `attrs` holds the date
        decided on, when it fills, equity and cash before.

    Raises:
        ValueError: if the panel lacks the agent's tickers or features, has fewer than two bars, or a holding is no
            position in one of them.
    """
    panel = panel.select(agent.known_tickers(panel.symbols))
    config = dataclasses.replace(agent.env_config, episode_length=1)
    reach = 2e-4 * config.limit_offset_bps if config.order_type == "limit" else 0.0
    longer = with_next_bar(panel, min(reach, 0.99))
    try:
        market = build_market(longer, list(features or agent.feature_names))
    except ValueError as error:
        if features is not None:
            raise
        raise ValueError(
            f"{error} If the agent was trained with functions of your own, give all its columns as features=[...]."
        ) from None
    agent.check_market(market)
    span = market.window(panel.num_bars - 1, lead=agent.network.warm_up)
    env = TradingEnv(config, itemised=True)
    params = env.default_params(agent.with_own_sectors(span))
    params, state = _account(config, params, _read_holdings(panel, holdings or {}), cash)
    # As `backtest` begins: one account, seed 0.
    seen = observation.observe(config, state, params)
    state, seen = jax.tree.map(lambda x: jnp.asarray(x)[None], (state, seen))
    key = jax.random.fold_in(jax.random.key(0), 0)[None]
    runner = Runner(state=state, observation=seen, keys=key, step=jnp.zeros((), jnp.uint32))
    after, records = play_agent(env, agent.network, 1, agent.params, params, runner)
    fills = to_ledger("orders", span, config, records).fills
    before, later = (jax.tree.map(lambda x: x[0], one) for one in (state, after.state))
    table = _table(fills, config, params, before, later, panel.symbols)
    table.attrs = {
        "decided": name_moment(panel.times[-1]),
        "fills": _FILLS[config.fill],
        "equity": float(before.equity),
        "cash": float(before.cash),
    }
    return table


def _account(
    config: EnvConfig, params: EnvParams, held: Mapping[int, Holding], cash: float | None
) -> tuple[EnvParams, EnvState]:
    """Return the account that decides, at the first of the two bars of `params.market`, and its numbers."""
    close = np.asarray(params.market.close[0], np.float64)
    shares, entry = np.zeros((2, len(close)))
    for column, holding in held.items():
        shares[column] = holding.shares
        entry[column] = close[column] if holding.entry_price is None else holding.entry_price
    money = float(params.initial_cash) if cash is None else cash
    if not (math.isfinite(money) and money >= 0):
        raise ValueError(f"cash={cash} must be dollars, 0 or more.")
    worth = money + float(shares @ close)
    if not worth > 0:
        raise ValueError("The account is worth nothing: give cash, or holdings.")
    dtype = params.initial_cash.dtype
    params = params.replace(initial_cash=jnp.asarray(worth, dtype))
    state = account.new_state(config, params, jnp.int32(0), jnp.int32(1))
    state = rewards.init_reward_state(config.reward_terms, params, state)
    is_held = jnp.asarray(shares > 0)
    changes: dict[str, Any] = {
        "cash": jnp.asarray(money, dtype),
        "shares": jnp.asarray(shares, dtype),
        "entry_price": jnp.asarray(entry, dtype),
        "entry_bar": jnp.where(is_held, 0, state.entry_bar),
    }
    if state.highest_price is not None:
        changes["highest_price"] = jnp.where(is_held, jnp.maximum(jnp.asarray(entry, dtype), params.market.close[0]), 0)
    if state.entry_atr is not None and params.market.atr is not None:
        changes["entry_atr"] = jnp.where(is_held, params.market.atr[0], 0)
    return params, state.replace(**changes)


def _read_holdings(panel: Panel, holdings: Mapping[str, float | Holding]) -> dict[int, Holding]:
    """Return positions by the column of their ticker.

    Raises:
        ValueError: naming the first that is none.
    """
    held = {}
    for symbol, given in holdings.items():
        holding = given if isinstance(given, Holding) else Holding(given)
        if symbol not in panel.symbols:
            near = difflib.get_close_matches(symbol, panel.symbols, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(panel.symbols[:5])}."
            raise ValueError(f"The agent trades no {symbol!r}, which is held; {hint} Leave out what it does not trade.")
        if not (math.isfinite(holding.shares) and holding.shares >= 0):
            raise ValueError(f"The holding of {symbol} is {holding.shares} shares; give 0 or more.")
        if holding.entry_price is not None and not (math.isfinite(holding.entry_price) and holding.entry_price > 0):
            raise ValueError(f"The entry price of {symbol} is {holding.entry_price}; give dollars per share above 0.")
        if holding.shares > 0:
            held[panel.symbols.index(symbol)] = holding
    return held


def _table(
    fills: pd.DataFrame,
    config: EnvConfig,
    params: EnvParams,
    before: EnvState,
    after: EnvState,
    symbols: tuple[str, ...],
) -> pd.DataFrame:
    close = params.market.close[0]
    weights = [np.asarray(one.shares * close / one.equity, np.float64) for one in (before, after)]
    column = pd.Index(symbols).get_indexer(pd.Index(fills["ticker"]))
    slip = np.abs(fills["price"] - fills["reference_price"]) * fills["shares"]
    table = fills.assign(
        value=fills["shares"] * fills["price"],
        cost=slip + fills["fee"],
        weight_before=weights[0][column],
        weight_after=weights[1][column],
    )
    table = pd.DataFrame({name: table[name] for name in COLUMNS})
    levels = stops.find_levels(config, params, after)
    for name, level in (("stop", levels.stop), ("target", levels.target)):
        if level is not None:
            known = np.where(np.asarray(after.shares) > 0, np.asarray(level, np.float64), np.nan)
            table[name] = np.where(np.isfinite(known), known, np.nan)[column]
    return table.reset_index(drop=True)


def read_holdings(path: str | Path) -> dict[str, Holding]:
    """Return positions from a CSV with the columns ticker, shares and, where it is known, entry_price.

    Raises:
        ValueError: naming the file, and the row of what is no number.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"No such file: {path}; give a CSV with the columns ticker, shares and entry_price.")
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream, skipinitialspace=True)
        names = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
        missing = [name for name in ("ticker", "shares") if name not in names]
        if missing:
            raise ValueError(f"{path} has no column {missing[0]}: found {', '.join(names) or 'none'}.")
        holdings: dict[str, Holding] = {}
        for number, row in enumerate(reader, start=1):
            ticker = (row[names["ticker"]] or "").strip()
            if not ticker or ticker in holdings:
                raise ValueError(f"{path}, row {number}: {'a ticker is missing' if not ticker else f'{ticker} again'}.")
            shares = _number(path, number, "shares", row[names["shares"]])
            price = row[names["entry_price"]] if "entry_price" in names else ""
            holdings[ticker] = Holding(
                shares, _number(path, number, "entry_price", price) if (price or "").strip() else None
            )
    return holdings


def _number(path: Path, row: int, name: str, text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f"{path}, row {row}: {name} is {text!r}, which is no number.") from None
