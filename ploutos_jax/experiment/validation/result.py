"""What came of a validation: folds put together to accounts that were never traded on bars trained on, and judged."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.provenance import DateSpan, Provenance
from ploutos_jax.datasets.splits import Plan, Segment, Window
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.evaluate.backtest.handover import combine, play_segments
from ploutos_jax.evaluate.backtest.run import baselines
from ploutos_jax.evaluate.inference.bootstrap import RESAMPLES
from ploutos_jax.evaluate.inference.sharpe import (
    bootstrap_interval,
    deflated_sharpe,
    probabilistic_sharpe,
    sharpe_difference,
)
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.metrics.summary import (
    annual_return,
    daily_returns,
    max_drawdown,
    sharpe,
    summarize,
    total_return,
)
from ploutos_jax.experiment.validation.folds import Fold
from ploutos_jax.market.panel import Market

CHOSEN, ALL_SEEDS = "chosen seed", "all seeds"
"""The agent chosen on each fold's validation rows; and an account for every seed, with an equal part of the money."""

RIVAL = "equal weight"
"""The baseline that differences are tested against."""

RESULT_FILE = "validation.json"


@dataclasses.dataclass(frozen=True)
class BacktestPath:
    """One way through history.

    Attributes:
        segments: who plays when.
        seeds: ledger of each seed.
        strategies: ledgers by the name to show, the one under test first.
        baselines: ledgers of the rules, over the same bars at the same costs.
    """

    segments: tuple[Segment, ...]
    seeds: tuple[Ledger, ...]
    strategies: dict[str, Ledger]
    baselines: dict[str, Ledger]


def stitch_paths(
    plan: Plan,
    folds: Sequence[Fold],
    market: Market,
    config: EnvConfig,
    *,
    chosen_on: DateSpan | None = None,
) -> tuple[BacktestPath, ...]:
    """Return the accounts of every path of a plan, each played once over all that is tested.

    Args:
        plan: the folds.
        folds: their agents.
        market: bars and features of the whole history.
        config: rules and costs.
        chosen_on: bars by which something of all folds was chosen, tickers say, though some are tested; in the
            provenance of every account.
    """
    provenance = Provenance("cross_validated", chosen_on=chosen_on)
    rules: dict[str, Ledger] = {}
    paths = []
    for segments in plan.paths:
        span = slice(max(segments[0].window.start - 1, 0), segments[-1].window.stop)
        rules = rules or baselines(market, config, span.start, span.stop)
        seeds = tuple(
            _play(
                f"seed {seed}", market, [(t.window, folds[t.split].agents[seed]) for t in segments], config, provenance
            )
            for seed in range(len(folds[0].agents))
        )
        strategies = {}
        if all(fold.chosen is not None for fold in folds):
            chosen = [(t.window, folds[t.split].agents[folds[t.split].chosen or 0]) for t in segments]
            strategies[CHOSEN] = _play(CHOSEN, market, chosen, config, provenance)
        strategies[ALL_SEEDS] = combine(ALL_SEEDS, seeds)
        paths.append(BacktestPath(segments, seeds, strategies, rules))
    return tuple(paths)


def _play(
    name: str,
    market: Market,
    segments: Sequence[tuple[Window, Agent]],
    config: EnvConfig,
    provenance: Provenance,
) -> Ledger:
    return dataclasses.replace(play_segments(name, market, segments, config), provenance=provenance)


def judge(
    path: BacktestPath, num_trials: int, periods: float | None = None, *, resamples: int = RESAMPLES
) -> dict[str, dict[str, Any]]:
    """Return by strategy what of its result may be luck.

    The deflated Sharpe ratio is reported twice: with the variance of the seeds' Sharpe ratios over the full span, and,
    as seeds that trade the same market differ less than independent trials would, with the sampling variance of a
    Sharpe ratio of 0.

    Args:
        path: the accounts.
        num_trials: seeds, folds and settings that were tried.
        periods: sessions in a year, by which returns are annualised once they are compounded to sessions; those of
            the ledgers' calendar without it.
        resamples: of each bootstrap.
    """
    rival = daily_returns(path.baselines[RIVAL])
    periods = path.baselines[RIVAL].calendar.periods_per_year if periods is None else periods
    trials = [sharpe(daily_returns(ledger), 1) for ledger in path.seeds]
    verdicts = {}
    named = {**path.strategies, **{ledger.name: ledger for ledger in path.seeds}, **path.baselines}
    for name, ledger in named.items():
        returns = daily_returns(ledger)
        interval = bootstrap_interval(returns, lambda r: sharpe(r, periods), resamples=resamples)
        yearly = bootstrap_interval(returns, lambda r: annual_return(r, periods), resamples=resamples)
        verdict: dict[str, Any] = {
            "sharpe": sharpe(returns, periods),
            "sharpe_interval_95": [interval.low, interval.high],
            "annual_return": annual_return(returns, periods),
            "annual_return_interval_95": [yearly.low, yearly.high],
            "probabilistic_sharpe": probabilistic_sharpe(returns),
        }
        if name not in path.baselines:
            difference = sharpe_difference(returns, rival, periods=periods, resamples=resamples)
            verdict |= {
                "deflated_sharpe": deflated_sharpe(returns, trials, num_trials),
                "deflated_sharpe_independent": deflated_sharpe(returns, [], num_trials),
                "sharpe_difference": difference.difference,
                "sharpe_difference_p_value": difference.p_value,
                "sharpe_difference_interval_95": [difference.low, difference.high],
            }
        verdicts[name] = verdict
    return verdicts


def fold_rows(paths: Sequence[BacktestPath], folds: Sequence[Fold], market: Market) -> pd.DataFrame:
    """Return one row for each turn of each path: what it earned there, compared with the rival."""
    rows, periods = [], market.calendar.bars_per_year
    for number, path in enumerate(paths, start=1):
        first = next(iter(path.strategies.values()))
        for segment in path.segments:
            begin = int(np.searchsorted(first.times, market.times[segment.window.start]))
            part = slice(max(begin - 1, 0), int(np.searchsorted(first.times, market.times[segment.window.stop - 1])))
            fold, strategy, rival = folds[segment.split], first.returns[part], path.baselines[RIVAL].returns[part]
            # A seed that never trades in a fold has no Sharpe ratio there.
            known = [value for ledger in path.seeds if np.isfinite(value := sharpe(ledger.returns[part], periods))]
            of_seeds = known or [np.nan]
            scores = fold.facts["validation_sharpe_by_seed"]
            rows.append(
                {
                    "path": number,
                    "fold": segment.split + 1,
                    "test_from": str(market.times[segment.window.start])[:10],
                    "test_to": str(market.times[segment.window.stop - 1])[:10],
                    "chosen_seed": fold.chosen,
                    "stage": None if fold.chosen is None else fold.facts["stage_by_seed"][fold.chosen],
                    "validation_sharpe": None if fold.chosen is None else scores[fold.chosen],
                    "return": total_return(strategy),
                    "sharpe": sharpe(strategy, periods),
                    "max_drawdown": max_drawdown(strategy),
                    "rival_return": total_return(rival),
                    "rival_sharpe": sharpe(rival, periods),
                    "rival_max_drawdown": max_drawdown(rival),
                    "seed_sharpe_min": float(np.min(of_seeds)),
                    "seed_sharpe_mean": float(np.mean(of_seeds)),
                    "seed_sharpe_max": float(np.max(of_seeds)),
                }
            )
    return pd.DataFrame(rows)


def write_result(
    output: Path,
    paths: Sequence[BacktestPath],
    rows: pd.DataFrame,
    verdicts: Sequence[Mapping[str, Any]],
    facts: Mapping,
) -> dict[str, Any]:
    """Write tables and JSON of a validation; return what the JSON holds.

    `equity.parquet` (path, strategy, date, equity, return, drawdown, ...), `trades.parquet` and `fills.parquet` (path,
    strategy, ...), `folds.parquet`, `validation.json`, `summary.md`.
    """
    ledgers = [
        (number, ledger)
        for number, path in enumerate(paths, start=1)
        for ledger in (*path.strategies.values(), *path.seeds, *path.baselines.values())
    ]
    tables = {
        "equity": [(n, ledger, ledger.equity_frame()) for n, ledger in ledgers],
        "trades": [(n, ledger, ledger.trades) for n, ledger in ledgers],
        "fills": [(n, ledger, ledger.fills) for n, ledger in ledgers],
    }
    for name, parts in tables.items():
        joined = pd.concat(
            [frame.assign(path=n, strategy=ledger.name) for n, ledger, frame in parts if len(frame)], ignore_index=True
        )
        order = ["path", "strategy", *(column for column in joined if column not in ("path", "strategy"))]
        joined[order].to_parquet(output / f"{name}.parquet", index=False)
    rows.to_parquet(output / "folds.parquet", index=False)
    content = _without_nan(
        {
            "facts": dict(facts),
            "folds": json.loads(str(rows.to_json(orient="records"))),
            "paths": [
                {
                    "strategies": {name: summarize(ledger) for name, ledger in path.strategies.items()},
                    "seeds": {ledger.name: summarize(ledger) for ledger in path.seeds},
                    "baselines": {name: summarize(ledger) for name, ledger in path.baselines.items()},
                    "verdicts": verdict,
                }
                for path, verdict in zip(paths, verdicts, strict=True)
            ],
        }
    )
    (output / "summary.md").write_text(summary_text(content), encoding="utf-8")
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    (output / RESULT_FILE).write_text(text + "\n", encoding="utf-8")
    return content


def _without_nan(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what strict JSON can say, null in place of what is not finite."""
    return json.loads(json.dumps(content), parse_constant=lambda _: None)


def summary_text(content: Mapping[str, Any]) -> str:
    """Return a validation as a short page of Markdown."""
    facts, path = content["facts"], content["paths"][0]
    lines = [f"# Out of sample, {facts['scheme']}", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    if len(content["paths"]) > 1:
        spread = np.array([[v["sharpe"] for v in _under_test(p)] for p in content["paths"]], float)
        names = [name for name in path["strategies"]]
        for name, values in zip(names, spread.T, strict=True):
            lines.append(
                f"Sharpe ratio of {name} over {len(values)} paths: {np.min(values):.2f} to {np.max(values):.2f}, median"
                f" {np.median(values):.2f}. The first path in full:"
            )
        lines.append("")
    lines += [*_strategy_table(path), "", *_fold_table(content["folds"]), ""]
    return "\n".join(lines)


def _under_test(path: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [path["verdicts"][name] for name in path["strategies"]]


def _strategy_table(path: Mapping[str, Any]) -> list[str]:
    head = (
        "| | Return / year | 95 % | Volatility | Sharpe | 95 % | Max drawdown | Turnover / year | PSR | Deflated |"
        " Sharpe against equal weight | 95 % | p |"
    )
    lines = [head, "|---" + "|---:" * 12 + "|"]
    figures = {**path["strategies"], **path["seeds"], **path["baselines"]}
    for name, row in figures.items():
        verdict = path["verdicts"][name]
        lines.append(
            f"| {name} | {_percent(row['annual_return'])} | {_range(verdict['annual_return_interval_95'], _percent)} |"
            f" {_percent(row['annual_volatility'], False)} | {_plain(row['sharpe'])} |"
            f" {_range(verdict['sharpe_interval_95'], _plain)} | {_percent(row['max_drawdown'])} |"
            f" {_plain(row['turnover'])} | {_plain(verdict['probabilistic_sharpe'], 3)} |"
            f" {_plain(verdict.get('deflated_sharpe'), 3)} ({_plain(verdict.get('deflated_sharpe_independent'), 3)}) |"
            f" {_plain(verdict.get('sharpe_difference'), sign=True)} |"
            f" {_range(verdict.get('sharpe_difference_interval_95'), _plain)} |"
            f" {_plain(verdict.get('sharpe_difference_p_value'), 3)} |"
        )
    return lines


def _fold_table(folds: Sequence[Mapping[str, Any]]) -> list[str]:
    many = len({row["path"] for row in folds}) > 1
    lines = [
        f"| {'Path, ' if many else ''}Fold | Test | Chosen seed, stage | Its Sharpe in validation | Return | Sharpe |"
        " Max drawdown | Equal weight: return | Sharpe | Max drawdown | Sharpe of the seeds, lowest to highest |",
        "|---" + "|---:" * 10 + "|",
    ]
    for row in folds:
        chosen = "–" if row["chosen_seed"] is None else f"{row['chosen_seed']:.0f}, {row['stage']:.0f}"
        lines.append(
            f"| {row['path']}, {row['fold']} |".replace(f"{row['path']}, ", f"{row['path']}, " if many else "")
            + f" {row['test_from']} to {row['test_to']} | {chosen} | {_plain(row['validation_sharpe'])} |"
            f" {_percent(row['return'])} | {_plain(row['sharpe'])} | {_percent(row['max_drawdown'])} |"
            f" {_percent(row['rival_return'])} | {_plain(row['rival_sharpe'])} |"
            f" {_percent(row['rival_max_drawdown'])} |"
            f" {_plain(row['seed_sharpe_min'])} to {_plain(row['seed_sharpe_max'])} |"
        )
    return lines


def _plain(value: Any, digits: int = 2, *, sign: bool = False) -> str:
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def _percent(value: Any, sign: bool = True) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:{'+' if sign else ''}.1%}".replace("-", "−")


def _range(pair: Any, write: Any) -> str:
    return "–" if pair is None or None in pair else f"{write(pair[0])} to {write(pair[1])}"
