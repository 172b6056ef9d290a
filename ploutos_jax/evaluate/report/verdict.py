"""The verdict of a report: what was tested, what it beats, how sure that is, and what would break it, in words.

Words follow from figures by fixed rules. A result is called good only if it is out of sample, ahead of every strategy
that could have been followed, and if luck is an unlikely reason; everything else is said to be what it is.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ploutos_jax.agents.provenance import UNKNOWN, Provenance, Sample
from ploutos_jax.evaluate.ledger import Role
from ploutos_jax.evaluate.metrics.robustness import MOST_COST, TOP
from ploutos_jax.evaluate.report.plot_style import dollars, percent
from ploutos_jax.evaluate.report.provenance import describe_provenance
from ploutos_jax.evaluate.report.tables import Figures, ratio, signed
from ploutos_jax.market.calendar import Calendar

Tone = Literal["good", "open", "bad"]

CONFIDENCE = 0.95
"""Probability above which luck is called an unlikely reason."""


_USUAL_TESTS = 8
"""Baselines of a report, each of which is tested."""

_FEW_DAYS = 60
"""Returns below which intervals at 95 % cover the truth in 85 to 92 % of cases, by simulation."""

_INTEREST = 0.01
"""Annual volatility that interest on cash, paid by the calendar day, stays below."""

_DAILY = Calendar()

SAMPLE_PREFIX: dict[Sample, str] = {
    "out_of_sample": "",
    "in_sample": "In sample: ",
    "unknown": "Perhaps in sample: ",
}
"""How a headline begins."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a report says first.

    Attributes:
        headline: one sentence.
        tone: `good` (believe it, within what was tested), `open` (not decided) or `bad` (do not).
        points: heading and text of what the sentence rests on.
    """

    headline: str
    tone: Tone
    points: tuple[tuple[str, str], ...]


def judge(
    name: str,
    figures: Mapping[str, Figures],
    evidence: Mapping[str, Any],
    *,
    roles: Mapping[str, Role],
    provenance: Provenance = UNKNOWN,
    calendar: Calendar = _DAILY,
    data: str = "",
    worst_scenario: str = "",
) -> Verdict:
    """Return the verdict on one strategy.

    Args:
        name: the strategy under test.
        figures: as from `metrics.summarize` by strategy.
        evidence: as from `evidence.evidence_of`.
        roles: what each strategy is, by its name.
        provenance: how the bars relate to those of training.
        calendar: by which the figures are annualised.
        data: what the bars are, in the reader's words.
        worst_scenario: a sentence on the stress test, if there was one.
    """
    headline, tone = _headline(name, figures, evidence, roles, provenance)
    points = [
        ("What was tested", _tested(figures[name], provenance, data)),
        ("Against the baselines", _comparison(name, figures, evidence, roles)),
        ("How sure that is", _confidence(figures[name], evidence, calendar)),
        ("What would break it", _breaks(name, figures, evidence, calendar, worst_scenario)),
        (
            "What it is not",
            "This is one path of history, and a simulation: real orders may fill worse, and what worked here need not"
            " work again.",
        ),
    ]
    return Verdict(headline[0].upper() + headline[1:], tone, tuple(points))


def rivals(name: str, figures: Mapping[str, Figures], roles: Mapping[str, Role]) -> list[str]:
    """Return the strategies that somebody could have followed instead, the best Sharpe ratio first.

    Left out are oracles, and unless there is nothing else random actions and what takes no risk, such as cash.
    """
    possible = [other for other in figures if other != name and roles[other] != "oracle"]
    sensible = [other for other in possible if roles[other] != "random" and not _is_riskless(figures[other])]

    def order(other: str) -> float:
        value = figures[other].get("sharpe")
        return -value if value is not None and math.isfinite(value) else math.inf

    return sorted(sensible or possible, key=order)


def _is_riskless(row: Figures) -> bool:
    """Return whether an account held nothing and moved by no more than interest does."""
    return row.get("exposure") == 0 and not row.get("annual_volatility", 0.0) > _INTEREST


def _headline(
    name: str,
    figures: Mapping[str, Figures],
    evidence: Mapping[str, Any],
    roles: Mapping[str, Role],
    provenance: Provenance,
) -> tuple[str, Tone]:
    own = figures[name]
    others = rivals(name, figures, roles)
    where = SAMPLE_PREFIX[provenance.sample]
    if provenance.update == 0:
        return f"{name} had not begun to train (update 0): its figures are those of chance.", "bad"
    gain = f"{signed(own['annual_return'])} a year" if math.isfinite(own["annual_return"]) else "no defined return"
    if not others:
        return f"{where}{name} made {gain}, compared with nothing that could tell skill from a rising market.", "open"
    # What skill has to beat is holding the market at the same costs.
    market = [other for other in others if roles[other] == "market"] or others
    best = max(market, key=lambda other: figures[other]["total_return"])
    least = f"{signed(figures[best]['annual_return'])} of {best}"
    behind = [other for other in others if not own["total_return"] > figures[other]["total_return"]]
    if where:
        verb = "behind" if behind else "ahead of"
        return (
            f"{where}{name} made {gain}, {verb} {best}, but this proves nothing about bars it has not seen.",
            "bad",
        )
    if len(behind) == len(others) and not _better_sharpe(name, others, figures):
        beaten = f", less than {_listed(others)}," if len(others) > 1 else ""
        return f"{name} made {gain} against the {least}{beaten} and at no better a Sharpe ratio.", "bad"
    if behind:
        sharper = " at a higher Sharpe ratio" if _sharper(own, figures[best]) else ""
        return f"{name} made {gain} against the {least}{sharper}: not shown to be the better choice.", "open"
    if own["total_return"] <= 0:
        return f"{name} lost less than {_listed(others)}, but lost: {gain} against the {least}.", "open"
    lead = f"{name} made {gain} against the {least}, more than {_listed(others)}"
    if not _beyond_luck(others, evidence):
        return f"{lead}: ahead, but luck cannot be ruled out.", "open"
    return f"{lead}, by more than luck is likely to explain.", "good"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else "every baseline worth following"


def _better_sharpe(name: str, others: Sequence[str], figures: Mapping[str, Figures]) -> bool:
    return any(_sharper(figures[name], figures[other]) for other in others)


def _sharper(own: Figures, other: Figures) -> bool:
    return bool(own["sharpe"] > other["sharpe"])


def _beyond_luck(others: Sequence[str], evidence: Mapping[str, Any]) -> bool:
    """Return whether the Sharpe ratio survives the number of trials and beats each rival's in a test.

    A rival without a Sharpe ratio, such as cash, has no test: the first condition is the stronger one then.
    """
    deflated = evidence.get("deflated_sharpe") or 0.0
    tests = evidence.get("sharpe_differences") or {}
    return deflated > CONFIDENCE and all(
        other in tests and (is_ahead(tests[other]) or not math.isfinite(tests[other]["p_value"])) for other in others
    )


def is_ahead(test: Mapping[str, Any]) -> bool:
    """Return whether a test of two Sharpe ratios says that the first is higher, beyond chance.

    A report makes several such tests, so `p_value_adjusted` is read, which counts them as one family. A test without
    one counts as one of `_USUAL_TESTS` (Bonferroni).
    """
    p_value = test.get("p_value_adjusted", test["p_value"] * _USUAL_TESTS)
    return bool(test["difference"] > 0 and p_value < 1 - CONFIDENCE)


def _tested(own: Figures, provenance: Provenance, data: str) -> str:
    on = f" on {data}" if data else ""
    sample = (
        describe_provenance(provenance)
        if provenance != UNKNOWN
        else "The run does not say whether the agent was trained on these bars. Read the figures as in-sample, that is"
        " as too good, unless you know better."
    )
    return (
        f"{own['num_bars']:,} bars from {own['start'][:10]} to {own['end'][:10]}{on}, starting with"
        f" {dollars(own['initial_cash'])}. {sample} All figures but the gross returns are net of the costs that the"
        f" simulation charged: {dollars(own['total_cost'])} in all. Positions still held at the end are marked at the"
        " last close, without the cost of selling them."
    )


def _comparison(
    name: str, figures: Mapping[str, Figures], evidence: Mapping[str, Any], roles: Mapping[str, Role]
) -> str:
    others = [other for other in figures if other != name and roles[other] != "oracle"]
    if not others:
        return "It was compared with nothing: a gain alone does not tell skill from a rising market."
    own = figures[name]
    beaten = sum(own["total_return"] > figures[other]["total_return"] for other in others)
    best = max(others, key=lambda other: figures[other]["total_return"])
    words = [
        f"By total return, {name} beats {beaten} of the {len(others)} strategies that it is compared with; the best of"
        f" them, {best}, made {signed(figures[best]['total_return'])} against its {signed(own['total_return'])}."
    ]
    sharp = rivals(name, figures, roles)[:1]
    if sharp and math.isfinite(own["sharpe"]):
        rival = sharp[0]
        words.append(
            f"By Sharpe ratio: {ratio(own['sharpe'])} against the {_or_none(figures[rival], 'sharpe')} of {rival}."
        )
    tests = evidence.get("sharpe_differences") or {}
    clear = [other for other, test in tests.items() if is_ahead(test)]
    if tests:
        which = ", ".join(clear) if clear else "none of them"
        words.append(
            f"The difference in Sharpe ratio is beyond chance (p < {1 - CONFIDENCE:.2f}, all"
            f" {len(tests)} tests counted as one family) for {which}."
        )
    return " ".join(words)


def _confidence(own: Figures, evidence: Mapping[str, Any], calendar: Calendar) -> str:
    if own["num_days"] < 2:
        return "There are too few returns to say anything."
    if not math.isfinite(own["sharpe"]):
        return (
            "Its returns do not vary, as those of an account that never trades: there is no Sharpe ratio to be sure of."
        )
    words = [
        f"Over {own['num_days']:,} {calendar.unit} a Sharpe ratio is known only to about"
        f" ± {_sharpe_error(own, calendar):.2f} (one standard error, for independent normal returns)."
    ]
    interval = evidence.get("sharpe_interval")
    if interval:
        words.append(
            f"By stationary bootstrap, which keeps the dependence of {calendar.unit}, {ratio(own['sharpe'])} lies in"
            f" {ratio(interval[0])} to {ratio(interval[1])} with 95 % confidence"
            + (
                f"; with fewer than {_FEW_DAYS} {calendar.unit} it misses the truth in up to 15 % of cases, not in 5 %."
                if own["num_days"] < _FEW_DAYS
                else "."
            )
        )
    if evidence.get("probabilistic_sharpe") is not None:
        words.append(f"The probability that it is above 0 is {percent(evidence['probabilistic_sharpe'])}.")
    if evidence.get("deflated_sharpe") is not None:
        words.append(
            f"That it is above what the best of {evidence['num_trials']:,} trials without skill would show:"
            f" {percent(evidence['deflated_sharpe'])}."
        )
    elif interval:
        words.append("How many were tried before this one was chosen is not known.")
    needed = evidence.get("minimum_track_record_days")
    if needed is not None and math.isfinite(needed):
        enough = "enough" if own["num_days"] >= needed else "more than there are"
        words.append(f"To tell it from 0 takes {needed:,.0f} {calendar.unit}: {enough}.")
    return " ".join(words)


def _sharpe_error(own: Figures, calendar: Calendar) -> float:
    sharpe = own["sharpe"] if math.isfinite(own["sharpe"]) else 0.0
    return math.sqrt((calendar.periods_per_year + sharpe**2 / 2) / own["num_days"])


def _breaks(
    name: str, figures: Mapping[str, Figures], evidence: Mapping[str, Any], calendar: Calendar, worst_scenario: str
) -> str:
    words = []
    level = evidence.get("level_cost_multiple")
    own = figures[name]
    if own["total_cost"] > 0 and own["total_return"] > 0:
        words.append(
            f"The same trades would earn nothing at {level:.1f} times the costs."
            if level is not None
            else f"The same trades would still earn something at {MOST_COST:.0f} times the costs."
        )
    against = evidence.get("level_cost_against") or {}
    words += [
        f"The lead over {other} is gone at {multiple:.1f} times the costs."
        if multiple is not None
        else f"The lead over {other} survives {MOST_COST:.0f} times the costs."
        for other, multiple in against.items()
    ]
    dull = evidence.get("annual_return_without_best_days")
    if dull is not None and math.isfinite(dull) and own["num_days"] > 4 * TOP:
        words.append(
            f"Without its {TOP} best {calendar.unit} the annual return is {signed(dull)} instead of"
            f" {signed(own['annual_return'])}."
        )
    share = evidence.get("top_trades_pnl_share")
    if share is not None and own["num_trades"] > TOP:
        words.append(f"The {TOP} best trades made {percent(share)} of all profit")
        words[-1] += (
            f", {evidence['top_ticker']} alone {percent(evidence['top_ticker_pnl_share'])}."
            if evidence.get("top_ticker_pnl_share") is not None
            else "."
        )
    if evidence.get("effective_positions"):
        number = evidence["effective_positions"]
        held = f"as much as {number:,.1f} equal positions on average" if number > 1.05 else "one position at a time"
        words.append(f"It held {held}; the largest was {percent(evidence['largest_weight'])} of equity.")
    if worst_scenario:
        words.append(worst_scenario)
    return " ".join(words) or "It held nothing, so there is nothing to break."


def _or_none(row: Figures, key: str) -> str:
    value = row.get(key)
    return ratio(value) if value is not None and math.isfinite(value) else "undefined one"
