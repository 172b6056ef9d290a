"""A file of bars traded bar by bar, beside the backtest of the same bars; prints figures as JSON.

python -m tests.live.real_bars FILE START END FORM JOURNAL

FORM is one of `FORMS`, for an agent that has learnt nothing, or the folder of a run.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

from ploutos_jax.evaluate.backtest.run import backtest
from ploutos_jax.live.bars import labels_from
from ploutos_jax.live.journal import Journal
from ploutos_jax.live.ledger import compare
from ploutos_jax.live.replay import Replay
from ploutos_jax.live.trader import Trader
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.train.checkpoints.export import load_agent
from tests.evaluate.backtest.worlds import COSTLY, make_agent
from tests.live.paper import FORMS


def agent_of(form, panel):
    """The agent, and the market of the panel with its features."""
    if Path(form).is_dir():
        agent = load_agent(form)
        return agent, build_market(panel, list(agent.feature_names))
    market = build_market(panel, "standard")
    return make_agent(market, dataclasses.replace(COSTLY, fees="alpaca") if form == "discrete" else FORMS[form]), market


def main(file, start, end, form, path):
    panel = load_panel(file)
    panel = panel.window(0, panel.find_rows(start, end).stop)
    agent, market = agent_of(form, panel)
    features, first = np.asarray(market.features), panel.find_rows(start, end).start
    spread = np.asarray(agent.params.scaling.features.spread)
    worst, seconds = [], []

    def follow(one):
        worst.append(np.abs(one.market.features[1] - features[first + one.number]).max(axis=0))
        seconds.append(one.seconds)

    with Journal(path) as journal:
        Trader(agent, Replay(panel, start, end), journal).run(on_bar=follow)
        compared = compare(journal, agent, labels_from(journal.facts()["labels"]))
    alone = backtest(agent, market, start, end)
    return {
        "file": file.rpartition("/")[2],
        "form": form.rpartition("/")[2],
        "bars": len(seconds),
        "features_apart": float(np.max(worst)),
        "scaled_features_apart": float((np.max(worst, axis=0) / spread).max()),
        "outputs_apart": compared.outputs_apart,
        "fills": len(compared.paper.fills),
        "fills_differ": compared.fills_differ,
        "equity_replay_apart": float(compared.bars["equity_replay"].abs().max()),
        "cash_replay_apart": float(compared.bars["cash_replay"].abs().max()),
        "flips": [flip.margin for flip in compared.flips],
        "equity_backtest_apart": float(np.abs(compared.paper.equity - alone.equity).max()),
        "median_ms": 1e3 * float(np.median(seconds)),
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
