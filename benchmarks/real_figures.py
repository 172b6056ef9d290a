"""Figures of benchmarks/real.py: accounts to numbers, trials, differences, and the tables of REAL.md."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr

from ploutos_jax.evaluate.inference.sharpe import bootstrap_interval, deflated_sharpe, sharpe_difference
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.metrics.returns import annual_return, annual_volatility, max_drawdown, sharpe

RIVALS = ("equal weight", "ridge")
"""Rules that differences are tested against, as far as there are such."""
TRADING_DAYS = 252.0

Figures = dict[str, Any]


class Book(NamedTuple):
    """Accounts over the same bars as one: an equal part in each, every day anew.

    Attributes:
        returns: `[N]` net of costs, the mean over accounts.
        gross: `[N]` the same before costs.
        turnover: of a year, value traded over equity, the mean over accounts.
        cost: of a year, over equity.
    """

    returns: np.ndarray
    gross: np.ndarray
    turnover: float
    cost: float


def book_of(ledgers: Sequence[Ledger]) -> Book:
    """Return accounts over the same daily bars as one."""
    years = ledgers[0].returns.size / TRADING_DAYS
    costs = [ledger.cost[1:] / np.maximum(ledger.equity[:-1], 1e-9) for ledger in ledgers]
    returns = np.mean([ledger.returns for ledger in ledgers], axis=0)
    return Book(
        returns=returns,
        gross=returns + np.mean(costs, axis=0),
        turnover=float(np.mean([ledger.turnover[1:].sum() for ledger in ledgers]) / years),
        cost=float(np.mean([cost.sum() for cost in costs]) / years),
    )


def figures_of(book: Book) -> Figures:
    """Return what the tables show of a book."""
    return {
        "sharpe": sharpe(book.returns, TRADING_DAYS),
        "gross_sharpe": sharpe(book.gross, TRADING_DAYS),
        "annual_return": annual_return(book.returns, TRADING_DAYS),
        "annual_volatility": annual_volatility(book.returns, TRADING_DAYS),
        "max_drawdown": max_drawdown(book.returns),
        "turnover": book.turnover,
        "cost": book.cost,
    }


def judge(own: np.ndarray, rivals: Mapping[str, np.ndarray], trials: Sequence[float], resamples: int) -> Figures:
    """Return what of a strategy's daily returns may be luck.

    Args:
        own: `[N]` its returns.
        rivals: `[N]` returns by name; those of `RIVALS` are compared.
        trials: annual Sharpe ratios of everything that was ever scored, this one too.
        resamples: of each bootstrap.
    """
    known = [value / np.sqrt(TRADING_DAYS) for value in trials]
    verdict: Figures = {
        "deflated_sharpe": deflated_sharpe(own, known, max(len(known), 1)),
        "num_trials": len(known),
        "against": {},
    }
    for name in RIVALS:
        if name not in rivals:
            continue
        lead = own - rivals[name]
        mean = bootstrap_interval(lead, lambda r: float(np.mean(r)) * TRADING_DAYS, resamples=resamples)
        test = sharpe_difference(own, rivals[name], periods=TRADING_DAYS, resamples=resamples)
        verdict["against"][name] = {
            "annual_lead": mean.estimate,
            "annual_lead_95": [mean.low, mean.high],
            "sharpe_difference": test.difference,
            "sharpe_difference_95": [test.low, test.high],
            "p_value": test.p_value,
        }
    return verdict


def paired(own: np.ndarray, other: np.ndarray) -> Figures:
    """Return the mean difference of Sharpe ratios on the same paths, its standard error and two-sided p.

    The error has two parts: that of the mean over paths of the paired differences, and that of the means over seeds,
    of which those of two arms are not paired. It says nothing of other years than those that the paths are made of.

    Args:
        own, other: `[seeds, paths]`; a rule has one row.
    """
    lead = own.mean(axis=0) - other.mean(axis=0)
    variance = lead.var(ddof=1) / lead.size if lead.size > 1 else np.nan
    for each in (own, other):
        variance += each.mean(axis=1).var(ddof=1) / len(each) if len(each) > 1 else 0.0
    error = float(np.sqrt(variance))
    p_value = float(2 * ndtr(-abs(lead.mean()) / error)) if error > 0 else None
    return {"difference": float(lead.mean()), "standard_error": error, "p_value": p_value}


def circumstances() -> Figures:
    """Return when, from which commit and where."""
    import jax

    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": described.stdout.strip() or "unknown",
        "device": str(jax.devices()[0].device_kind),
        "jax": jax.__version__,
    }


def package_tree() -> str:
    """Return by what the code of the package is known: agents that other code has trained are trained again."""
    described = subprocess.run(
        ["git", "rev-parse", "HEAD:ploutos_jax"], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    return described.stdout.strip() or "unknown"


def add_trial(file: Path, row: Mapping[str, Any]) -> None:
    """Append what was scored, before anybody sees how it went."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(without_nan(row)) + "\n")


def trial_sharpes(file: Path) -> list[float]:
    """Return the annual Sharpe ratio of every configuration and seed that was scored; the same one twice counts once.

    A seed that never traded has none and counts as 0: it was a trial, too.
    """
    found: dict[tuple[str, str, int], float] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        row = json.loads(line)
        for seed, value in zip(row["seeds"], row["sharpe_by_seed"], strict=True):
            found[row["settings_hash"], row["scored_on"], seed] = 0.0 if value is None else float(value)
    return list(found.values())


def without_nan(content: Any) -> Any:
    """Return what strict JSON can say, null in place of what is not finite."""
    return json.loads(json.dumps(content), parse_constant=lambda _: None)


def render(results: Path, trials: Path) -> str:
    """Return the page of all results in a folder; every number on it is one of theirs."""
    read = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(results.glob("*.json"))]
    scores = [one for one in read if one["kind"] == "score"]
    ablations = [one for one in read if one["kind"] == "ablation"]
    lines = [_INTRODUCTION, "", f"Configurations and seeds scored so far: {len(trial_sharpes(trials))}.", ""]
    for one in scores:
        lines += [*_score_lines(one), ""]
    for one in ablations:
        lines += [*_ablation_lines(one), ""]
    if not read:
        lines += ["Nothing has been scored yet.", ""]
    return "\n".join(lines)


_INTRODUCTION = """# Real bars, out of sample

`benchmarks/real.py` wrote this page (`render`) from `benchmarks/real_results/`; no figure of a result was typed.
Where a command was given other sizes than those named here, its result says so.

**Score.** Daily bars of S&P 500 stocks, adjusted. A candidate has a name and fixed settings before it touches the test
years. Train on 1,260 bars, trade the next 252, move on by 252: the seven years 2011 to 2017, each bar traded by agents
trained on earlier ones only. The 100 stocks that traded most dollars in the first training window are split once into
four universes of 25. All seeds train for a fixed number of steps and the last weights are taken; nothing is chosen by a
score. An account goes through all seven years and is handed from one year's agent to the next as it stands. `ensemble`
trades the mean of the seeds' targets. Returns are the mean of the four universes' accounts, net of all costs; the
main question is the daily return of the ensemble less that of equal weight. p is that of Ledoit and Wolf's test of two
Sharpe ratios; intervals of the lead are those of the stationary bootstrap; the deflated Sharpe ratio counts every
configuration and seed in `benchmarks/trials.jsonl`, ablations too.

**Ablations.** Settings are compared on bars before 2011: one training window, one universe of 25, and the same paths
for all, put together from blocks of held-out bars. Their standard error covers paths and seeds, not other years.

**Candidates.** `base` and `default` are the preset `default` without changes, as it was at their commits: before, and
after, forecasts had to hold out of sample to count, scores came to share a level, and the network was no longer told
what it holds. `pathwise` is the same with `--algorithm pathwise`, after the noise of bands had a floor and
`max_position_pct` was a limit of buys alone. On these bars few forecasts hold, so that both of the later ones are equal
parts that are left alone within bands.

**What this can show.** The standard error of a Sharpe ratio over seven years is .38, that of a difference between two
strategies whose returns correlate by .9 is .17. A difference below .33 is noise.

**What flatters everybody here.** The file holds the stocks that were in the index when it was downloaded, in 2018:
those that failed before are missing. Agent and rules trade the same ones, so differences suffer less than levels."""


def _made_by(one: Mapping[str, Any]) -> str:
    made_by = one["made_by"]
    return f"commit {made_by['commit']}, {made_by['date']}, {made_by['device']}."


def _score_lines(one: Mapping[str, Any]) -> list[str]:
    verdict, shown = one["verdict"], one["figures"]
    head = "| | Sharpe | before costs | Return / year | Volatility | Max drawdown | Turnover / year | Cost / year |"
    lines = [
        f"## {one['name']}: {one['first']} to {one['last']}",
        "",
        f"Settings {one['settings_hash']}, {one['steps']:,} steps a seed, {len(one['seeds'])} seeds,"
        f" {one['num_bars']:,} bars, {one['universes']} universes of {one['size']}, trained on"
        f" {one['train_bars']:,} bars for each {one['test_bars']}; {_made_by(one)}",
        "",
        *[
            f"Against {name}: {_percent(test['annual_lead'])} a year ({_percent(test['annual_lead_95'][0])} to"
            f" {_percent(test['annual_lead_95'][1])}), Sharpe {_plain(test['sharpe_difference'], '+.2f')}"
            f" ({_plain(test['sharpe_difference_95'][0], '+.2f')} to"
            f" {_plain(test['sharpe_difference_95'][1], '+.2f')}), p = {_plain(test['p_value'], '.3f')}.\n"
            for name, test in verdict["against"].items()
        ],
        f"Deflated Sharpe ratio of the ensemble over {verdict['num_trials']} trials:"
        f" {_plain(verdict['deflated_sharpe'], '.3f')}.",
        "",
        head,
        "|---" + "|---:" * 7 + "|",
    ]
    return lines + [_row(name, figures) for name, figures in shown.items()]


def _row(name: str, figures: Mapping[str, Any]) -> str:
    cells = [
        *(_plain(figures[key], ".2f") for key in ("sharpe", "gross_sharpe")),
        *(_percent(figures[key]) for key in ("annual_return", "annual_volatility", "max_drawdown")),
        f"{_plain(figures['turnover'], '.1f')}×",
        _percent(figures["cost"], ".2%"),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _ablation_lines(one: Mapping[str, Any]) -> list[str]:
    rivals = list(dict.fromkeys(name for arm in one["arms"].values() for name in arm["against"]))
    head = "| | Sharpe, mean of seeds | of the ensemble | before costs | Turnover / year | Cost / year | Max drawdown |"
    lines = [
        f"## {one['name']}: arms trained on {one['trained'][0]} to {one['trained'][1]}",
        "",
        f"{one['steps']:,} steps a seed, {one['num_seeds']} seeds, {one['size']} tickers; scored on {one['paths']}"
        f" paths of {one['path_bars']} bars from blocks of {one['block']:g} sessions on average of"
        f" {one['scored'][0]} to {one['scored'][1]}; {_made_by(one)}"
        " Differences are of Sharpe ratios on the same paths, ± one standard error (p).",
        "",
        head + "".join(f" less {name} |" for name in rivals),
        "|---" + "|---:" * (6 + len(rivals)) + "|",
    ]
    for name, arm in {**one["arms"], **one["rules"]}.items():
        cells = [
            *(_plain(arm.get(key), ".2f") for key in ("sharpe", "ensemble_sharpe", "gross_sharpe")),
            f"{_plain(arm['turnover'], '.1f')}×",
            _percent(arm["cost"], ".2%"),
            _percent(arm["max_drawdown"]),
        ]
        for rival in rivals:
            test = arm.get("against", {}).get(rival)
            cells.append(
                "–"
                if test is None
                else f"{_plain(test['difference'], '+.2f')} ± {_plain(test['standard_error'], '.2f')}"
                f" ({_plain(test['p_value'], '.3f')})"
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _plain(value: float | None, form: str) -> str:
    return "–" if value is None or not np.isfinite(value) else format(value, form).replace("-", "−")


def _percent(value: float | None, form: str = ".1%") -> str:
    return _plain(value, form)
