"""How much a result is worth as evidence: what luck could do, and what the result rests on, as one dictionary."""

import math
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ploutos_jax.evaluate.inference import sharpe as inference
from ploutos_jax.evaluate.inference.multiple import adjust_family
from ploutos_jax.evaluate.inference.sharpe import Trials, read_trials
from ploutos_jax.evaluate.ledger import Ledger, Role
from ploutos_jax.evaluate.metrics.robustness import break_even_cost, robustness
from ploutos_jax.evaluate.metrics.summary import annual_return, daily_returns, sharpe
from ploutos_jax.evaluate.report.plot_style import percent
from ploutos_jax.evaluate.report.tables import Figures, ratio, signed
from ploutos_jax.evaluate.report.verdict import rivals
from ploutos_jax.market.calendar import Calendar
from ploutos_jax.runs.reader import Run, is_run

_FEWEST_DAYS = 20
"""Days below which nothing is said of intervals and tests."""


def evidence_of(
    ledgers: Mapping[str, Ledger], figures: Mapping[str, Figures], trials: Trials | None = None
) -> dict[str, Any]:
    """Return the evidence for the first of several strategies.

    Args:
        ledgers: the strategies by name over the same bars, the one under test first.
        figures: as from `metrics.summarize` by the same names.
        trials: what was tried before this strategy was chosen, if it is known.

    Returns:
        What `robustness.robustness` says, and `level_cost_against`: the multiple of the costs at which the strategy's
        lead is gone (None: beyond `MOST_COST`), by name of each rival that it leads. With days enough also
        `sharpe_interval` and `annual_return_interval` (95 %, stationary bootstrap, `block_length` days on average),
        `probabilistic_sharpe`, `minimum_track_record_days`, `sharpe_differences` (annual, with interval, p-value
        and the p-value of the whole family by Holm, by name of every strategy but oracles), `num_trials` and
        `deflated_sharpe` (None if the trials are not known).
    """
    name, ledger = next(iter(ledgers.items()))
    roles: dict[str, Role] = {other: one.role for other, one in ledgers.items()}
    periods = ledger.calendar.periods_per_year
    own = figures[name]["total_return"]
    led = [other for other in rivals(name, figures, roles)[:2] if own > figures[other]["total_return"]]
    rests_on = {
        **robustness(ledger),
        "level_cost_against": {other: break_even_cost(ledger, ledgers[other]) for other in led},
        "num_trials": None if trials is None else trials.count,
    }
    daily = daily_returns(ledger)
    if daily.size < _FEWEST_DAYS or not math.isfinite(figures[name]["sharpe"]):
        return rests_on
    of_sharpe = inference.bootstrap_interval(daily, partial(sharpe, periods=periods))
    of_return = inference.bootstrap_interval(
        daily, partial(annual_return, periods=periods), mean_block=of_sharpe.block_length
    )
    tests = {
        other: inference.sharpe_difference(daily, daily_returns(one), periods=periods)._asdict()
        for other, one in ledgers.items()
        if other != name and roles[other] != "oracle"
    }
    tests = adjust_family(tests)
    return rests_on | {
        "sharpe_interval": [of_sharpe.low, of_sharpe.high],
        "annual_return_interval": [of_return.low, of_return.high],
        "block_length": of_sharpe.block_length,
        "probabilistic_sharpe": inference.probabilistic_sharpe(daily),
        "deflated_sharpe": None
        if trials is None
        else inference.deflated_sharpe(daily, trials.sharpes, max(trials.count, 1)),
        "minimum_track_record_days": inference.minimum_track_record(daily),
        "sharpe_differences": tests,
    }


def trials_beside(run_folder: str | os.PathLike[str]) -> Trials | None:
    """Return the trials of a run and of the runs in the same parent folder that were trained on the same data.

    Those who keep their runs elsewhere, or threw them away, tried more than this can count.

    Args:
        run_folder: what a training run wrote; None is returned for anything else, such as an exported policy.

    Raises:
        ValueError: if the run's files cannot be read.
    """
    folder = Path(run_folder).resolve()
    own = _data_of(folder)
    if own is None:
        return read_trials(folder) if is_run(folder) else None
    beside = [path for path in sorted(folder.parent.iterdir()) if path != folder and _data_of(path) == own]
    return read_trials([folder, *beside])


def describe_trials(trials: Trials) -> str:
    """Return how many trials there were, and in how many runs."""
    runs = len(trials.folders)
    return f"{trials.count:,}, counted in {runs} run folder{'s' * (runs > 1)} on the same data"


def _data_of(folder: Path) -> str | None:
    """Return which data a run folder was trained on, or None where that is not known or it is no run folder."""
    if not is_run(folder):
        return None
    try:
        return Run(folder).data.data
    except ValueError:
        return None


def evidence_rows(own: Figures, evidence: Mapping[str, Any], calendar: Calendar) -> list[tuple[str, str, str]]:
    """Return name, value and meaning of each statistic, for the page.

    Args:
        own: figures of the strategy under test.
        evidence: as from `evidence_of`.
        calendar: of the ledger, whose word for a period of return is used.
    """
    if "sharpe_interval" not in evidence:
        return []
    block = f"{evidence['block_length']:.1f} {calendar.unit} in a block"
    needed = evidence["minimum_track_record_days"]
    trials, deflated = evidence["num_trials"], evidence["deflated_sharpe"]
    meaning = (
        "how many were tried is not known, so luck in choosing is not taken off"
        if trials is None
        else f"probability that it is above the best of {trials:,} trials without skill, counted from the run folders"
    )
    return [
        (
            "Sharpe ratio",
            f"{ratio(own['sharpe'])}, {_between(evidence['sharpe_interval'], ratio)}",
            f"95 % interval by stationary bootstrap, {block} on average",
        ),
        (
            "Annual return",
            f"{signed(own['annual_return'])}, {_between(evidence['annual_return_interval'], signed)}",
            "95 % interval, likewise",
        ),
        (
            "Probabilistic Sharpe",
            _chance(evidence["probabilistic_sharpe"]),
            "probability that the true Sharpe ratio is above 0, skew and fat tails taken in",
        ),
        (
            "Deflated Sharpe",
            _chance(deflated),
            meaning,
        ),
        (
            "Track record needed",
            f"{needed:,.0f} {calendar.unit}" if math.isfinite(needed) else "no length is enough",
            f"to tell the Sharpe ratio from 0 with 95 % confidence; there are {own['num_days']:,} {calendar.unit}",
        ),
    ]


def _between(interval: list[float], write: Any) -> str:
    return f"{write(interval[0])} to {write(interval[1])}"


def _chance(value: float | None) -> str:
    return percent(value) if value is not None and math.isfinite(value) else "–"
