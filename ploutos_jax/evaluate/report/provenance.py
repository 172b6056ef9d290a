"""The sentence on how the scored bars relate to those of training."""

import dataclasses

from ploutos_jax.agents.provenance import Provenance


def describe_provenance(provenance: Provenance) -> str:
    """Return a sentence or two for a reader who wants to know whether a result is out of sample."""
    if provenance.other_bars is not None:
        before, now = provenance.other_bars
        alike = describe_provenance(dataclasses.replace(provenance, other_bars=None))
        return (
            f"Bars of another length than the agent was trained on ({now}; trained on {before}): what it learnt"
            f" need not apply to them. {alike.replace('Out of sample: ', 'Other bars: ')}"
        )
    if provenance.relation == "cross_validated" and provenance.chosen_on is not None:
        first, last = provenance.chosen_on
        return (
            "Each bar is played by an agent that neither trained nor was chosen on it, but the tickers were chosen from"
            f" {first} to {last}, bars that are tested, so the figures flatter them."
        )
    if provenance.relation == "cross_validated":
        return "Out of sample: each bar is played by an agent that neither trained nor was chosen on it."
    if provenance.trained_on is None:
        return "It is not known which bars the agent was trained on."
    trained = f"training ran from {provenance.trained_on[0]} to {provenance.trained_on[1]}"
    if provenance.relation == "overlaps_selection" and provenance.chosen_on is not None:
        first, last = provenance.chosen_on
        return (
            f"Chosen by its score from {first} to {last}, so the figures flatter it: {trained}. Score it on other bars."
        )
    return {
        "after_training": f"Out of sample: {trained}.",
        "before_training": f"Before the training bars: {trained}.",
    }.get(provenance.relation, f"In sample, so the figures prove nothing: {trained}.")
