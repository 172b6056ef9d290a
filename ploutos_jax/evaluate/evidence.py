"""How much a result is worth as evidence: what luck could do, and what the result rests on, as one dictionary."""

from collections.abc import Mapping
from typing import Any

from ploutos_jax.evaluate.fragility import fragility, level_cost
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.tables import Figures
from ploutos_jax.evaluate.verdict import rivals


def evidence_of(ledgers: Mapping[str, Ledger], figures: Mapping[str, Figures]) -> dict[str, Any]:
    """Return the evidence for the first of several strategies.

    Args:
        ledgers: the strategies by name over the same bars, the one under test first.
        figures: as from `metrics.summarize` by the same names.

    Returns:
        What `fragility.fragility` says, and `level_cost_against`: the multiple of the costs at which the strategy's
        lead is gone (None: beyond `MOST_COST`), by name of each rival that it leads.
    """
    name, ledger = next(iter(ledgers.items()))
    own = figures[name]["total_return"]
    led = [other for other in rivals(name, figures)[:2] if own > figures[other]["total_return"]]
    return {
        **fragility(ledger),
        "level_cost_against": {other: level_cost(ledger, ledgers[other]) for other in led},
    }
