"""Trading many assets, simulated and learned on the device: market, broker, policy and learner are one JAX program.

    import jax
    import numpy as np
    import ploutos_jax as pj

Bars are a panel: `pj.load_panel("bars.csv")`, `pj.Panel.from_frame(frame)` of pandas, polars or DuckDB, or made ones:

    panel = pj.synthetic_panel(jax.random.key(0), num_assets=5, num_bars=400)

A rule of your own is a function of the bars up to a close. Its orders fill at the next open, at the default costs:

    def rising(bars):
        is_up = bars.adjusted[-1] > bars.adjusted[-20:].mean(axis=0)
        return np.where(is_up, 1 / bars.num_assets, 0.0)

    ledger = pj.run_strategy(rising, panel, start=100)
    print(ledger)                                      # also ledger.plot(), .trades, .summary(), .to_quantstats()

An agent learns on a market, which is a panel with features, and is scored on bars that it has not seen:

    market = pj.build_market(panel, features="core")
    env = pj.TradingEnv(pj.EnvConfig(action="weights", episode_length=60))
    config = pj.TrainConfig(num_envs=16, total_timesteps=2_000)
    agent = pj.train(config, market.window(0, 300), env, progress=True)
    learned = pj.backtest(agent, market, start=300)
    rules = pj.baselines(market, env.config, start=300)
    print(learned)
    print(rules["buy and hold"])
    print(pj.sweep(agent, market, {"spread_bps": [1, 5, 20]}, start=300))
    print(pj.orders_for_today(agent, panel))           # what it would do at the next open

The names, by what they are for; `help(pj.train)` tells of one:

    bars        Panel, load_panel, load_long_market, synthetic_panel, planted_panel, stress
    features    Market, build_market, raw_features, check_causal
    rules       EnvConfig, TradingEnv, EnvParams, EnvState, Observation, FeeSchedule, FeeKind
    seen        ACCOUNT_FIELDS, ASSET_FIELDS
    training    train, train_seeds, TrainConfig, PolicyConfig, Hyper, HeldOut, estimate_memory, DivergedError
    agents      Agent, restore, ensemble, load_ensemble, export_policy, load_policy, orders_for_today, Holding
    results     backtest, baselines, run_strategy, Bars, Ledger, summarize, sweep, heat_map, gradient_of, write_report
    whole runs  run_experiment, RunSettings, DataConfig, ExperimentResult

Every public name is here, and is loaded when it is first asked for: `import ploutos_jax` alone loads nothing else.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ploutos_jax import moved
from ploutos_jax.version import __version__ as __version__

if TYPE_CHECKING:
    from ploutos_jax.agents.agent import Agent as Agent
    from ploutos_jax.agents.ensemble import ensemble as ensemble
    from ploutos_jax.datasets.config import DataConfig as DataConfig
    from ploutos_jax.datasets.long import load_long_market as load_long_market
    from ploutos_jax.env.broker.fees import FeeKind as FeeKind
    from ploutos_jax.env.broker.fees import FeeSchedule as FeeSchedule
    from ploutos_jax.env.config import EnvConfig as EnvConfig
    from ploutos_jax.env.observation import ACCOUNT_FIELDS as ACCOUNT_FIELDS
    from ploutos_jax.env.observation import ASSET_FIELDS as ASSET_FIELDS
    from ploutos_jax.env.trading import TradingEnv as TradingEnv
    from ploutos_jax.env.types import EnvParams as EnvParams
    from ploutos_jax.env.types import EnvState as EnvState
    from ploutos_jax.env.types import Observation as Observation
    from ploutos_jax.evaluate.backtest.run import backtest as backtest
    from ploutos_jax.evaluate.backtest.run import baselines as baselines
    from ploutos_jax.evaluate.backtest.seen import Bars as Bars
    from ploutos_jax.evaluate.backtest.sensitivity import gradient_of as gradient_of
    from ploutos_jax.evaluate.backtest.strategy import run_strategy as run_strategy
    from ploutos_jax.evaluate.ledger import Ledger as Ledger
    from ploutos_jax.evaluate.metrics.summary import summarize as summarize
    from ploutos_jax.evaluate.report.heat_map import heat_map as heat_map
    from ploutos_jax.evaluate.report.write import write_report as write_report
    from ploutos_jax.experiment.run import ExperimentResult as ExperimentResult
    from ploutos_jax.experiment.run import run_experiment as run_experiment
    from ploutos_jax.experiment.sweep import sweep as sweep
    from ploutos_jax.live.orders import Holding as Holding
    from ploutos_jax.live.orders import orders_for_today as orders_for_today
    from ploutos_jax.market.features.build import build_market as build_market
    from ploutos_jax.market.features.causality import check_causal as check_causal
    from ploutos_jax.market.features.raw import raw_features as raw_features
    from ploutos_jax.market.io.load import load_panel as load_panel
    from ploutos_jax.market.panel import Market as Market
    from ploutos_jax.market.panel import Panel as Panel
    from ploutos_jax.market.stress.apply import stress as stress
    from ploutos_jax.market.synthetic.generate import synthetic_panel as synthetic_panel
    from ploutos_jax.market.synthetic.planted.iid import planted_panel as planted_panel
    from ploutos_jax.policy.actor_critic import PolicyConfig as PolicyConfig
    from ploutos_jax.runs.settings import RunSettings as RunSettings
    from ploutos_jax.train.checkpoints.checkpoint import restore as restore
    from ploutos_jax.train.checkpoints.export import export_policy as export_policy
    from ploutos_jax.train.checkpoints.export import load_ensemble as load_ensemble
    from ploutos_jax.train.checkpoints.export import load_policy as load_policy
    from ploutos_jax.train.config import TrainConfig as TrainConfig
    from ploutos_jax.train.held_out import HeldOut as HeldOut
    from ploutos_jax.train.hyper import Hyper as Hyper
    from ploutos_jax.train.learning.divergence import DivergedError as DivergedError
    from ploutos_jax.train.loop import train as train
    from ploutos_jax.train.loop import train_seeds as train_seeds
    from ploutos_jax.train.memory import estimate_memory as estimate_memory

_NAMES = {
    "Agent": "agents.agent",
    "ensemble": "agents.ensemble",
    "DataConfig": "datasets.config",
    "load_long_market": "datasets.long",
    "FeeKind": "env.broker.fees",
    "FeeSchedule": "env.broker.fees",
    "EnvConfig": "env.config",
    "ACCOUNT_FIELDS": "env.observation",
    "ASSET_FIELDS": "env.observation",
    "TradingEnv": "env.trading",
    "EnvParams": "env.types",
    "EnvState": "env.types",
    "Observation": "env.types",
    "backtest": "evaluate.backtest.run",
    "baselines": "evaluate.backtest.run",
    "Bars": "evaluate.backtest.seen",
    "run_strategy": "evaluate.backtest.strategy",
    "gradient_of": "evaluate.backtest.sensitivity",
    "Ledger": "evaluate.ledger",
    "summarize": "evaluate.metrics.summary",
    "write_report": "evaluate.report.write",
    "heat_map": "evaluate.report.heat_map",
    "sweep": "experiment.sweep",
    "ExperimentResult": "experiment.run",
    "run_experiment": "experiment.run",
    "Holding": "live.orders",
    "orders_for_today": "live.orders",
    "build_market": "market.features.build",
    "check_causal": "market.features.causality",
    "raw_features": "market.features.raw",
    "load_panel": "market.io.load",
    "Market": "market.panel",
    "Panel": "market.panel",
    "stress": "market.stress.apply",
    "synthetic_panel": "market.synthetic.generate",
    "planted_panel": "market.synthetic.planted.iid",
    "PolicyConfig": "policy.actor_critic",
    "RunSettings": "runs.settings",
    "restore": "train.checkpoints.checkpoint",
    "export_policy": "train.checkpoints.export",
    "load_ensemble": "train.checkpoints.export",
    "load_policy": "train.checkpoints.export",
    "Hyper": "train.hyper",
    "TrainConfig": "train.config",
    "HeldOut": "train.held_out",
    "train": "train.loop",
    "train_seeds": "train.loop",
    "estimate_memory": "train.memory",
    "DivergedError": "train.learning.divergence",
}
"""Each public name and the module of the package that defines it."""

__all__ = sorted(_NAMES)  # pyright: ignore[reportUnsupportedDunderAll]  # type checkers read the imports above


class _Package(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        # The import system binds the sub-package `train` to its name here, whoever imports from it first; the public
        # function of that name comes before it.
        if name in _NAMES and isinstance(value, ModuleType):
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
moved.install()


def __getattr__(name: str) -> Any:
    """Load a public name."""
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names with the others."""
    return sorted({*globals(), *_NAMES})
