"""A strategy of one's own, a Python function, through the same step and the same broker as everything else.

The function is called on the host at every close, with what is known by then and nothing else; what it returns is an
action of the environment. One bar costs a call of the compiled step, so this is for one account; what can be written
as a table of decisions runs faster in `vectorized.play_decisions`.

Letters: A assets, N bars played.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from ploutos_jax.env.broker.account import orders_none
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rollout import Step
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import LEVELS, EnvParams, EnvState
from ploutos_jax.evaluate.backtest.recorder import Records, record_account, to_ledger
from ploutos_jax.evaluate.backtest.seen import Bars, History
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.labels import name_moment
from ploutos_jax.market.panel import Market, Panel

Strategy = Callable[[Bars], Any]
_ROUNDING = 1e-6
"""By how much weights may add up to more than 1."""


def run_strategy(
    strategy: Strategy,
    bars: Panel | Market,
    start: Any = None,
    end: Any = None,
    *,
    config: EnvConfig | None = None,
    name: str | None = None,
) -> Ledger:
    """Play a function of one's own over a span of bars, once, from an account in cash.

    It is called at the close of every bar of the span but the last, and its orders fill at the open of the next one,
    or as `config` says.
    What it is given ends with that close: no later bar is in reach of it. The first decision is made at the close of
    the first bar of the span; bars before the span are seen, not traded.

    ```python
    def rule(bars):
        is_up = bars.adjusted[-10:].mean(axis=0) > bars.adjusted[-50:].mean(axis=0)
        return np.where(is_up, 1 / bars.num_assets, 0.0)

    ledger = pj.run_strategy(rule, panel, start="2015-01-01")
    ```

    Args:
        strategy: `(Bars) -> decision`. With `action="weights"`, which is the default, that is target shares of equity,
            the rest being cash: `[A]` numbers in the order of the tickers, or a dictionary or Series by ticker in which
            those that are not named keep their position. NaN leaves a position alone, and so does None, all of them.
            Under another `config.action` it is `[A]` integers or `[A, 2]` bands, see `TradingEnv`.
        bars: a panel, or a market, whose features are then seen too.
        start, end: first and last date of the span (or row numbers); all bars without them.
        config: rules and costs. Without it the default costs, weights as actions, and no stops, targets or limits.
        name: of the ledger; that of the function without it.

    Raises:
        ValueError: if the span holds fewer than two bars or several paths, or a decision is none: the message names
            the date and what was wrong.
        Exception: whatever the strategy raises, with the date as a note.
    """
    config = EnvConfig().without_strategy_rules() if config is None else config
    market = build_market(bars, "minimal") if isinstance(bars, Panel) else bars
    rows = market.find_rows(start, end)
    span = market.window(start, end)
    _check_span(span)
    # The whole market and the shortest episode: one program for all spans of it.
    env = TradingEnv(dataclasses.replace(config, episode_length=1), itemised=True)
    params = env.default_params(market)
    history, key, records = History.of(bars), jax.random.key(0), []
    state = jax.tree.map(lambda x: x[None], env.reset_at(rows.start, rows.stop - 1, params)[1])
    for row in range(rows.start, rows.stop - 1):
        decision = _decide(strategy, history.up_to(row, **_account_of(state)))
        try:
            action = _read(decision, config, history.symbols, params)
        except ValueError as error:
            raise ValueError(f"The strategy's decision of {name_moment(history.times[row])} {error}") from None
        state, record = _advance(env, jax.random.fold_in(key, row), state, action, params)
        records.append(record)
    stacked = jax.tree.map(lambda *x: np.stack(x), *jax.device_get(records))
    return to_ledger(name or _name_of(strategy), span, config, stacked)


def _check_span(span: Market) -> None:
    if span.num_bars < 2:
        raise ValueError("The span holds one bar; a strategy decides at its close and needs another bar to trade in.")
    ends = np.unique(np.asarray(span.path_end))
    if len(ends) > 1:
        raise ValueError(f"The span holds {len(ends)} paths, which follow one another in no account; play one of them.")


def _account_of(state: EnvState) -> dict[str, Any]:
    fields = jax.device_get((state.cash, state.cash_low, state.equity, state.shares, state.entry_price))
    cash, low, equity, shares, price = (np.asarray(field, np.float64)[0] for field in fields)
    return {"cash": float(cash + low), "equity": float(equity), "shares": shares, "entry_price": price}


def _decide(strategy: Strategy, seen: Bars) -> Any:
    try:
        return strategy(seen)
    except Exception as error:
        error.add_note(f"raised by the strategy at the close of {name_moment(seen.date)}")
        raise


def _name_of(strategy: Strategy) -> str:
    return getattr(strategy, "__name__", type(strategy).__name__)


@partial(jax.jit, static_argnums=0)
def _advance(
    env: TradingEnv, key: jax.Array, state: EnvState, action: jax.Array, params: EnvParams
) -> tuple[EnvState, Records]:
    """Advance the one account `[1]` by a bar; return it and what a ledger needs."""
    seen, action = jax.vmap(env.observe, in_axes=(0, None))(state, params), action[None]
    advance = jax.vmap(env.step_env, in_axes=(0, 0, 0, None))
    _, state, reward, terminated, truncated, info = advance(key[None], state, action, params)
    step = Step(
        observation=seen,
        action=action,
        extra=None,
        reward=reward,
        terminated=terminated,
        truncated=truncated,
        info=info,
        state=state,
    )
    return state, record_account(params, step)


def _read(decision: Any, config: EnvConfig, symbols: tuple[str, ...], params: EnvParams) -> np.ndarray:
    """Return a decision as an action of the environment.

    Raises:
        ValueError: saying what is wrong with it, as the end of a sentence.
    """
    dtype = np.dtype(np.int32) if config.is_choice else np.dtype(params.initial_cash.dtype)
    nothing = np.array(orders_none(config, len(symbols), dtype), dtype)
    if decision is None:
        return nothing
    if isinstance(decision, Mapping) or hasattr(decision, "items"):
        action = nothing
        for symbol, value in decision.items():
            if symbol not in symbols:
                near = difflib.get_close_matches(str(symbol), symbols, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(symbols[:5])}."
                raise ValueError(f"names the ticker {symbol!r}, which is unknown; {hint}")
            action[symbols.index(symbol)] = _numbers(value)
    else:
        numbers = _numbers(decision)
        allowed = {nothing.shape, (len(symbols) + 1,)} if config.action == "weights" else {nothing.shape}
        numbers = numbers[None] if numbers.ndim == 0 and len(symbols) == 1 else numbers
        if numbers.shape not in allowed:
            raise ValueError(
                f"has the shape {numbers.shape}; {config.action} of {len(symbols)} tickers have"
                f" {' or '.join(map(str, sorted(allowed)))}."
            )
        action = numbers
    _check(np.asarray(action, np.float64), config)
    return action.astype(dtype)


def _numbers(value: Any) -> np.ndarray:
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"holds {value!r}, which is no number.") from None


def _check(action: np.ndarray, config: EnvConfig) -> None:
    if config.is_choice:
        highest = len(LEVELS) if config.action == "levels" else 2
        bad = ~((action >= 0) & (action <= highest) & (action == np.round(action)))
        if bad.any():
            raise ValueError(
                f"holds {action[bad][0]:g}; {config.action} actions are whole numbers from 0 to {highest}."
            )
        return
    known = action[~np.isnan(action)]
    if np.isinf(known).any() or (known < 0).any():
        worst = known[np.isinf(known) | (known < 0)][0]
        raise ValueError(f"holds the weight {worst:g}; positions are not short, weights lie from 0 to 1.")
    total = known.sum()
    if config.action == "weights" and total > 1 + _ROUNDING:
        raise ValueError(f"has weights that add up to {total:.6g}; no money is lent, so they make at most 1.")
