"""What a reader needs to make a report again: rules, seed, code and command, as facts and then in words."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.evaluate.metrics.regimes import OfRegime
from ploutos_jax.runs.reader import Run, is_run
from ploutos_jax.train.checkpoints.checkpoint import PathLike
from ploutos_jax.train.run.provenance import git_commit
from ploutos_jax.version import __version__

_COSTS = ("spread_bps", "slippage_bps")
_ALWAYS = ("action", "fill", "initial_cash")
_OF_TRAINING = ("reward", "episode_length", "reward_eta", "reward_volatility", "reward_scaling", "ruin_pct")
"""Settings that a backtest does not read."""


@dataclasses.dataclass(frozen=True)
class Making:
    """How a run and its report were made; None where it is not known.

    Attributes:
        rules: the environment of the backtest.
        seeds: of the training.
        timesteps: of the training.
        trained_by: version of the package that trained, and its commit.
        scored_by: version of the package that wrote the report, and its commit.
        command: that wrote the report, as a shell reads it.
    """

    rules: EnvConfig
    seeds: tuple[int, ...] | None
    timesteps: int | None
    trained_by: tuple[str, str | None] | None
    scored_by: tuple[str, str | None]
    command: str = ""


def making_of(run_folder: PathLike, rules: EnvConfig, command: str = "") -> Making:
    """Return how a run was made, as far as its folder tells; an exported policy tells nothing."""
    settings: Mapping[str, Any] = {}
    summary: Mapping[str, Any] = {}
    if is_run(run_folder):
        run = Run(run_folder)
        settings, summary = run.settings, run.summary
    train = settings.get("train", {})
    train = train if isinstance(train, Mapping) else {}
    seed, number = train.get("seed"), train.get("num_seeds", 1)
    seeds = tuple(range(seed, seed + number)) if isinstance(seed, int) and isinstance(number, int) else None
    versions = summary.get("versions")
    version = versions.get("ploutos_jax") if isinstance(versions, Mapping) else None
    return Making(
        rules=rules,
        seeds=seeds,
        timesteps=summary.get("timesteps"),
        trained_by=None if version is None else (version, summary.get("git_commit")),
        scored_by=(__version__, git_commit()),
        command=command,
    )


def describe_run(making: Making) -> dict[str, str]:
    """Return facts for a report, by name; what is not known is left out."""
    rules = making.rules
    facts = {
        "price_of_a_trade": f"half a spread of {rules.spread_bps:g} bps and {rules.slippage_bps:g} bps of slippage,"
        " besides the costs above",
        "rules": describe_rules(rules),
    }
    if making.seeds is not None:
        steps = f", {making.timesteps:,} environment steps" if isinstance(making.timesteps, int) else ""
        facts["training"] = f"seed {', '.join(map(str, making.seeds))}{steps}"
    if making.trained_by is not None:
        facts["trained_by"] = _code(*making.trained_by)
    facts["report_by"] = _code(*making.scored_by)
    if making.command:
        facts["command"] = making.command
    return facts


def describe_rules(config: EnvConfig) -> str:
    """Return the form of the orders, and every rule that is not as usual, by the names of the settings."""
    usual = EnvConfig()
    words = [f"{config.action} actions", config.fill.replace("_", " "), f"${config.initial_cash:,.0f} at the start"]
    for field in dataclasses.fields(EnvConfig):
        value = getattr(config, field.name)
        if field.name in (*_ALWAYS, *_COSTS, *_OF_TRAINING) or value == getattr(usual, field.name):
            continue
        words.append(_rule(field.name.replace("_", " "), value))
    return ", ".join(words) + "; all else as usual"


def _rule(name: str, value: Any) -> str:
    if value is None or value is False:
        return f"no {name}"
    return name if value is True else f"{name} {value}" if isinstance(value, str | int | float) else f"own {name}"


def _code(version: str, commit: str | None) -> str:
    if commit is None:
        return f"ploutos_jax {version}"
    short, _, changed = commit.partition("-")
    return f"ploutos_jax {version}, commit {short[:12]}{', with changes' if changed else ''}"


def describe_regimes(figures: Mapping[str, OfRegime]) -> str:
    """Return the Sharpe ratio by regime of the market in one line, with the share of the bars in each."""
    words = [
        f"{name} {'–' if math.isnan(one.sharpe) else format(one.sharpe, '.2f')} ({one.share:.0%} of the bars)"
        for name, one in figures.items()
    ]
    return f"{', '.join(words)}; by the likeliest regime at the close before".replace("-", "−")
