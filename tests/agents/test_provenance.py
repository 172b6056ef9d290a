"""How scored bars relate to those of training: facts, and the sentence that the report makes of them."""

import dataclasses

import pytest

from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.provenance import UNKNOWN, Provenance
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.evaluate.report.provenance import describe_provenance

AGENT = Agent(
    params=None,  # type: ignore[arg-type]
    network=None,  # type: ignore[arg-type]
    env_config=EnvConfig(),
    feature_names=(),
    symbols=(),
    sectors=(),
    trained_from="2013-02-08",
    trained_to="2016-12-30",
    step=7,
)
TRAINED = ("2013-02-08", "2016-12-30")


@pytest.mark.parametrize(
    ("first", "last", "relation", "sample", "said"),
    [
        ("2017-01-03", "2018-02-07", "after_training", "out_of_sample", "Out of sample: training ran from 2013-02-08"),
        ("2016-12-30", "2018-02-07", "after_training", "out_of_sample", "Out of sample"),
        ("2016-12-29", "2018-02-07", "overlaps_training", "in_sample", "In sample, so the figures prove nothing"),
        ("2010-01-04", "2013-02-08", "before_training", "out_of_sample", "Before the training bars"),
    ],
)
def test_a_span_beside_the_training_bars(first, last, relation, sample, said):
    found = AGENT.provenance(first, last)
    assert found == Provenance(relation, TRAINED, None, 7) and found.sample == sample
    assert describe_provenance(found).startswith(said)


def test_bars_that_chose_the_agent_are_neither_in_nor_out_of_sample():
    chosen = dataclasses.replace(AGENT, chosen_on=("2017-01-03", "2017-06-30"))
    found = chosen.provenance("2017-06-29", "2018-02-07")
    assert (found.relation, found.sample) == ("overlaps_selection", "unknown")
    assert "flatter it" in describe_provenance(found) and "2017-06-30" in describe_provenance(found)
    assert chosen.provenance("2017-07-03", "2018-02-07").sample == "out_of_sample"


def test_without_training_dates_nothing_is_claimed():
    found = dataclasses.replace(AGENT, trained_from="", trained_to="").provenance("2017-01-03", "2018-02-07")
    assert found.sample == "unknown" and "not known" in describe_provenance(found)
    assert UNKNOWN.sample == "unknown"


def test_folds_are_out_of_sample():
    assert Provenance("cross_validated").sample == "out_of_sample"
    assert "neither trained nor was chosen" in describe_provenance(Provenance("cross_validated"))
