"""Compare learning by derivatives through the broker with PPO, where what can be earned is known exactly.

python benchmarks/pathwise.py                                     three strengths of a persistent hint, 5 seeds
python benchmarks/pathwise.py --arms pathwise --seeds 1 --markets planted_persistent:30:0.03:0.9
python benchmarks/pathwise.py --refresh 5                         markets drawn anew, instead of one history
python benchmarks/pathwise.py --markets planted:30:0.3 --cost-bps 0 --steps 50000

Arms train on the same bars, the same number of steps and the same accounts, with the settings that the preset `default`
gives each. The score is what the positions were promised on a market of other paths, net of costs and with luck left
out, as a share of what the best rule was promised there, which holds each asset at an equal part or not at all. Every
run is a line of JSON as soon as it ends; what was found is in LEARNING.md.
"""

import dataclasses
import functools
import json
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro
from rich.table import Table

from ploutos_jax.cli.device import configure
from ploutos_jax.cli.terminal import exit_codes, result_console
from ploutos_jax.datasets.planted import read_planted
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.baselines import oracle
from ploutos_jax.evaluate.backtest.oracles.expected import expected_edge_of
from ploutos_jax.evaluate.backtest.run import backtest, baselines_by_rule
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Market
from ploutos_jax.runs.settings import parse_settings
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.loop import train

Arm = Literal["ppo", "pathwise", "mixed"]

YEAR_BARS = 252
_TRAINED, _SCORED = 1_000_000, 2_000_000
"""Keys of markets, apart from those of learners, which count from 0."""

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Measure how much of what can be earned each learner finds, on paths it never saw.

    Attributes:
        markets: as `--data` of the training command names them.
        arms: learners.
        seeds: runs of each, with a seed and a market of its own.
        first_seed: they count from here.
        cost_bps: commission a side, in basis points.
        steps: environment steps of each run.
        bars: of the market trained on, and of the one scored on.
        refresh: updates between two draws of a market of as many bars, in paths of five years; None keeps the first.
        forecast: what the network is told, see `PolicyConfig`.
        settings: further flags of the training command, for all arms, such as "--num-envs 128".
        json: file to which each finished run is appended as a line.
        device: where to run.
    """

    markets: tuple[str, ...] = (
        "planted_persistent:30:0.1:0.9",
        "planted_persistent:30:0.05:0.9",
        "planted_persistent:30:0.03:0.9",
    )
    arms: tuple[Arm, ...] = ("ppo", "pathwise")
    seeds: int = 5
    first_seed: int = 0
    cost_bps: float = 10.0
    steps: int = 100_352
    bars: int = 4032
    refresh: int | None = None
    forecast: Literal["none", "only"] = "none"
    settings: str = ""
    json: str = "runs/pathwise.jsonl"
    device: Literal["auto", "cpu", "gpu"] = "auto"


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    asked = tyro.cli(Comparison, args=args, config=(tyro.conf.OmitArgPrefixes,))
    if asked.seeds < 1 or asked.bars <= YEAR_BARS:
        raise ValueError(f"seeds={asked.seeds} must be at least 1, bars={asked.bars} at least {YEAR_BARS + 1}.")
    configure(asked.device)
    file = Path(asked.json)
    file.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for market in asked.markets:
        for arm in asked.arms:
            for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
                rows.append(run(asked, market, arm, seed))
                with file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(rows[-1]) + "\n")
                print(_one_line(rows[-1]), flush=True)
    result_console().print(_table(asked, rows))
    return 0


def run(asked: Comparison, market: str, arm: Arm, seed: int) -> Row:
    """Train one agent and score it."""
    planted = read_planted(market)
    env = environment(planted.num_assets, asked.cost_bps)
    config = settings_of(asked, arm, seed)
    draw = None
    if asked.refresh is None:
        bars = build_market(planted.panel(jax.random.key(_TRAINED + seed), asked.bars), ())
    else:
        paths = max(1, asked.bars // (5 * YEAR_BARS))
        draw = planted.stream(jax.random.key(_TRAINED + seed), asked.bars // paths, paths)
        bars = draw.first()
    rows: list[Row] = []
    began = time.perf_counter()
    agent = train(config, bars, env, draw=draw, observers=[lambda progress: rows.extend(progress.rows)])
    seconds = time.perf_counter() - began
    unseen, best = _unseen(market, seed, asked.bars, asked.cost_bps)
    found = expected_edge_of(backtest(agent, unseen), unseen)
    return {
        "market": market,
        "arm": arm,
        "seed": seed,
        "share": found.net / best,
        "gross": found.gross,
        "cost": found.cost,
        "oracle": best,
        "timesteps": rows[-1]["timesteps"],
        "seconds": rows[-1]["seconds"],
        "seconds_with_compiling": round(seconds, 1),
        "asked": dataclasses.asdict(asked),
        "commit": _commit(),
        "date": datetime.now().isoformat(timespec="seconds"),
        "device": str(jax.devices()[0]),
        "last_update": rows[-1],
    }


def settings_of(asked: Comparison, arm: Arm, seed: int) -> TrainConfig:
    """Return what the preset `default` sets for a learner, but that a part of the account may stay in cash."""
    flags = ["--algorithm", arm, "--seed", str(seed), "--action", "bands", "--forecast", asked.forecast, "--hold-cash"]
    config = parse_settings([*flags, *asked.settings.split()]).train
    return dataclasses.replace(config, total_timesteps=asked.steps, market_refresh=asked.refresh)


def environment(num_assets: int, cost_bps: float) -> TradingEnv:
    """Return an account that may hold an equal part of each asset, and pays one commission."""
    config = EnvConfig(
        action="bands",
        spread_bps=0.0,
        tick_size=None,
        slippage_bps=0.0,
        fees="none",
        commission_bps=cost_bps,
        stop_loss=None,
        take_profit=None,
        max_position_pct=1 / num_assets,
        episode_length=YEAR_BARS,
    )
    return TradingEnv(config)


@functools.cache
def _unseen(market: str, seed: int, num_bars: int, cost_bps: float) -> tuple[Market, float]:
    """Return other paths of a market, and what the best rule is promised on them in a year."""
    planted = read_planted(market)
    unseen = build_market(planted.panel(jax.random.key(_SCORED + seed), num_bars), ())
    rule = functools.partial(oracle, cost=cost_bps * 1e-4)
    ledger = baselines_by_rule(unseen, environment(planted.num_assets, cost_bps).config, {"oracle": rule})["oracle"]
    return unseen, expected_edge_of(ledger, unseen).net


def _commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return described.stdout.strip() or "unknown"


def _one_line(row: Row) -> str:
    return (
        f"{row['market']} {row['arm']} seed {row['seed']}: {row['share']:.3f} of {row['oracle']:.2%} a year"
        f" ({row['timesteps']:,} steps, {row['seconds']:.0f} s)"
    )


def _table(asked: Comparison, rows: list[Row]) -> Table:
    table = Table(title=f"share of the best rule's promised gain, mean (lowest to highest) of {asked.seeds} seeds")
    for heading in ("market", "arm", "share", "cost a year", "steps", "seconds"):
        table.add_column(heading, justify="right")
    for market in asked.markets:
        for arm in asked.arms:
            own = [row for row in rows if (row["market"], row["arm"]) == (market, arm)]
            share = [row["share"] for row in own]
            table.add_row(
                market,
                arm,
                f"{np.mean(share):.3f} ({min(share):.3f} to {max(share):.3f})",
                f"{np.mean([row['cost'] for row in own]):.2%}",
                f"{own[0]['timesteps']:,}",
                f"{np.mean([row['seconds'] for row in own]):.0f}",
            )
    return table


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
