"""How scored bars relate to those of training: facts, and the sentence that the report makes of them."""

import dataclasses

import pytest

from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.provenance import UNKNOWN, Provenance
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.evaluate.report.provenance import describe_provenance
from ploutos_jax.market.calendar import Calendar

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


DAILY, HOURS = Calendar(bars_per_session=1.0), Calendar(bars_per_session=7.0)


@pytest.mark.parametrize(
    ("trained", "scored", "said"),
    [
        (DAILY, HOURS, "intraday bars, 7 a session; trained on daily bars"),
        (HOURS, Calendar(bars_per_session=13.0), "intraday bars, 13 a session; trained on intraday bars, 7 a session"),
        (DAILY, Calendar(52.18, 1.0, period="week"), "weekly bars; trained on daily bars"),
        (Calendar(365.25, 24.0, 365.25), Calendar(365.25, 1.0, 365.25), "daily bars; trained on intraday bars, 24"),
    ],
)
def test_bars_of_another_length_are_not_called_out_of_sample(trained, scored, said):
    agent = dataclasses.replace(AGENT, calendar=trained)
    found = agent.provenance("2017-01-03", "2018-02-07", scored)
    assert (found.relation, found.sample) == ("after_training", "unknown")
    sentence = describe_provenance(found)
    assert said in sentence and "need not apply" in sentence and "Out of sample" not in sentence
    # What was trained on is in sample whatever it is called.
    assert agent.provenance("2016-01-04", "2018-02-07", scored).sample == "in_sample"


@pytest.mark.parametrize(
    ("trained", "scored"),
    [
        (DAILY, DAILY),
        (DAILY, Calendar()),
        (Calendar(bars_per_session=78.0), Calendar(bars_per_session=74.0)),
        (Calendar(252.0, 1.0), Calendar(365.25, 1.0, 365.25)),
        (None, HOURS),
        (DAILY, None),
    ],
    ids=["equal", "not counted", "half days", "a market on all days", "an older agent", "bars without labels"],
)
def test_bars_of_the_same_length_are_as_they_were(trained, scored):
    found = dataclasses.replace(AGENT, calendar=trained).provenance("2017-01-03", "2018-02-07", scored)
    assert found == Provenance("after_training", TRAINED, None, 7)


def test_tickers_chosen_on_tested_bars_flatter_folds():
    found = Provenance("cross_validated", chosen_on=("2010-01-04", "2016-12-30"))
    assert found.sample == "unknown"
    assert "chosen from 2010-01-04 to 2016-12-30, bars that are tested" in describe_provenance(found)
