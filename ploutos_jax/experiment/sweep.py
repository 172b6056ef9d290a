"""Sweeps: one strategy under many costs and rules, or one training with many numbers of PPO, to a table.

Letters: N bars scored.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from ploutos_jax.agents.agent import Agent
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.grid import play_points, points_of
from ploutos_jax.evaluate.backtest.run import backtest
from ploutos_jax.evaluate.ledger import simple_returns
from ploutos_jax.evaluate.metrics import summary
from ploutos_jax.market.panel import Market
from ploutos_jax.train.config import Hyper, TrainConfig
from ploutos_jax.train.loop import train_seeds

FIGURES = (
    *("total_return", "annual_return", "annual_volatility", "sharpe", "max_drawdown", "turnover", "num_fills"),
    *("total_cost", "final_equity"),
)
"""Columns of a sweep behind those of its names; units are those of `summarize`."""


def sweep(
    what: Agent | TrainConfig | np.ndarray,
    market: Market,
    grid: Mapping[str, Sequence[float]],
    start: Any = None,
    end: Any = None,
    *,
    env: TradingEnv | EnvConfig | None = None,
) -> pd.DataFrame:
    """Score a strategy, or what a training makes, at every combination of some numbers.

    Of an agent, or of a table of decisions, the numbers are those of the environment: settings of `EnvConfig` in their
    own units (`spread_bps`, `stop_loss`, `buy_pct`, ...), or any leaf of `EnvParams`. All combinations are played side
    by side by one `vmap` over these leaves. A rule has to be on in the configuration for its number to be swept.

    Of a `TrainConfig` they are leaves of `Hyper` (`learning_rate`, `gamma`, `entropy_coef`, ...). Each combination is
    trained on the bars before `start`, from the same seeds (`num_seeds` of them) by the same compiled program, and
    scored from `start` on. The best of many is better than it will be: choose on other bars than you report.

    ```python
    table = pj.sweep(agent, market, {"spread_bps": [1, 2, 5, 10], "slippage_bps": [0, 1, 5]}, start="2017-01-01")
    pj.heat_map(table, "spread_bps", "slippage_bps", "sharpe")
    ```

    Args:
        what: an agent; or decisions `[N, A]`, one at each close of the span but the last; or settings of a training.
        market: bars and features; the whole history, so that indicators are warm when the span begins.
        grid: values by name.
        start, end: first and last date of the bars to score on (or row numbers); all bars without them. A training
            needs a start.
        env: rules and costs. An agent's own without it; the default costs for decisions, as target weights.

    Returns:
        One row for each combination, and each seed of a training (`seed`): the numbers, then `FIGURES`, net of costs;
        annual figures are those of returns by session.

    Raises:
        ValueError: if a name is unknown or is no number of the program, the span is too short, or a training has no
            start.
    """
    points = points_of(grid)
    config = env.config if isinstance(env, TradingEnv) else env
    if isinstance(what, TrainConfig):
        return _sweep_training(what, market, points, start, end, config or EnvConfig())
    if config is None:
        config = what.env_config if isinstance(what, Agent) else EnvConfig().without_strategy_rules()
    span = market.window(start, end, lead=what.network.warm_up if isinstance(what, Agent) else 0)
    if span.num_bars < 2:
        raise ValueError("The span holds one bar; a sweep plays at least two.")
    accounts = play_points(what, span, config, points)
    rows = []
    for place, point in enumerate(points):
        figures = _figures(span, accounts.equity[place], accounts.turnover[place])
        rows.append(
            {**point, **figures, "num_fills": int(accounts.num_fills[place]), "total_cost": float(accounts.cost[place])}
        )
    return pd.DataFrame(rows, columns=[*points[0], *FIGURES])


def _sweep_training(
    config: TrainConfig, market: Market, points: Sequence[dict[str, float]], start: Any, end: Any, rules: EnvConfig
) -> pd.DataFrame:
    known = [field.name for field in dataclasses.fields(Hyper)]
    for name in points[0]:
        if name not in known:
            raise ValueError(f"A training is swept over numbers of PPO, and {name!r} is none: {', '.join(known)}.")
    if start is None:
        raise ValueError("A sweep of a training needs start=, the first bar to score on: it trains on those before.")
    first = market.find_rows(start, end).start
    if first < 2:
        raise ValueError(f"The span begins with row {first}, which leaves no bars to train on; give a later start.")
    env, rows = TradingEnv(rules), []
    for point in points:
        agents = train_seeds(config, market.window(0, first), env, hyper=config.hyper().replace(**point))
        for seed, agent in zip(config.seeds, agents, strict=True):
            ledger = backtest(agent, market, start, end)
            figures = _figures(market.window(start, end), ledger.equity, ledger.turnover)
            more = {"num_fills": len(ledger.fills), "total_cost": float(ledger.cost.sum())}
            rows.append({**point, "seed": seed, **figures, **more})
    return pd.DataFrame(rows, columns=[*points[0], "seed", *FIGURES])


def _figures(
    span: Market, equity: Float[np.ndarray, " rows"], turnover: Float[np.ndarray, " rows"]
) -> dict[str, float]:
    """Return those of `FIGURES` that follow from the account by bar, as `summarize` computes them."""
    sessions, periods = np.asarray(span.sessions), span.calendar.periods_per_year
    closes = np.flatnonzero(np.append(sessions[1:] != sessions[:-1], True))
    daily = simple_returns(equity[closes if closes[0] == 0 else np.append(0, closes)])
    returns = simple_returns(equity)
    return {
        "total_return": summary.total_return(returns),
        "annual_return": summary.annual_return(daily, periods),
        "annual_volatility": summary.annual_volatility(daily, periods),
        "sharpe": summary.sharpe(daily, periods),
        "max_drawdown": summary.max_drawdown(returns),
        "turnover": summary.turnover(turnover, equity, daily.size / periods),
        "final_equity": float(equity[-1]),
    }
