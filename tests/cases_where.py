"""Names under which scripts outside the tests look for parts of the package."""

import dataclasses
from typing import Any

from ploutos_jax.agents.agent import Agent as _Agent
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.report.provenance import describe_provenance
from ploutos_jax.experiment import run
from ploutos_jax.experiment.validation.result import RIVAL, judge
from ploutos_jax.experiment.validation.result import BacktestPath as Way
from ploutos_jax.market.panel import Market

__all__ = ["RIVAL", "Agent", "Way", "judge", "score_while_training"]


def score_while_training(ledger: Ledger, market: Market) -> float | None:
    """Return the score on held-out bars that training gives an agent whose account was this ledger."""
    played, run.backtest = run.backtest, lambda *_, **__: ledger
    try:
        return run._held_out(market, False).score(None)["score"]
    finally:
        run.backtest = played


@dataclasses.dataclass(frozen=True)
class Agent(_Agent):
    """An agent that says in words how a span relates to its training."""

    def describe_span(self, first: Any, last: Any) -> str:
        """Return the sentence that a report shows."""
        return describe_provenance(self.provenance(first, last))
