"""A grid of numbers that the program reads: all points trained as one program, scored on the bars to choose on."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.evaluate.backtest.grid import params_at
from ploutos_jax.experiment.study.choosing import Choosing
from ploutos_jax.experiment.study.space import Choice, Space, grid_of
from ploutos_jax.experiment.sweep import sweep
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import with_sectors
from ploutos_jax.runs.settings import RunSettings
from ploutos_jax.train.config import Hyper


def is_one_program(settings: RunSettings, space: Space, market: Market) -> bool:
    """Return whether every point of a space is a number that one compiled program reads, and the bars are fixed."""
    draws = settings.data.is_bootstrap or settings.data.stress_prob or settings.train.market_refresh is not None
    if draws:
        return False
    of_learner = {field.name for field in dataclasses.fields(Hyper)}
    of_rules = {field.name for field in dataclasses.fields(EnvConfig)}
    for name, part in space.items():
        if not isinstance(part, Choice) or not all(_is_number(value) for value in part.values):
            return False
        if name in of_learner:
            continue
        if name not in of_rules:
            return False
        try:
            rules = dataclasses.replace(settings.env, **{name: part.values[0]})
            params_at(rules, with_sectors(market), [{name: value} for value in part.values])
        except ValueError:
            return False
    return True


def sweep_grid(
    settings: RunSettings, space: Space, market: Market, bars: Choosing, at_once: int | None
) -> pd.DataFrame:
    """Return the table of `sweep` for every combination and seed.

    Args:
        settings: of the training.
        space: lists of numbers.
        market: the whole history.
        bars: which of them are trained on and chosen on.
        at_once: points side by side; all without it.
    """
    grid = grid_of(space)
    # A rule that the settings leave off or to the instrument is on at every point.
    of_rules = {field.name for field in dataclasses.fields(EnvConfig)} & set(grid)
    rules = dataclasses.replace(settings.env, **{name: grid[name][0] for name in of_rules})
    first = market.find_rows(bars.data.start, None).start
    history = market.window(first, market.num_bars)
    return sweep(
        settings.train,
        history,
        grid,
        *bars.chosen,
        env=rules,
        at_once=at_once or math.prod(map(len, grid.values())),
        train_end=bars.trained[1],
    )


def point_rows(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return a row for each point: its number, its values, and the mean Sharpe ratio of its seeds as `score`.

    None of a point of which a seed has none.
    """
    scores: dict[tuple[Any, ...], list[float]] = {}
    for row in table.to_dict("records"):
        scores.setdefault(tuple(row[name] for name in names), []).append(float(row["sharpe"]))
    rows = [
        {"trial": f"point-{number}", **dict(zip(names, point, strict=True)), "score": float(np.mean(values))}
        for number, (point, values) in enumerate(scores.items(), start=1)
    ]
    return pd.DataFrame(rows, columns=["trial", *names, "score"])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
