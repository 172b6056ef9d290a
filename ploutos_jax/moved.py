"""Modules under their paths of 0.1: importing one gives that of today, with a DeprecationWarning. Goes with 0.3."""

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_PACKAGE = "ploutos_jax."

MOVED = {
    "env.account": "env.broker.account",
    "env.bar": "env.broker.bar",
    "env.day_trades": "env.broker.day_trades",
    "env.execution": "env.broker.execution",
    "env.fees": "env.broker.fees",
    "env.gymnax_view": "env.adapters.gymnax",
    "env.orders": "env.broker.orders",
    "env.ranking": "env.broker.ranking",
    "env.stable_baselines": "env.adapters.stable_baselines",
    "env.stops": "env.broker.stops",
    "evaluate.baselines": "evaluate.backtest.baselines",
    "evaluate.batch": "evaluate.backtest.vectorized",
    "evaluate.canvas": "evaluate.report.plot_style",
    "evaluate.charts": "evaluate.report.equity_charts",
    "evaluate.compare": "evaluate.report.comparison",
    "evaluate.covariance": "evaluate.backtest.covariance",
    "evaluate.evidence": "evaluate.report.evidence",
    "evaluate.feasibility": "evaluate.stress.execution_quality",
    "evaluate.fragility": "evaluate.metrics.robustness",
    "evaluate.months": "evaluate.metrics.monthly",
    "evaluate.out_of_sample": "experiment.validation.result",
    "evaluate.overfitting": "evaluate.inference.pbo",
    "evaluate.page": "evaluate.report.page",
    "evaluate.page_script": "evaluate.report.assets",
    "evaluate.page_style": "evaluate.report.assets",
    "evaluate.pictures": "evaluate.report.figures",
    "evaluate.recording": "evaluate.backtest.recorder",
    "evaluate.relative_metrics": "evaluate.metrics.benchmark",
    "evaluate.resampling": "evaluate.inference.bootstrap",
    "evaluate.return_metrics": "evaluate.metrics.returns",
    "evaluate.risk": "evaluate.metrics.exposure",
    "evaluate.rolling": "evaluate.metrics.rolling",
    "evaluate.statistics": "evaluate.inference.sharpe",
    "evaluate.stress_section": "evaluate.report.stress_section",
    "evaluate.survival": "evaluate.inference.survival",
    "evaluate.svg": "evaluate.report.chart",
    "evaluate.tables": "evaluate.report.tables",
    "evaluate.trade_metrics": "evaluate.metrics.trades",
    "evaluate.trade_tables": "evaluate.report.trade_tables",
    "evaluate.trials": "evaluate.inference.trials",
    "evaluate.turns": "evaluate.backtest.handover",
    "evaluate.validation": "experiment.validation.folds",
    "evaluate.validation_config": "experiment.validation.config",
    "evaluate.verdict": "evaluate.report.verdict",
    "market.activity": "market.features.liquidity",
    "market.bank": "market.synthetic.multi_path",
    "market.bars": "market.features.compacted",
    "market.bootstrap": "market.synthetic.block_bootstrap",
    "market.bridge": "market.synthetic.brownian_bridge",
    "market.causality": "market.features.causality",
    "market.columns": "market.io.columns",
    "market.corporate_actions": "market.adjust",
    "market.download": "market.io.download",
    "market.draws": "market.sampler",
    "market.families": "market.features.definitions",
    "market.families.feature": "market.features.definitions.feature",
    "market.families.levels": "market.features.definitions.levels",
    "market.families.momentum": "market.features.definitions.momentum",
    "market.families.price": "market.features.definitions.price",
    "market.families.statistics": "market.features.definitions.statistics",
    "market.families.trend": "market.features.definitions.trend",
    "market.families.volatility": "market.features.definitions.volatility",
    "market.families.volume": "market.features.definitions.volume",
    "market.feature_cache": "market.features.cache",
    "market.feature_docs": "market.features.docs",
    "market.feature_set": "market.features.catalog",
    "market.feature_table": "market.features.compute",
    "market.files": "market.io.load",
    "market.grid": "market.io.align",
    "market.indicators": "market.features.indicators",
    "market.indicators.levels": "market.features.indicators.levels",
    "market.indicators.momentum": "market.features.indicators.momentum",
    "market.indicators.recursion": "market.features.indicators.recursion",
    "market.indicators.rolling": "market.features.indicators.rolling",
    "market.indicators.statistics": "market.features.indicators.statistics",
    "market.indicators.trend": "market.features.indicators.trend",
    "market.indicators.volatility": "market.features.indicators.volatility",
    "market.indicators.volume": "market.features.indicators.volume",
    "market.made_labels": "market.synthetic.labels",
    "market.overlays": "market.stress.scenarios",
    "market.path_moves": "market.stress.decompose",
    "market.planted": "market.synthetic.planted",
    "market.raw_features": "market.features.raw",
    "market.skew_t": "market.synthetic.skewed_t",
    "market.source": "datasets.config",
    "market.splits": "datasets.splits",
    "market.streams": "datasets.samplers",
    "market.synthetic_bars": "market.synthetic.intraday",
    "market.synthetic_model": "market.synthetic.returns",
    "market.synthetic_params": "market.synthetic.params",
    "market.training_data": "datasets.training",
    "market.universe": "market.io.universe",
    "market.vendors": "market.io.vendors",
    "train.advantages": "train.ppo.advantages",
    "train.agent": "agents.agent",
    "train.board": "train.run.tensorboard",
    "train.checkpoint": "train.checkpoints.checkpoint",
    "train.description": "agents.spec",
    "train.device": "cli.device",
    "train.digest": "agents.checksum",
    "train.export": "train.checkpoints.export",
    "train.faults": "train.learning.divergence",
    "train.folds": "train.cross_validation",
    "train.gradients": "train.ppo.gradients",
    "train.interruption": "cli.signals",
    "train.loggers": "train.run.loggers",
    "train.losses": "train.ppo.losses",
    "train.merging": "runs.overrides",
    "train.metadata": "train.run.provenance",
    "train.normalize": "agents.scaling",
    "train.presets": "runs.presets",
    "train.refresh": "train.resampling",
    "train.resources": "train.run.resources",
    "train.resume": "train.checkpoints.resume",
    "train.run_folder": "train.run.folder",
    "train.schedules": "train.learning.schedules",
    "train.seeds": "train.population",
    "train.settings": "runs.settings",
    "train.steps": "train.checkpoints.store",
    "train.stopping": "train.early_stopping",
    "train.terminal": "cli.terminal",
    "train.trading_figures": "train.learning.rollout_metrics",
    "train.whole_file": "train.run.atomic_write",
}
"""Old path and new one, below the package. Old modules that are packages today (`market.features`) are not here."""


class _MovedModules(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        is_moved = fullname.startswith(_PACKAGE) and fullname.removeprefix(_PACKAGE) in MOVED
        return ModuleSpec(fullname, self) if is_moved else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = _PACKAGE + MOVED[spec.name.removeprefix(_PACKAGE)]
        warnings.warn(f"{spec.name} is now {new}; the old path goes with 0.3.", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new)
        self._own_specs = {**getattr(self, "_own_specs", {}), spec.name: module.__spec__}
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has given the module of today the specification of the old path.
        assert module.__spec__ is not None
        name = module.__spec__.name
        module.__spec__ = self._own_specs[name]
        sys.modules[name] = module


def install() -> None:
    """Make old paths importable."""
    if not any(type(finder).__name__ == _MovedModules.__name__ for finder in sys.meta_path):
        # Before the finder of files: it would load `market.indicators.trend` a second time.
        sys.meta_path.insert(0, _MovedModules())
