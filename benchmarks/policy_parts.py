"""Each part of a policy on the market that was made for it, five agents side by side, and on a real one.

python benchmarks/policy_parts.py lag long_lag regimes pairs rules     made markets; what each is stands beside it below
python benchmarks/policy_parts.py real --data data/sp500.parquet

One market per experiment, five seeds of the learner in one program, the learner and the bands of the preset `default`
without its forecast unless said otherwise, no costs. The score on made markets is what the agent's positions were
promised on bars after those of training, over what the positions of the rule that knows the law were; on real ones the
Sharpe ratio after costs, what was traded, and the difference to the arm without parts: by its seeds, and by its bars
(the five accounts as one, studentised bootstrap). Every arm is a line of JSON as soon as it ends.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.learning import Probe, environment, learner_of
from ploutos_jax.datasets.config import DataConfig, read_market, split_market
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.baselines import equal_weight, oracle
from ploutos_jax.evaluate.backtest.oracles.expected import expected_edge_of
from ploutos_jax.evaluate.backtest.oracles.rules import filter_oracle
from ploutos_jax.evaluate.backtest.run import backtest, baselines_by_rule
from ploutos_jax.evaluate.inference.bootstrap import sharpe_difference
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.metrics.returns import sharpe
from ploutos_jax.evaluate.metrics.trades import turnover
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Market
from ploutos_jax.market.synthetic.planted import planted_panel
from ploutos_jax.market.synthetic.planted.hinted import hinted_panel
from ploutos_jax.market.synthetic.planted.lag import Lag
from ploutos_jax.market.synthetic.planted.regimes import Regimes
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.loop import train_seeds

NUM_ASSETS, STRENGTH = 8, 0.3
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A market, its environment, and what is compared on it.

    Attributes:
        told: the market with its law, over seen and unseen bars.
        seen: the same as agents see it.
        split: bars to train on.
        rule: what knows the law.
        arms: settings of the learner by name.
        envs: environments by the arm's name, where it is not the usual one.
    """

    told: Market
    seen: Market
    split: int
    rule: Callable[..., Any]
    arms: dict[str, TrainConfig]
    envs: dict[str, TradingEnv] = dataclasses.field(default_factory=dict)


def learner(steps: int, **policy: Any) -> TrainConfig:
    """Return the learner of the preset `default`, without its forecast, with a network of its own."""
    config = learner_of("default")
    changed = dataclasses.replace(config.policy, forecast="none", **policy)
    return dataclasses.replace(config, total_timesteps=steps, num_seeds=5, policy=changed)


def lag(steps: int, bars: int = 8192) -> Experiment:
    """Hints of 20 and of 60 bars ago tell the next return: 8,192 bars to train on."""
    market = build_market(hinted_panel(jax.random.key(11), Lag(NUM_ASSETS, STRENGTH), bars + 4096), ())
    reach = {"time_gradient": 64}  # the older hint lies 60 bars back
    further = {"time_gradient": 128}
    arms = {
        "none": learner(steps),
        "attention": learner(steps, time="attention", time_width=16),
        "mingru": dataclasses.replace(learner(steps, time="recurrent"), **reach),
        "lru": dataclasses.replace(learner(steps, time="recurrent", time_cell="lru"), **further),
        "lstm": dataclasses.replace(learner(steps, time="recurrent", time_cell="lstm"), **reach),
    }
    return Experiment(market, market, bars, oracle, arms)


def long_lag(steps: int) -> Experiment:
    """The same with five times the bars, 40,960: whether what is missing there is what one history cannot tell."""
    return lag(steps, 40_960)


def regimes(steps: int) -> Experiment:
    """The sign of the hint depends on a hidden regime of twice the volatility; networks of about equal size."""
    panel = hinted_panel(jax.random.key(12), Regimes(NUM_ASSETS, STRENGTH, "a"), 4000)
    market = build_market(panel, ("market_move", "signal_hint", "signal_noise_0"))
    sizes = {"none": (32, 56), "features": (32, 56), "gates": (32, 32)}
    arms = {name: learner(steps, regimes=name, hidden=hidden) for name, hidden in sizes.items()}
    return Experiment(market, market, 2400, filter_oracle, arms)


def pairs(steps: int) -> Experiment:
    """What tells an asset's return is shown at another asset, its partner, which codes of both name."""
    told = build_market(planted_panel(jax.random.key(13), NUM_ASSETS, 4000, STRENGTH), ())
    place, features = told.feature_names.index("signal_hint"), np.array(told.features)
    partner = np.arange(NUM_ASSETS) ^ 1
    codes = np.repeat(np.eye(NUM_ASSETS // 2, dtype=np.float32), 2, axis=0)
    features[..., place] = features[:, partner, place]
    of_codes = np.broadcast_to(codes, (*features.shape[:2], codes.shape[1]))
    side = np.broadcast_to((np.arange(NUM_ASSETS, dtype=np.float32) % 2)[:, None], (*features.shape[:2], 1))
    names = (*told.feature_names, *(f"pair_{i}" for i in range(codes.shape[1])), "side")
    seen = told.replace(features=np.concatenate([features, of_codes, side], axis=-1), feature_names=names)
    arms = {name: learner(steps, across=name, hidden=(32, 32)) for name in ("mean", "attention")}
    return Experiment(told, seen, 2400, oracle, arms)


def rules(steps: int) -> Experiment:
    """Rules refuse orders: positions are held for five bars at least, bought in halves, and four trades are a day's."""
    market = build_market(planted_panel(jax.random.key(14), NUM_ASSETS, 4000, STRENGTH), ())
    usual = environment(Probe(), NUM_ASSETS).config
    config = TrainConfig(num_envs=64, rollout_length=32, total_timesteps=steps, gamma=0.9, num_seeds=5)
    envs = {}
    for name in ("none", "sound", "advised"):
        asked = {"buy_pct": 0.5 / NUM_ASSETS, "min_holding_bars": 5, "max_trades_per_day": 4, "action_masks": name}
        envs[name] = TradingEnv(dataclasses.replace(usual, **asked))
    return Experiment(market, market, 2400, oracle, dict.fromkeys(envs, config), envs)


EXPERIMENTS = {each.__name__: each for each in (lag, long_lag, regimes, pairs, rules)}
STEPS = {"lag": 131_072, "long_lag": 524_288, "regimes": 131_072, "pairs": 65_536, "rules": 65_536}


def run_made(name: str, steps: int, seeds: int, only: list[str], write: Callable[[Row], None]) -> None:
    """Run the arms of an experiment on a made market."""
    made, usual = EXPERIMENTS[name](steps), environment(Probe(preset="default"), NUM_ASSETS)
    for arm, config in made.arms.items():
        if only and arm not in only:
            continue
        config = dataclasses.replace(config, num_seeds=seeds)
        env = made.envs.get(arm, usual)
        ledgers = baselines_by_rule(made.told.window(made.split), env.config, {"rule": made.rule})
        best = expected_edge_of(ledgers["rule"], made.told).net
        began = time.perf_counter()
        agents = train_seeds(config, made.seen.window(0, made.split), env)
        ledgers = [backtest(agent, made.seen, made.split) for agent in agents]
        shares = [expected_edge_of(ledger, made.told).net / best for ledger in ledgers]
        size = sum(x.size for x in jax.tree.leaves(agents[0].params.network))
        row = {"experiment": name, "arm": arm, "steps": steps, "parameters": size}
        write(row | summary(shares) | {"seconds": round(time.perf_counter() - began)})


def summary(values: list[float]) -> Row:
    """Return values with their mean and its standard error."""
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
    return {"mean": round(float(np.mean(values)), 3), "error": round(error, 3), "each": np.round(values, 3).tolist()}


def run_real(data: str, steps: int, seeds: int, only: list[str], write: Callable[[Row], None]) -> None:
    """Run each part alone on the ten most traded tickers of a file of daily bars; the last fifth is unseen."""
    config = DataConfig(data=data, liquid=10, features="core_regimes")
    market = read_market(config)
    split = split_market(market, config)[0].num_bars
    first = market.num_bars - round(0.2 * market.num_bars) if split >= market.num_bars else split
    base: dict[str, Any] = {"action": "bands", "stop_loss": None, "take_profit": None}
    arms: dict[str, tuple[TrainConfig, dict[str, Any]]] = {}
    for name, policy in {
        "none": {},
        "recurrent": {"time": "recurrent", "time_width": 16},
        "lru": {"time": "recurrent", "time_cell": "lru"},
        "attention": {"time": "attention", "time_width": 16},
        "across": {"across": "attention"},
        "regimes: features": {"regimes": "features"},
        "regimes: gates": {"regimes": "gates", "hidden": (32, 32)},
        "quantiles": {"quantiles": 32},
    }.items():
        arms[name] = learner(steps, **policy), base
    arms["discrete"] = learner(steps), {**base, "action": "discrete"}
    arms["discrete, advised masks"] = learner(steps), {**base, "action": "discrete", "action_masks": "advised"}
    without: dict[str, np.ndarray] = {}
    for name, (config_of, rules_of) in arms.items():
        if only and name not in only:
            continue
        if rules_of["action"] == "discrete":
            config_of = dataclasses.replace(config_of, advantage="gae")
        config_of = dataclasses.replace(config_of, num_seeds=seeds)
        env, began = TradingEnv(EnvConfig(**rules_of)), time.process_time()
        agents = train_seeds(config_of, market.window(0, first), env)
        ledgers = [backtest(agent, market, first) for agent in agents]
        equal = baselines_by_rule(market, env.config, {"equal": equal_weight}, first)["equal"]
        figures = [Figures.of(ledger) for ledger in ledgers]
        row = {"experiment": "real", "arm": name, "steps": steps, "bars": [first, market.num_bars - first]}
        row |= summary([each.sharpe for each in figures])
        of_equal = Figures.of(equal)
        row |= {
            "equal_weight": round(of_equal.sharpe, 3),
            "turnover": [round(each.turnover, 2) for each in figures],
            "yearly": [round(each.yearly, 4) for each in figures],
            "equal_weight_yearly": round(of_equal.yearly, 4),
            "exposure": round(
                float(np.mean([(ledger.gross_exposure / ledger.equity)[1:].mean() for ledger in ledgers])), 3
            ),
        }
        together = np.mean([ledger.returns for ledger in ledgers], axis=0)
        # What a part is compared with decides in the same way as it does.
        without.setdefault(rules_of["action"], together)
        for other, returns in {"without": without[rules_of["action"]], "equal_weight": equal.returns}.items():
            found = sharpe_difference(together, returns)
            row[f"lead_of_{other}"] = [round(x, 3) for x in (found.difference, found.low, found.high, found.p_value)]
        write(row | {"seconds": round(time.process_time() - began)})


class Figures(NamedTuple):
    """What an account made: Sharpe ratio and return a year after costs, and turnover a year."""

    sharpe: float
    yearly: float
    turnover: float

    @classmethod
    def of(cls, ledger: Ledger) -> "Figures":
        """Return the figures of an account over daily bars."""
        years = len(ledger.returns) / 252
        yearly = (ledger.equity[-1] / ledger.equity[0]) ** (1 / years) - 1
        return cls(sharpe(ledger.returns), float(yearly), turnover(ledger.turnover, ledger.equity, years))


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+", choices=[*EXPERIMENTS, "real"])
    parser.add_argument("--only", nargs="*", default=[], help="arms; all without it")
    parser.add_argument("--seeds", type=int, default=5, help="agents of each arm")
    parser.add_argument("--steps", type=int, help="of the environment, for each seed")
    parser.add_argument("--data", default="data/sp500.parquet", help="daily bars, for `real`")
    parser.add_argument("--json", type=Path, default=Path("runs/policy_parts.jsonl"))
    asked = parser.parse_args()
    asked.json.parent.mkdir(parents=True, exist_ok=True)

    def write(row: Row) -> None:
        print(json.dumps(row), flush=True)
        with asked.json.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")

    for name in asked.experiments:
        if name == "real":
            run_real(asked.data, asked.steps or 65_536, asked.seeds, asked.only, write)
        else:
            run_made(name, asked.steps or STEPS[name], asked.seeds, asked.only, write)


if __name__ == "__main__":
    main()
