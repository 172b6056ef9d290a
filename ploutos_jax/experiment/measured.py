"""Sizes of a run that were asked for as `auto`: measured on its own data, told, and written down as numbers."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from ploutos_jax.datasets.training import TrainingData
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.runs.reader import Run
from ploutos_jax.runs.settings import RunSettings
from ploutos_jax.train.probe import Measured, Probe


def with_measured_sizes(
    settings: RunSettings, data: TrainingData, output: Path, tell: Callable[[str], None] = lambda _: None
) -> RunSettings:
    """Return settings with numbers in the place of sizes that are to be measured (`settings.measure`).

    A run that goes on keeps the sizes that it was begun with: nothing is measured again, whatever the machine.

    Args:
        settings: of the run.
        data: that it trains on.
        output: its folder.
        tell: is told the table and what was chosen.

    Raises:
        ValueError: if no size could be measured.
    """
    if not settings.measure:
        return settings
    if settings.resume:
        stored = Run(output)
        sizes = {name: int(stored.setting(name, getattr(settings.train, name))) for name in settings.measure}
        train = dataclasses.replace(settings.train, **sizes)
        return dataclasses.replace(settings, train=train, measure=())
    if data.market.labels is not None and data.market.labels.device_bars is not None:
        raise ValueError(
            f"{' and '.join(settings.measure)}=auto is measured on all bars at once, and these lie in files"
            " (device_bars); give numbers."
        )
    tell(f"Measuring {' and '.join(settings.measure)}: each row is a training of a few updates.")
    tell(_HEADING)
    probe = Probe(
        settings.train,
        data.market,
        TradingEnv(settings.env),
        is_redrawn=settings.train.market_refresh is not None,
        tell=lambda row: tell(describe(row)),
    )
    train = probe.choose(settings.measure)
    chosen = ", ".join(f"{name}={getattr(train, name)}" for name in settings.measure)
    before = settings.train.num_updates
    tell(
        f"Chosen: {chosen}. This is part of what is learned: the run has {train.num_updates} updates of"
        f" {train.timesteps_per_update:,} steps (it was {before} of {settings.train.timesteps_per_update:,}). The"
        " numbers are in config.yaml, by which it can be repeated."
    )
    return dataclasses.replace(settings, train=train, measure=())


_HEADING = f"{'num_envs':>9} {'minibatches':>12} {'rollout':>8} {'steps/s':>10} {'memory':>10} {'updates':>8}"


def describe(row: Measured) -> str:
    """Return a row of the table."""
    speed = "–" if row.steps_per_second is None else f"{row.steps_per_second:,.0f}"
    memory = f"{row.bytes / 2**20:,.0f} MiB"
    sizes = f"{row.num_envs:>9} {row.num_minibatches:>12} {row.rollout_length:>8}"
    return f"{sizes} {speed:>10} {memory:>10} {row.updates:>8} {row.why}".rstrip()
