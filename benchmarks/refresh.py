"""Does training on markets that are drawn anew generalise? Planted markets, scored on paths seen and never seen.

python benchmarks/refresh.py                   5 seeds of each of two ways to train
python benchmarks/refresh.py --seeds 1 --train.total-timesteps 50000

The signal is the same on all paths: a hint of the next return. Everything else of a path, noise signals and prices, is
its own, and can only be overfitted. Agents get as many steps each: on a single short path; on a bank of paths
(`--ways bank`); on a bank that is drawn anew every few updates. The score is the share of the oracle's log return in
the same environment, without costs; `kept` is the score on unseen paths over that on those trained on (for the
refreshed agent the last eight banks). Every run is a line of JSON in `runs/refresh.jsonl`; what was found is in
REFRESH.md.
"""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro
from rich.table import Table

from ploutos_jax.agents.agent import Agent
from ploutos_jax.cli.terminal import exit_codes, result_console
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.baselines import oracle
from ploutos_jax.evaluate.backtest.run import backtest, baselines_by_rule
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sampler import MarketDraw
from ploutos_jax.market.synthetic.planted import PlantedDraw
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.loop import train

# Keys of markets lie apart from those of learners, which count from 0, and those of unseen paths from both.
_SEEN_KEY, _UNSEEN_KEY = 1_000_000, 2_000_000

_LAST_BANKS = 8

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Probe:
    """Measure what is left of a score on paths never seen.

    Attributes:
        seeds: runs of each way; they count from `--train.seed`.
        draw: markets; `num_paths` of a bank, `num_bars` of a path.
        unseen_paths: to score on.
        refresh: updates between two draws.
        ways: how to train.
        json: file to which each finished run is appended as a line.
        train: learner.
    """

    seeds: int = 5
    draw: PlantedDraw = PlantedDraw(num_assets=4, num_bars=126, num_paths=2, num_noise=8)
    unseen_paths: int = 16
    refresh: int = 2
    ways: tuple[Literal["one path", "bank", "refreshed"], ...] = ("one path", "refreshed")
    json: str = "runs/refresh.jsonl"
    train: TrainConfig = TrainConfig(
        total_timesteps=100_000, learning_rate=3e-3, policy=PolicyConfig(hidden=(128, 128))
    )


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    probe = tyro.cli(Probe, args=args)
    if probe.seeds < 1 or probe.unseen_paths < 1:
        raise ValueError(f"seeds={probe.seeds} and unseen_paths={probe.unseen_paths} must be at least 1.")
    console = result_console()
    file = Path(probe.json)
    file.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for seed in range(probe.train.seed, probe.train.seed + probe.seeds):
        for way in probe.ways:
            row = {"way": way, "seed": seed} | run(probe, way, seed) | _circumstances(probe)
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(row) + "\n")
            rows.append(row)
            console.print(
                f"seed {seed}, {way}: {row['seen']:.3f} of the oracle on paths seen, {row['unseen']:.3f} on unseen ones"
                f" ({row['seconds']:.0f} s)",
                style="dim",
            )
    console.print(_table(rows, probe))
    return 0


def run(probe: Probe, way: str, seed: int) -> Row:
    """Train one agent in one way; return its shares of the oracle's log return on paths seen and unseen."""
    bank = probe.draw if way != "one path" else dataclasses.replace(probe.draw, num_paths=1)
    every = probe.refresh if way == "refreshed" else None
    stream = bank.stream(jax.random.key(_SEEN_KEY + seed))
    env = _environment(probe.draw)
    config = dataclasses.replace(probe.train, seed=seed, market_refresh=every)
    began = time.perf_counter()
    agent = train(config, stream.first(), env, draw=stream)
    seconds = time.perf_counter() - began
    last = 0 if every is None else (config.num_updates - 1) // every
    unseen = dataclasses.replace(probe.draw, num_paths=probe.unseen_paths).stream(jax.random.key(_UNSEEN_KEY + seed))
    seen = score(agent, env, stream, range(max(0, last - _LAST_BANKS + 1), last + 1), probe.draw.num_bars)
    other = score(agent, env, unseen, [0], probe.draw.num_bars)
    return {"seen": seen, "unseen": other, "kept": other / seen, "draws": last + 1, "seconds": round(seconds, 1)}


def score(agent: Agent, env: TradingEnv, stream: MarketDraw, numbers: Sequence[int], path_bars: int) -> float:
    """Return the agent's share of the oracle's log return, summed over the paths of some markets."""
    own = best = 0.0
    for market in map(stream.number, numbers):
        for start in range(0, market.num_bars, path_bars):
            path = market.window(start, start + path_bars)
            own += _log_return(backtest(agent, path))
            best += _log_return(_oracle(path, env))
    return own / best


def _oracle(path: Market, env: TradingEnv) -> Ledger:
    return baselines_by_rule(path, env.config, {"oracle": oracle})["oracle"]


def _environment(draw: PlantedDraw) -> TradingEnv:
    """Return an environment in which nothing costs anything: an equal part for each asset, no exits."""
    share = 1 / draw.num_assets
    config = EnvConfig(
        spread_bps=0.0,
        tick_size=None,
        slippage_bps=0.0,
        fees="none",
        stop_loss=None,
        take_profit=None,
        buy_pct=share,
        max_position_pct=share,
        episode_length=draw.num_bars // 4,
    )
    return TradingEnv(config)


def _log_return(ledger: Ledger) -> float:
    return float(np.log(ledger.equity[-1] / ledger.equity[0]))


def _circumstances(probe: Probe) -> Row:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return {
        "commit": described.stdout.strip() or "unknown",
        "device": str(jax.devices()[0]),
        "draw": dataclasses.asdict(probe.draw),
        "refresh": probe.refresh,
        "train": dataclasses.asdict(probe.train),
    }


def _table(rows: Sequence[Row], probe: Probe) -> Table:
    table = Table(title=f"share of the oracle's log return: mean (lowest to highest) over {probe.seeds} seeds")
    for heading in ("trained on", "paths seen", "unseen paths", "kept", "seconds"):
        table.add_column(heading, justify="left" if heading == "trained on" else "right")
    for way in probe.ways:
        own = [row for row in rows if row["way"] == way]
        cells = [_spread([row[name] for row in own]) for name in ("seen", "unseen", "kept")]
        table.add_row(way, *cells, f"{np.mean([row['seconds'] for row in own]):.0f}")
    return table


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
