"""See whether a learner learns what can be learned: planted markets, scored on bars it never saw, beside the oracle.

python benchmarks/learning.py                                       5 seeds at 1, 30, 100 and 503 assets
python benchmarks/learning.py --assets 30 --seeds 1 --torso flat    any setting of the learner is a flag
python benchmarks/learning.py --cost-check                          without a signal: what does it pay for nothing?
python benchmarks/learning.py --kind planted_persistent --strength 0.1 --persistence 0.9 --cost-bps 10
                                                                    another market, see docs/made_markets.md
python benchmarks/learning.py --preset default                      the learner and the actions of a preset, free to
                                                                    hold cash as the oracle is

One and the same configuration serves all sizes; only how long it trains goes by the number of assets, each of which is
a sample of its own in every step. The score is the share of the oracle's mean log return in the same
environment, without costs unless asked for, and where a hint's law is known also of what it promised the positions,
costs taken off and luck left out; `on seen bars` beside it shows how much was overfitted. Each seed has a
market of its own. Every run is a line of JSON in `runs/learning.jsonl` as soon as it ends; what was found is in
LEARNING.md.
"""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro
from rich.table import Table

from ploutos_jax.agents.agent import Agent
from ploutos_jax.cli.device import configure
from ploutos_jax.cli.terminal import exit_codes, result_console
from ploutos_jax.datasets.planted import read_planted
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.baselines import oracle
from ploutos_jax.evaluate.backtest.oracles.expected import expected_edge_of
from ploutos_jax.evaluate.backtest.run import backtest, baselines_by_rule, random_actions
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Market
from ploutos_jax.runs.overrides import merge
from ploutos_jax.runs.presets import PRESETS
from ploutos_jax.runs.settings import RunSettings
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.loop import train

YEAR_BARS = 252
TRAIN_BARS, UNSEEN_BARS = 4032, 4032
STEPS = {1: 1_500_000, 30: 100_000, 100: 50_000, 503: 65_536}
"""Environment steps by the number of assets."""
COST_BPS = 20.0
"""Per side, in the check of costs."""

# Keys of markets lie apart from those of learners, which count from 0.
_FIRST_MARKET_KEY = 1_000_000

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Probe:
    """Measure how much of a planted signal is learned, on bars never seen.

    Attributes:
        assets: sizes of the market.
        seeds: runs per size, each with a seed and a market of its own; they count from `--seed`.
        kind: of the planted market, as `--data` of the training command names it.
        strength: correlation of the signal with the next bar's return.
        persistence: of the hint of `planted_persistent`.
        variant: of `planted_regimes`.
        cost_bps: commission a side, in basis points, which the oracle knows of.
        steps: of the environment in each run. Without it `STEPS` of the size, or of the next smaller one.
        train_bars: bars to train on. Without it 4,032, and sixteen times as many at one asset, which has no others
            beside it to learn from.
        unseen_bars: bars after them, to score on. Without it 4,032, and four times as many at one asset, where luck
            would decide over fewer.
        cost_check: instead train without a signal at 20 bps a side and report the costs of the first unseen year.
        preset: whose learner and actions these are; without it the defaults of Python. Bands may then be left for cash.
        json: file to which each finished run is appended as a line.
        device: where to run.
        train: learner; how long it trains is said by `steps`.
    """

    assets: tuple[int, ...] = (1, 30, 100, 503)
    seeds: int = 5
    kind: Literal["planted", "planted_persistent", "planted_lag", "planted_regimes"] = "planted"
    strength: float = 0.3
    persistence: float = 0.9
    variant: Literal["a", "b"] = "a"
    cost_bps: float = 0.0
    steps: int | None = None
    train_bars: int | None = None
    unseen_bars: int | None = None
    cost_check: bool = False
    preset: str | None = None
    json: str = "runs/learning.jsonl"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    train: TrainConfig = TrainConfig()


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    given = [args[i + 1] for i in range(len(args) - 1) if args[i] == "--preset"]
    default = Probe(train=learner_of(given[-1])) if given else Probe()
    probe = tyro.cli(Probe, args=args, default=default, config=(tyro.conf.OmitArgPrefixes,))
    counts = (*probe.assets, probe.seeds, *([] if probe.steps is None else [probe.steps]))
    bars = [bars for bars in (probe.train_bars, probe.unseen_bars) if bars is not None]
    if probe.train.total_timesteps != default.train.total_timesteps:
        raise ValueError("total_timesteps goes by the number of assets here; --steps sets one number for all of them.")
    if not probe.assets or min(counts) < 1 or min(bars, default=YEAR_BARS + 1) <= YEAR_BARS:
        raise ValueError(
            f"assets={probe.assets} must name a size, seeds={probe.seeds} and steps={probe.steps} must be at"
            f" least 1, train_bars={probe.train_bars} and unseen_bars={probe.unseen_bars} at least {YEAR_BARS + 1}."
        )
    configure(probe.device)
    console = result_console()
    file = Path(probe.json)
    file.parent.mkdir(parents=True, exist_ok=True)
    run = run_without_signal if probe.cost_check else run_with_signal
    rows: list[Row] = []
    for num_assets in probe.assets:
        for seed in range(probe.train.seed, probe.train.seed + probe.seeds):
            config = dataclasses.replace(probe.train, seed=seed, total_timesteps=steps_for(probe, num_assets))
            row = {"check": "costs" if probe.cost_check else "signal", "assets": num_assets, "seed": seed}
            row |= run(probe, config, num_assets) | _circumstances(config)
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(row) + "\n")
            rows.append(row)
            console.print(_one_line(row), style="dim")
    console.print(_table(rows, probe))
    console.print(f"Commit {rows[0]['commit']}, {rows[0]['device']}, jax {jax.__version__}; lines in {file}")
    return 0


def learner_of(preset: str) -> TrainConfig:
    """Return the learner of a preset, free to leave an account in cash, as the oracle of a planted market does."""
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r} is unknown; there are {', '.join(PRESETS)}.")
    train = merge(RunSettings(preset=preset), PRESETS[preset], f"preset {preset}").train
    return dataclasses.replace(train, policy=dataclasses.replace(train.policy, hold_cash=True))


def run_with_signal(probe: Probe, config: TrainConfig, num_assets: int) -> Row:
    """Train on a planted market and return the shares of the oracle's mean log return on seen and unseen bars."""
    env = environment(probe, num_assets, commission_bps=probe.cost_bps)
    market = planted_market(probe, config.seed, num_assets, probe.strength)
    best_rule = partial(oracle, cost=probe.cost_bps * 1e-4)
    train_bars = train_bars_for(probe, num_assets)
    seen = market.window(0, train_bars)
    agent, figures = _train(config, seen, env)
    row: Row = {}
    for name, span in (("seen", seen), ("unseen", market.window(train_bars))):
        known, account = baselines_by_rule(span, env.config, {"oracle": best_rule})["oracle"], backtest(agent, span)
        best, own = _log_return(known), _log_return(account)
        row |= {f"{name}_share": own / best, f"{name}_log_return": own, f"{name}_oracle_log_return": best}
        promised = expected_edge_of(account, span).net, expected_edge_of(known, span).net
        row |= {f"{name}_promised_share": promised[0] / promised[1], f"{name}_promised": promised}
    bars = {"train_bars": train_bars, "unseen_bars": market.num_bars - train_bars}
    return {"kind": probe.kind, "strength": probe.strength, "cost_bps": probe.cost_bps} | bars | row | figures


def run_without_signal(probe: Probe, config: TrainConfig, num_assets: int) -> Row:
    """Train where nothing can be earned and trading costs; return the costs of an unseen year as shares of equity."""
    env = environment(probe, num_assets, commission_bps=COST_BPS)
    market = planted_market(probe, config.seed, num_assets, 0.0)
    train_bars = train_bars_for(probe, num_assets)
    agent, figures = _train(config, market.window(0, train_bars), env)
    year = market.window(train_bars, train_bars + YEAR_BARS + 1)
    own, random = backtest(agent, year), random_actions(year, env.config, seed=config.seed)
    row = {
        "cost_share": _cost_share(own),
        "random_cost_share": _cost_share(random),
        "log_return": _log_return(own) * YEAR_BARS,
        "random_log_return": _log_return(random) * YEAR_BARS,
        "exposure": float((own.gross_exposure / own.equity).mean()),
    }
    return {"cost_bps": COST_BPS} | row | figures


def environment(probe: Probe, num_assets: int, commission_bps: float = 0.0) -> TradingEnv:
    """Return the environment of all probes: an equal part for each asset, filled at the next open, no exits."""
    actions = {} if probe.preset is None else {"action": PRESETS[probe.preset].get("env", {}).get("action", "discrete")}
    config = EnvConfig(
        **actions,
        spread_bps=0.0,
        tick_size=None,
        slippage_bps=0.0,
        fees="none",
        commission_bps=commission_bps,
        stop_loss=None,
        take_profit=None,
        buy_pct=1 / num_assets,
        max_position_pct=1 / num_assets,
        episode_length=YEAR_BARS,
    )
    return TradingEnv(config)


def steps_for(probe: Probe, num_assets: int) -> int:
    """Return the environment steps of a run."""
    if probe.steps is not None:
        return probe.steps
    return STEPS[max((size for size in STEPS if size <= num_assets), default=1)]


def train_bars_for(probe: Probe, num_assets: int) -> int:
    """Return the bars to train on."""
    if probe.train_bars is not None:
        return probe.train_bars
    return TRAIN_BARS if num_assets > 1 else 16 * TRAIN_BARS


def planted_market(probe: Probe, seed: int, num_assets: int, strength: float) -> Market:
    """Return the market of one seed over seen and unseen bars; its features are the signals alone."""
    unseen_bars = probe.unseen_bars or (UNSEEN_BARS if num_assets > 1 else 4 * UNSEEN_BARS)
    num_bars = train_bars_for(probe, num_assets) + unseen_bars
    rest = {"planted_persistent": f":{probe.persistence}", "planted_regimes": f":{probe.variant}"}.get(probe.kind, "")
    planted = read_planted(f"{probe.kind}:{num_assets}:{strength}{rest}")
    return build_market(planted.panel(jax.random.key(_FIRST_MARKET_KEY + seed), num_bars), ())


def _train(config: TrainConfig, market: Market, env: TradingEnv) -> tuple[Agent, Row]:
    """Return the agent, and the time it took with the figures of its last update."""
    rows: list[Row] = []
    began = time.perf_counter()
    agent = train(config, market, env, observers=[lambda progress: rows.extend(progress.rows)])
    return agent, {
        "timesteps": rows[-1]["timesteps"],
        "seconds": rows[-1]["seconds"],
        "seconds_with_compiling": round(time.perf_counter() - began, 1),
        "last_update": rows[-1],
    }


def _log_return(ledger: Ledger) -> float:
    """Return the mean log return of a bar."""
    return float(np.log(ledger.equity[-1] / ledger.equity[0]) / (len(ledger.equity) - 1))


def _cost_share(ledger: Ledger) -> float:
    """Return all costs, each as a share of the equity of the bar before it."""
    return float((ledger.cost[1:] / ledger.equity[:-1]).sum())


def _circumstances(config: TrainConfig) -> Row:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return {
        "commit": described.stdout.strip() or "unknown",
        "date": datetime.now().isoformat(timespec="seconds"),
        "device": str(jax.devices()[0]),
        "train": dataclasses.asdict(config),
    }


def _one_line(row: Row) -> str:
    if row["check"] == "signal":
        found = f"{row['unseen_share']:.3f} of the oracle on unseen bars, {row['seen_share']:.3f} on seen ones"
        found += f", {row['unseen_promised_share']:.3f} of what was promised it on unseen ones"
    else:
        found = f"costs {row['cost_share']:.2%} of equity in a year, random {row['random_cost_share']:.0%}"
    return f"{row['assets']} assets, seed {row['seed']}: {found} ({row['timesteps']:,} steps, {row['seconds']:.0f} s)"


def _table(rows: Sequence[Row], probe: Probe) -> Table:
    columns = {
        "signal": {
            "unseen": "unseen_share",
            "on seen bars": "seen_share",
            "promised, unseen": "unseen_promised_share",
        },
        "costs": {"costs of a year": "cost_share", "of a random policy": "random_cost_share"},
    }[rows[0]["check"]]
    what = "costs without a signal" if probe.cost_check else "share of the oracle's mean log return"
    table = Table(title=f"{what}: mean (lowest to highest) over {probe.seeds} seeds, {probe.train.policy.torso} torso")
    for heading in ("assets", *columns, "steps", "seconds"):
        table.add_column(heading, justify="right")
    for num_assets in dict.fromkeys(row["assets"] for row in rows):
        own = [row for row in rows if row["assets"] == num_assets]
        cells = [_spread([row[name] for row in own]) for name in columns.values()]
        seconds = np.mean([row["seconds"] for row in own])
        table.add_row(str(num_assets), *cells, f"{own[0]['timesteps']:,}", f"{seconds:.0f}")
    return table


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2%} ({min(values):.2%} to {max(values):.2%})"


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
