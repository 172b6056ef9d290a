"""The verdict says no more than the figures allow."""

from collections import defaultdict

import pytest

from ploutos_jax.agents.provenance import Provenance
from ploutos_jax.evaluate.ledger import Role
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.evaluate.report.verdict import judge, rivals
from tests.evaluate.accounts import account_of

OUT = Provenance("after_training", ("2013-01-01", "2016-12-30"))
IN = Provenance("overlaps_training", ("2013-01-01", "2018-12-31"))
ROLES: dict[str, Role] = defaultdict(lambda: "baseline", agent="agent", random="random", oracle="oracle")


def figures_of(**finals):
    """Figures of accounts that go from 100 to an end, with a day of loss in between, by name."""
    return {
        name: summarize(account_of([100, 100 + 0.6 * (end - 100), 99 + 0.6 * (end - 100), end], name=name))
        for name, end in finals.items()
    }


def test_beyond_luck(figures=None):
    figures = figures_of(agent=130.0, cash=100.0, equal=110.0)
    test = {"difference": 0.9, "p_value": 0.001}
    strong = {"deflated_sharpe": 0.97, "num_trials": 4, "sharpe_differences": {"cash": test, "equal": test}}
    assert judge("agent", figures, strong, roles=ROLES, provenance=OUT).tone == "good"
    weaker = [
        strong | {"deflated_sharpe": 0.90},
        strong | {"deflated_sharpe": None},
        strong | {"sharpe_differences": {"cash": test}},
        strong | {"sharpe_differences": {"cash": test, "equal": test | {"p_value": 0.2}}},
        strong | {"sharpe_differences": {"cash": test, "equal": test | {"difference": -0.9}}},
        {},
    ]
    for evidence in weaker:
        verdict = judge("agent", figures, evidence, roles=ROLES, provenance=OUT)
        assert verdict.tone == "open" and "luck cannot be ruled out" in verdict.headline
    assert judge("agent", figures, strong, roles=ROLES, provenance=IN).tone == "bad"
    assert "proves nothing" in judge("agent", figures, strong, roles=ROLES, provenance=IN).headline
    unknown = judge("agent", figures, strong, roles=ROLES)
    assert unknown.tone == "bad" and unknown.headline.startswith("Perhaps in sample")


@pytest.mark.parametrize(
    ("finals", "tone", "said"),
    [
        ({"agent": 105.0, "equal": 110.0, "hold": 120.0}, "bad", "less than hold and equal, and"),
        ({"agent": 115.0, "equal": 110.0, "hold": 120.0}, "open", "not shown to be the better choice"),
        ({"agent": 98.0, "equal": 90.0}, "open", "but lost"),
        ({"agent": 120.0}, "open", "compared with nothing"),
        ({"agent": 120.0, "random": 110.0, "oracle": 150.0}, "open", "luck cannot be ruled out"),
    ],
)
def test_headline(finals, tone, said):
    verdict = judge("agent", figures_of(**finals), {}, roles=ROLES, provenance=OUT)
    assert verdict.tone == tone and said in verdict.headline
    assert verdict.headline[0] == "A"


def test_rivals_are_what_could_have_been_followed():
    figures = figures_of(agent=120.0, random=140.0, hold=110.0, oracle=190.0, equal=115.0)
    assert rivals("agent", figures, ROLES) == ["equal", "hold"]
    assert rivals("agent", figures_of(agent=120.0, random=140.0, oracle=190.0), ROLES) == ["random"]
    assert rivals("agent", figures_of(agent=120.0), ROLES) == []


def test_points_tell_span_sample_costs_and_fragility():
    figures = figures_of(agent=130.0, hold=110.0)
    figures["agent"] |= {"total_cost": 12.0, "num_trades": 20}
    evidence = {
        "level_cost_multiple": 3.25,
        "level_cost_against": {"hold": None},
        "annual_return_without_best_days": -0.125,
        "top_trades_pnl_share": 0.8,
        "top_ticker": "AAA",
        "top_ticker_pnl_share": 0.5,
        "effective_positions": 4.5,
        "largest_weight": 0.25,
        "sharpe_interval": (-0.25, 1.75),
        "probabilistic_sharpe": 0.9,
        "deflated_sharpe": 0.42,
        "num_trials": 12,
        "minimum_track_record_days": 900.0,
        "sharpe_differences": {"hold": {"difference": 0.1, "p_value": 0.7}},
    }
    verdict = judge(
        "agent",
        figures,
        evidence,
        roles=ROLES,
        provenance=OUT,
        data="bars.csv",
        worst_scenario="In a flash crash it loses 9.0%.",
    )
    words = dict(verdict.points)
    tested, sure, breaks = (words[key] for key in ("What was tested", "How sure that is", "What would break it"))
    assert (
        "3 bars from 2020-01-01 to 2020-01-06 on bars.csv" in tested and "Out of sample" in tested and "$12" in tested
    )
    for said in ("−0.25 to 1.75", "90.0%", "12 trials", "42.0%", "900 days: more than there are"):
        assert said in sure, said
    for said in ("at 3.2 times the costs", "lead over hold survives 10", "AAA alone 50.0%", "flash crash", "25.0%"):
        assert said in breaks, said
    assert "for none of them" in words["Against the baselines"]
    bare = dict(judge("agent", figures, {}, roles=ROLES).points)
    assert "does not say whether the agent was trained on these bars" in bare["What was tested"]


def test_a_name_decides_nothing():
    """Oracle is a company: what a strategy is comes from its role alone."""
    figures = figures_of(agent=120.0, **{"Oracle Corp buy and hold": 150.0, "random walk index": 130.0})
    assert set(rivals("agent", figures, ROLES)) == {"Oracle Corp buy and hold", "random walk index"}
    assert "Oracle Corp" in judge("agent", figures, {}, roles=ROLES, provenance=OUT).headline
    roles: dict[str, Role] = {**dict.fromkeys(figures, "baseline"), "Oracle Corp buy and hold": "oracle"}
    assert rivals("agent", figures, roles) == ["random walk index"]
