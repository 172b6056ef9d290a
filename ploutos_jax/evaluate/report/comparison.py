"""Several runs over the same bars, side by side: which is best, and is that more than the luck of having tried many."""

import dataclasses
import html
import itertools
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ploutos_jax.evaluate.inference.multiple import adjust_family
from ploutos_jax.evaluate.inference.sharpe import (
    deflated_sharpe,
    effective_trials,
    expected_maximum_sharpe,
    overfitting_probability,
    sharpe_difference,
    superior_ability,
)
from ploutos_jax.evaluate.ledger import Ledger, Role
from ploutos_jax.evaluate.metrics.summary import daily_returns, summarize
from ploutos_jax.evaluate.report import tables
from ploutos_jax.evaluate.report.equity_charts import equity_charts
from ploutos_jax.evaluate.report.figures import describe_span
from ploutos_jax.evaluate.report.page import Section, glossary, verdict_box, whole_page
from ploutos_jax.evaluate.report.plot_style import percent
from ploutos_jax.evaluate.report.risk_charts import rolling_sharpe_chart
from ploutos_jax.evaluate.report.tables import NOTHING, Figures, ratio
from ploutos_jax.evaluate.report.verdict import CONFIDENCE, Verdict, is_ahead, rivals
from ploutos_jax.evaluate.report.write import BUY_AND_HOLD, check_report_folder, check_spans, write_files

_BLOCKS = 16
"""Blocks of the cross-validation for overfitting; each needs two days at least."""


def write_comparison(
    folder: str | os.PathLike[str],
    runs: Mapping[str, Ledger],
    baselines: Mapping[str, Ledger],
    *,
    facts: Mapping[str, Mapping[str, str]] | None = None,
    links: Mapping[str, str] | None = None,
    title: str = "",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write several runs side by side and return what `metrics.json` holds.

    The folder gets `metrics.json` (figures of each run under `runs`, of the others under `baselines`,
    `comparison` and its `verdict`), `runs.parquet` and `baselines.parquet` (equity by date) and `report.html`.

    Args:
        folder: created if it is missing; other files in it stay.
        runs: at least two ledgers over the same bars, by the name to show.
        baselines: other strategies over these bars.
        facts: of each run, by its name, shown as given.
        links: to the report of each run, by its name, from the page.
        title: heading of the page.
        overwrite: replace the report that the folder holds.

    Raises:
        ValueError: if there are fewer than two runs, names repeat, ledgers differ in their bars, or the folder holds a
            report already.
    """
    folder = Path(folder)
    check_report_folder(folder, overwrite=overwrite)
    if len(runs) < 2:
        raise ValueError(f"A comparison needs two runs at least, got {len(runs)}: {', '.join(runs)}.")
    first = next(iter(runs))
    ledgers = {**runs, **baselines}
    others = {name: one for name, one in ledgers.items() if name != first}
    check_spans(dataclasses.replace(runs[first], name=first), others, len(runs) + len(baselines) - 1)
    figures = {name: summarize(one) for name, one in ledgers.items()}
    facts = {name: dict((facts or {}).get(name, {})) for name in runs}
    found = compare(runs, baselines, figures)
    content: dict[str, Any] = {
        "name": "comparison",
        "runs": {name: figures[name] for name in runs},
        "baselines": {name: figures[name] for name in baselines},
        "comparison": found,
        "facts": facts,
    }
    verdict = judge_comparison(runs, figures, found, {name: one.role for name, one in ledgers.items()})
    content["verdict"] = verdict.headline
    title = title or f"{len(runs)} runs side by side"
    page = _page(runs, baselines, figures, found, facts, verdict, title, links or {})
    times = runs[first].times
    frames = {"runs.parquet": _equity_frame(times, runs), "baselines.parquet": _equity_frame(times, baselines)}
    return write_files(folder, content, page, frames, {})


def compare(
    runs: Mapping[str, Ledger], baselines: Mapping[str, Ledger], figures: Mapping[str, Figures]
) -> dict[str, Any]:
    """Return how the best of several runs stands against the rest, and what choosing it is worth.

    Args:
        runs, baselines: ledgers over the same bars.
        figures: as from `metrics.summarize`, of all of them.

    Returns:
        `best`: the run with the highest Sharpe ratio; `num_trials`, `effective_trials` (correlated runs count for
        less); `expected_best_sharpe`: annual, of the best of so many without skill; `deflated_sharpe` of the best;
        `overfitting_probability`; `sharpe_differences`: of the best against every other; `no_better_p_value` by name of
        each baseline: for "no run has a higher mean return"; `correlation`: mean over pairs of runs. None where a
        figure is not defined.
    """
    daily = {name: daily_returns(one) for name, one in {**runs, **baselines}.items()}
    periods = next(iter(runs.values())).calendar.periods_per_year
    best = max(runs, key=lambda name: _or_least(figures[name]["sharpe"]))
    matrix = np.stack([daily[name] for name in runs], axis=1)
    sharpes = np.array([figures[name]["sharpe"] for name in runs]) / math.sqrt(periods)
    known = sharpes[np.isfinite(sharpes)]
    spread = float(known.var(ddof=1)) if known.size > 1 else 0.0
    apart = [_correlation(daily[a], daily[b]) for a, b in itertools.combinations(runs, 2)]
    enough = len(matrix) >= 2 * _BLOCKS
    return {
        "best": best,
        "num_trials": len(runs),
        "effective_trials": effective_trials(matrix),
        # All runs count in full, correlated or not: the harder reading.
        "expected_best_sharpe": expected_maximum_sharpe(spread, len(runs)) * math.sqrt(periods),
        "deflated_sharpe": deflated_sharpe(daily[best], sharpes, len(runs)),
        "overfitting_probability": overfitting_probability(matrix, _BLOCKS) if enough else None,
        "correlation": float(np.mean(apart)),
        "no_better_p_value": {name: superior_ability(matrix, daily[name]) for name in baselines},
        "sharpe_differences": adjust_family(
            {
                name: sharpe_difference(daily[best], returns, periods=periods)._asdict()
                for name, returns in daily.items()
                if name != best
            }
        ),
    }


def judge_comparison(
    runs: Mapping[str, Ledger], figures: Mapping[str, Figures], found: Mapping[str, Any], roles: Mapping[str, Role]
) -> Verdict:
    """Return the verdict on the choice among runs.

    Args:
        runs: those compared.
        figures: of runs and baselines.
        found: as from `compare`.
        roles: what each strategy is, by its name.
    """
    best, tests = found["best"], found["sharpe_differences"]
    own = figures[best]
    rest = [name for name in runs if name != best]
    bars = {name: figures[name] for name in figures if name == best or name not in runs}
    baselines = rivals(best, bars, roles)
    behind = [name for name in baselines if not own["sharpe"] > figures[name]["sharpe"]]
    clear = [name for name in (*rest, *baselines) if is_ahead(tests[name])]
    lead = f"Of {len(runs)} runs {best} has the highest Sharpe ratio, {_figure(own['sharpe'])}"
    untrained = [name for name, run in runs.items() if run.provenance.update == 0]
    if untrained:
        headline = f"{lead}, but {', '.join(untrained)} had not begun to train (update 0): choose among trained agents."
        tone = "bad"
    elif any(run.provenance.sample != "out_of_sample" for run in runs.values()):
        headline, tone = f"{lead}, but not all of these bars are known to be out of sample: it proves nothing.", "bad"
    elif behind:
        headline, tone = f"{lead}, and {behind[0]} has {_figure(figures[behind[0]]['sharpe'])}.", "bad"
    elif set(clear) >= {*rest, *baselines} and (found["deflated_sharpe"] or 0.0) > CONFIDENCE:
        headline, tone = f"{lead}, beyond what choosing among {len(runs)} is likely to explain.", "good"
    else:
        headline, tone = f"{lead}, but the luck of choosing cannot be ruled out.", "open"
    return Verdict(headline, tone, _points(runs, found, clear, (*rest, *baselines), baselines))


def _points(
    runs: Mapping[str, Ledger],
    found: Mapping[str, Any],
    clear: list[str],
    others: tuple[str, ...],
    baselines: list[str],
) -> tuple[tuple[str, str], ...]:
    best, tests = found["best"], found["sharpe_differences"]
    deflated, overfit = found["deflated_sharpe"], found["overfitting_probability"]
    names = ", ".join(clear) if clear else "none"
    luck = (
        f"The best of {len(runs)} runs without skill that scatter like these would show a Sharpe ratio of about"
        f" {_figure(found['expected_best_sharpe'])}; the probability that {best} is truly above that is"
        f" {_share(deflated)}. Runs that were tried and are not on this page make it less. The returns of the"
        f" runs correlate by {ratio(found['correlation'])} on average, so they are worth"
        f" {found['effective_trials']:.1f} independent ones."
    )
    choice = (
        "The span is too short to see whether the best of one half is good in the other."
        if overfit is None
        else f"In {percent(overfit)} of the ways to split the span in halves, the run that is best in one is below the"
        " median in the other (0% is a choice that carries over, 50% is chance)."
    )
    return (
        (
            "Against the others",
            f"Its Sharpe ratio is higher beyond chance (p < {1 - CONFIDENCE:.2f}, all {len(tests)} tests"
            f" counted as one family) than that of: {names}, of {len(others)} that it is tested against."
            f" {_no_better(found, baselines)}",
        ),
        ("Tried and chosen", luck),
        ("Does a choice carry over", choice),
        (
            "What it is not",
            "One span of history, and a simulation. To choose on it and to report on it is to look twice.",
        ),
    )


def _page(
    runs: Mapping[str, Ledger],
    baselines: Mapping[str, Ledger],
    figures: Mapping[str, Figures],
    found: Mapping[str, Any],
    facts: Mapping[str, Mapping[str, str]],
    verdict: Verdict,
    title: str,
    links: Mapping[str, str],
) -> str:
    best = found["best"]
    first = {best: runs[best]} | {name: one for name, one in {**runs, **baselines}.items() if name != best}
    sections: list[Section] = [
        (
            "figures",
            "Side by side",
            equity_charts(first, reference=BUY_AND_HOLD) + tables.metrics_table({n: figures[n] for n in first}),
        ),
        (
            "statistics",
            "The best against the others",
            tables.difference_table(best, found["sharpe_differences"], figures),
        ),
        ("rolling", "Over time", rolling_sharpe_chart(first, runs)),
        ("costs", "Costs", tables.costs_table(first, figures)),
        ("reports", "Each by itself", "".join(_entry(name, link) for name, link in links.items())),
        ("glossary", "How the figures are made", glossary(runs[best].calendar)),
        ("run", "About these runs", _facts_table(facts)),
    ]
    head = f"<button id='theme' hidden>Light / dark</button><h1>{html.escape(title)}</h1>"
    span = f"<p class='span'>{html.escape(describe_span(runs[best]))} · net of costs</p>"
    return whole_page(title, head + span + verdict_box(verdict), sections)


def _entry(name: str, link: str) -> str:
    return f"<p><a href='{html.escape(link, quote=True)}'>Report of {html.escape(name)}</a></p>"


def _no_better(found: Mapping[str, Any], baselines: list[str]) -> str:
    p_value = found["no_better_p_value"].get(baselines[0], math.nan) if baselines else math.nan
    if not math.isfinite(p_value):
        return ""
    return f"That no run at all has a higher mean return than {baselines[0]} has p = {p_value:.2f}, all tested as one."


def _facts_table(facts: Mapping[str, Mapping[str, str]]) -> str:
    keys = list(dict.fromkeys(key for one in facts.values() for key in one))
    if not keys:
        return ""
    rows = [[key.replace("_", " "), *(facts[name].get(key, NOTHING) for name in facts)] for key in keys]
    return tables.table(("Fact", *facts), rows, numbers=False)


def _equity_frame(times: np.ndarray, ledgers: Mapping[str, Ledger]) -> pd.DataFrame:
    return pd.DataFrame({"date": times} | {name: one.equity for name, one in ledgers.items()})


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def _or_least(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _figure(value: float) -> str:
    return ratio(value) if math.isfinite(value) else NOTHING


def _share(value: float | None) -> str:
    return percent(value) if value is not None and math.isfinite(value) else "not defined"
