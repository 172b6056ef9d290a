"""The pages of a paper account: those of a backtest, and a table of paper against backtest."""

from pathlib import Path
from typing import Any

import pandas as pd

from ploutos_jax.agents.agent import Agent
from ploutos_jax.evaluate.backtest.run import baselines
from ploutos_jax.evaluate.report.write import write_report
from ploutos_jax.live.bars import labels_from
from ploutos_jax.live.differences import DIFFERENCES_FILE
from ploutos_jax.live.journal import Journal
from ploutos_jax.live.ledger import Comparison, Flip, bars_of, compare, describe_comparison, market_of
from ploutos_jax.live.reconcile import BROKER_FILE, describe, reconcile
from ploutos_jax.live.routing import broker_orders

NOTICE = "Nothing here is investment advice; a paper account shows what would have been, at fills that are simulated."
FLIPS_FILE = "flips.parquet"


def write_paper_report(folder: str | Path, journal: Journal, agent: Agent, *, overwrite: bool = False) -> Comparison:
    """Write the report of a paper account, with the backtest of its bars beside it, and return both.

    Besides the files of `write_report` the folder gets `paper_against_backtest.parquet`, the differences bar by bar,
    and `flips.parquet`, decisions that the agent takes otherwise in the backtest. Where orders went to a broker,
    `broker_against_simulated.parquet` holds its fills beside the simulated ones.

    Args:
        folder: of the report.
        journal: of an account that has traded one bar at least.
        agent: of the account.
        overwrite: replace an older report.

    Raises:
        ValueError: if the journal is too short, or the folder holds a report and is not to be overwritten.
    """
    facts = journal.facts()
    number = journal.last_bar()
    if not number:
        raise ValueError(f"{journal.path} holds {0 if number is None else 1} bars of an account; a report needs two.")
    if "labels" not in facts:
        raise ValueError(f"{journal.path} is a copy for sharing, without the bars that a report needs.")
    labels = labels_from(facts["labels"])
    compared = compare(journal, agent, labels)
    bars = bars_of(journal, labels)
    market = market_of(bars, agent)
    others = baselines(market, agent.env_config, bars.first, None)
    told: dict[str, Any] = {
        "account": f"paper, {facts['source']}",
        "agent": facts["agent"],
        "fills": "simulated",
        "against the backtest": describe_comparison(compared),
        "notice": NOTICE,
    }
    sent = len(broker_orders(journal)) > 0
    found = reconcile(journal, labels.symbols)
    if sent:
        told["broker"] = describe(found)
    folder = Path(folder)
    write_report(
        folder,
        compared.paper,
        {"backtest": compared.backtest, **others},
        sectors=labels.sectors,
        title="Paper account",
        facts=told,
        overwrite=overwrite,
    )
    if sent:
        found.table.to_parquet(folder / BROKER_FILE, index=False)
    compared.bars.to_parquet(folder / DIFFERENCES_FILE, index=False)
    pd.DataFrame(compared.flips, columns=list(Flip._fields)).to_parquet(folder / FLIPS_FILE, index=False)
    return compared
