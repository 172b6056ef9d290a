"""Sweeps: one strategy under many costs and rules, or one training with many numbers of PPO, to a table.

Letters: N bars scored.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from ploutos_jax.agents.agent import Agent
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.evaluate.backtest.grid import params_at, play_points, points_of
from ploutos_jax.evaluate.backtest.run import backtest
from ploutos_jax.evaluate.ledger import simple_returns
from ploutos_jax.evaluate.metrics import summary
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import with_sectors
from ploutos_jax.train.config import Hyper, TrainConfig
from ploutos_jax.train.loop import train_seeds
from ploutos_jax.train.points import train_points

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
    at_once: int = 1,
    train_end: Any = None,
) -> pd.DataFrame:
    """Score a strategy, or what a training makes, at every combination of some numbers.

    Of an agent, or of a table of decisions, the numbers are those of the environment: settings of `EnvConfig` in their
    own units (`spread_bps`, `stop_loss`, `buy_pct`, ...), or any leaf of `EnvParams`. All combinations are played side
    by side by one `vmap` over these leaves. A rule has to be on in the configuration for its number to be swept.

    Of a `TrainConfig` they are leaves of `Hyper` (`learning_rate`, `gamma`, `entropy_coef`, ...), and of the
    environment as above: costs and rules are then trained under and scored under. Each combination is trained on the
    bars before `start`, from the same seeds (`num_seeds` of them) by the same compiled program, and scored from `start`
    on. The best of many is better than it will be: choose on other bars than you report.

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
        at_once: combinations that are trained side by side in one program: faster where the device is not full, equal
            up to rounding. One by one, bit for bit as alone, by default.
        train_end: last date (or row after the last) to train on, where bars before `start` are to be left out.

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
        spans = _Spans(market, start, end, train_end)
        return _sweep_training(what, spans, points, config or EnvConfig(), at_once)
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


class _Spans(NamedTuple):
    """Bars of a sweep over trainings, and where they are scored."""

    market: Market
    start: Any
    end: Any
    train_end: Any

    def trained_on(self) -> Market:
        """Return the bars to train on.

        Raises:
            ValueError: if there is no start, or nothing before it.
        """
        if self.start is None:
            raise ValueError(
                "A sweep of a training needs start=, the first bar to score on: it trains on those before."
            )
        first = self.market.find_rows(self.start, self.end).start
        if first < 2:
            raise ValueError(f"The span begins with row {first}, which leaves no bars to train on; give a later start.")
        last = first if self.train_end is None else min(first, self.market.find_rows(None, self.train_end).stop)
        return self.market.window(0, last)


def _sweep_training(
    config: TrainConfig, spans: _Spans, points: Sequence[dict[str, float]], rules: EnvConfig, at_once: int
) -> pd.DataFrame:
    known = {field.name for field in dataclasses.fields(Hyper)}
    of_rules = [name for name in points[0] if name not in known]
    trained_on = spans.trained_on()
    settings = {field.name for field in dataclasses.fields(EnvConfig)}
    leaves = {field.name for field in dataclasses.fields(EnvParams)}
    for name in of_rules:
        if name not in settings | leaves:
            raise ValueError(
                f"A training is swept over numbers of PPO and of the environment, and {name!r} is none of them:"
                f" {', '.join(sorted(known))}, or a setting of EnvConfig."
            )
    rows = []
    for some in (points[place : place + at_once] for place in range(0, len(points), at_once)):
        for point, agents in zip(some, _trained(config, trained_on, some, of_rules, rules), strict=True):
            changes = {name: point[name] for name in of_rules if name in settings}
            env = TradingEnv(dataclasses.replace(rules, **changes))
            rows += [
                {**point, "seed": seed, **_scored(agent, spans, env)}
                for seed, agent in zip(config.seeds, agents, strict=True)
            ]
    return pd.DataFrame(rows, columns=[*points[0], "seed", *FIGURES])


def _trained(
    config: TrainConfig, market: Market, points: Sequence[dict[str, float]], of_rules: Sequence[str], rules: EnvConfig
) -> list[tuple[Agent | None, ...]]:
    """Return the agents of each point, one for each seed; None where the training of one of several diverged."""
    hyper = [config.hyper().replace(**{n: v for n, v in point.items() if n not in of_rules}) for point in points]
    changed: dict[str, Any] = {}
    params = None
    if of_rules:
        params, changed = params_at(rules, with_sectors(market), [{n: p[n] for n in of_rules} for p in points])
    env = TradingEnv(rules)
    if len(points) == 1:
        if params is not None:
            params = params.replace(**{name: values[0] for name, values in changed.items()})
        return [train_seeds(config, market, env, params=params, hyper=hyper[0])]
    params = env.default_params(with_sectors(market)) if params is None else params
    nobody = (None,) * config.num_seeds
    return [nobody if found is None else found for found in train_points(config, env, params, hyper, changed)]


def _scored(agent: Agent | None, spans: _Spans, env: TradingEnv) -> dict[str, float]:
    """Return `FIGURES` of an agent on the bars to score on; NaN of one that is none."""
    if agent is None:
        return dict.fromkeys(FIGURES, float("nan"))
    ledger = backtest(agent, spans.market, spans.start, spans.end, env=env)
    figures = _figures(spans.market.window(spans.start, spans.end), ledger.equity, ledger.turnover)
    return {**figures, "num_fills": len(ledger.fills), "total_cost": float(ledger.cost.sum())}


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
