"""A file of bars traded bar by bar, beside the backtest of the same bars; prints figures as JSON.

python -m tests.live.real_bars FILE START END FORM JOURNAL
"""

import dataclasses
import json
import sys

import numpy as np

from ploutos_jax.evaluate.backtest.run import backtest
from ploutos_jax.live.bars import labels_from
from ploutos_jax.live.journal import Journal
from ploutos_jax.live.ledger import compare
from ploutos_jax.live.replay import Replay
from ploutos_jax.live.trader import Trader
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.io.load import load_panel
from tests.evaluate.backtest.worlds import COSTLY, make_agent
from tests.live.paper import FORMS


def main(file, start, end, form, path):
    panel = load_panel(file)
    panel = panel.window(0, panel.find_rows(start, end).stop)
    market = build_market(panel, "standard")
    features, first = np.asarray(market.features), panel.find_rows(start, end).start
    agent = make_agent(market, dataclasses.replace(COSTLY, fees="alpaca") if form == "discrete" else FORMS[form])
    worst, seconds = [], []

    def follow(one):
        worst.append(float(np.abs(one.market.features[1] - features[first + one.number]).max()))
        seconds.append(one.seconds)

    with Journal(path) as journal:
        Trader(agent, Replay(panel, start, end), journal).run(on_bar=follow)
        compared = compare(journal, agent, labels_from(journal.facts()["labels"]))
    alone = backtest(agent, market, start, end)
    return {
        "file": file.rpartition("/")[2],
        "form": form,
        "bars": len(seconds),
        "features_apart": max(worst),
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
