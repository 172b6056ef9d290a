"""How long a paper account takes from a closed bar to the journalled decision, by the number of tickers.

python benchmarks/paper_latency.py --tickers 1 30 503 --bars 300 --output latency.json

An agent of the default network, with the standard features, trades made stocks from memory, one bar at a time, into a
journal on the disk. Median and 99th percentile of a bar after the first ones: by the clock, and the time that the
processors worked for it, since a shared machine stretches the former.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.scaling import ObservationScaling, RunningMoments, fit_features
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.observation import ACCOUNT_FIELDS, ASSET_FIELDS
from ploutos_jax.live.journal import Journal
from ploutos_jax.live.replay import Replay
from ploutos_jax.live.trader import Trader
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Market
from ploutos_jax.market.synthetic.generate import synthetic_panel
from ploutos_jax.policy.actor_critic import PolicyConfig

HISTORY = 600


def make_agent(market: Market) -> Agent:
    """Return an agent that has learnt nothing: how long it takes does not depend on what it knows."""
    config = EnvConfig(action="bands")
    network = Network.for_env(PolicyConfig(), config, market.num_assets, 2**26, market.feature_names)
    scaling = ObservationScaling(
        features=fit_features(market.features, market.tradable),
        assets=RunningMoments.create(len(ASSET_FIELDS)),
        account=RunningMoments.create(len(ACCOUNT_FIELDS)),
    )
    params = AgentParams(network=network.init(jax.random.key(0), market.num_features), scaling=scaling)
    sectors = (-1,) * market.num_assets
    return Agent(params, network, config, market.feature_names, market.symbols, sectors, "", "", 0)


def measure(num_tickers: int, bars: int, warm_up: int, folder: Path) -> dict[str, float]:
    """Return milliseconds of a bar, by the clock and of the processors."""
    panel = synthetic_panel(jax.random.key(1), num_tickers, HISTORY + warm_up + bars)
    agent = make_agent(build_market(panel.window(0, HISTORY), "standard"))
    seconds, worked = [], [time.process_time()]
    with Journal(folder / f"{num_tickers}.journal") as journal:

        def take(followed: object) -> None:
            seconds.append(followed.seconds)  # type: ignore[attr-defined]  # a Followed
            worked.append(time.process_time())

        Trader(agent, Replay(panel, HISTORY), journal).run(on_bar=take)
    clock, work = 1e3 * np.array(seconds[warm_up:]), 1e3 * np.diff(worked)[warm_up:]
    return {
        "tickers": num_tickers,
        "bars": len(clock),
        "median_ms": float(np.median(clock)),
        "p99_ms": float(np.percentile(clock, 99)),
        "least_ms": float(clock.min()),
        "processor_median_ms": float(np.median(work)),
        "processor_p99_ms": float(np.percentile(work, 99)),
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tickers", type=int, nargs="+", default=[1, 30, 503])
    parser.add_argument("--bars", type=int, default=300)
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--output", default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = []
        for number in given.tickers:
            found.append(measure(number, given.bars, given.warm_up, Path(place)))
            print(json.dumps(found[-1]), flush=True)
    if given.output is not None:
        Path(given.output).write_text(json.dumps(found, indent=2) + "\n")
