"""The step in float64 against the slow reference broker: every account, every fill, to 1e-9, under many rules."""

import itertools
import time
from collections import Counter

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.env.cases import CASES, COMBINATIONS, RULES, Case
from tests.env.covering import hold_all_choices, pairs_of
from tests.env.differential import TOLERANCE, Comparison, compare

FEW = [CASES[number] for number in hold_all_choices(COMBINATIONS)]
"""The usual rules, and some cases that hold every choice between them."""

SEEDS_IN_A_MILLION_STEPS = 14
"""Markets per case so that all cases together are compared over a million steps."""

EXITS = ("stop", "target", "trailing", "time", "halt", "delisted")

OFTEN = ("order", *EXITS, "rejected", "day trades", "interest", "fee rounding", "both touched", "working order tried")
OFTEN += ("order capped by volume", "exit capped", "rounded to lots", "cut by the sector limit", "cut to the cash")
OFTEN += ("cut to settled cash", "refused by the trades of the day", "sale refused by age", "refused after an exit")
OFTEN += ("order waits for a bar", "held within its band", "order between decisions")
OFTEN += ("refused after the halt", "day-trade buy refused", "day-trade sale refused", "flagged buy refused", "flagged")
OFTEN += ("halted", "fee capped", "fee of the whole trade", "spread of a tick", "impact by the root")
OFTEN += ("impact in proportion", "spread wider than usual", "spread narrower than usual", "impact scaled")
"""Every way in which a rule can act, named by the reference."""


def add_up(comparisons: list[Comparison]) -> Comparison:
    """Return all comparisons as one."""
    names = {name for comparison in comparisons for name in comparison.worst}
    worst = {name: max(c.worst.get(name, 0.0) for c in comparisons) for name in sorted(names)}
    events = sum((c.events for c in comparisons), Counter())
    return Comparison(sum(c.steps for c in comparisons), worst, events)


def assert_happened(events: Counter[str], at_least: int) -> None:
    """Fail if one of the rules hardly acted: agreement on what did not happen means little."""
    rare = {name: events[name] for name in OFTEN if events[name] < at_least}
    assert not rare, f"Too rare to mean something, below {at_least}: {rare}."


def test_every_two_choices_of_rules_meet_in_a_case():
    every = {
        pair
        for one, two in itertools.combinations(sorted(RULES), 2)
        for pair in itertools.product(((one, x) for x in RULES[one]), ((two, x) for x in RULES[two]))
    }
    assert every == set().union(*(pairs_of(dict(case.chosen)) for case in CASES))
    assert {choice for case in FEW for choice in case.chosen} == {(r, x) for r, xs in RULES.items() for x in xs}
    assert len({case.chosen for case in CASES}) == len(CASES) >= 30


@pytest.mark.parametrize("case", FEW, ids=str)
def test_the_step_agrees_with_the_reference(case: Case):
    found = add_up([compare(case, seed) for seed in (11, 12)])
    assert found.steps == 2 * 63 * 40
    assert found.events["order"] > 500
    assert sum(found.events[name] for name in EXITS) > 500
    assert found.events["rejected"] > 500


@pytest.mark.thorough
def test_the_step_agrees_with_the_reference_when_many_assets_compete():
    case = next(case for case in FEW if case["trades"] == "nine")
    found = compare(case, 13, num_assets=20)
    assert found.events["refused by the trades of the day"] > 500


@pytest.mark.thorough
@settings(max_examples=20, deadline=None, phases=[Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 2**31), case=st.sampled_from(FEW))
def test_the_step_agrees_with_the_reference_whatever_the_market(seed: int, case: Case):
    compare(case, seed)


@pytest.mark.slow
def test_the_step_agrees_with_the_reference_over_a_million_steps(capsys: pytest.CaptureFixture[str]):
    began, comparisons = time.perf_counter(), []
    for case in CASES:
        found = add_up([compare(case, seed) for seed in range(100, 100 + SEEDS_IN_A_MILLION_STEPS)])
        comparisons.append(found)
        with capsys.disabled():
            print(f"\n{case}: {found.steps:,} steps, worst {max(found.worst.values()):.1e}", end="", flush=True)
    total = add_up(comparisons)
    with capsys.disabled():
        print(f"\n{total.steps:,} steps of {len(CASES)} cases in {time.perf_counter() - began:.0f} s; events:")
        print(", ".join(f"{name} {count:,}" for name, count in sorted(total.events.items())))
        print("worst:", ", ".join(f"{name} {value:.1e}" for name, value in total.worst.items()))
    assert total.steps >= 1_000_000
    assert max(total.worst.values()) <= TOLERANCE
    assert_happened(total.events, at_least=200)
