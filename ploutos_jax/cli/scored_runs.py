"""A restored agent with the bars that it is scored on, and several of them on bars that all of them have."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ploutos_jax.agents.agent import Agent
from ploutos_jax.datasets.config import DataConfig
from ploutos_jax.datasets.long import long_market
from ploutos_jax.evaluate.backtest.run import hold
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Market, Panel

_SHOWN = 10
"""Tickers that a line names."""


class Run(NamedTuple):
    """A restored agent, its data, the whole market, and the bars of it to score on."""

    agent: Agent
    data: DataConfig
    panel: Panel
    market: Market
    span: Market


def read_long(agent: Agent, source: DataConfig, unread: Sequence[str] = ()) -> tuple[Panel, Market]:
    """Return the market of an agent's tickers where it lies in files, and in the place of a panel its labels alone.

    Args:
        agent: whose features and tickers are read.
        source: of the bars.
        unread: flags that are given and need all bars at once.

    Raises:
        ValueError: if there are such flags.
    """
    if unread:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in unread)
        raise ValueError(
            f"{flags} need all bars at once, and those of this run lie in files (device_bars={source.device_bars});"
            " leave them out, or name a part of the bars as --data."
        )
    market = long_market(source, list(agent.feature_names))
    known = agent.known_tickers(market.symbols)
    whole = market.labels
    if known != list(market.symbols):
        market = long_market(source, list(agent.feature_names), known)
    none = np.zeros((0, len(whole.symbols) if whole else 0))
    labels = None if whole is None else dataclasses.replace(whole, times=whole.times[:0])
    return Panel(none, none, none, none, none, none > 0, np.zeros(0, np.int32), labels=labels), market


def notes_of(run: Run) -> list[str]:
    """Return what a person at the terminal should know of the bars before any figure."""
    missing, members = run.agent.missing_tickers(run.panel.symbols), run.agent.members
    said = [f"The agent is an ensemble of {len(members)}: {'; '.join(members)}."] if members else []
    if not missing:
        return said
    return [
        *said,
        f"Data: {run.data.data} lacks {few(missing)} of the {len(run.agent.symbols)} tickers that the agent was"
        f" trained on; scored on the other {len(run.agent.symbols) - len(missing)}.",
    ]


def few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def hold_benchmark(ticker: str | None, run: Run) -> Ledger | None:
    """Return the benchmark held over a run's bars, if there is one."""
    if ticker is None:
        return None
    alone = build_market(run.panel.select([ticker]), "minimal").window(run.span.times[0], run.span.times[-1])
    return hold(alone, run.agent.env_config)


def on_common_assets(read: Mapping[str, Run]) -> tuple[dict[str, Run], dict[str, str]]:
    """Return runs on the assets that all of them trade, and by folder what was left out of a run's own, in words.

    Raises:
        ValueError: if they have no asset in common, one is bound to assets that others lack, or the bars of a common
            asset differ between the runs' data.
    """
    first, *rest = read.values()
    common = [s for s in first.span.symbols if all(s in run.span.symbols for run in rest)]
    if not common:
        own = "; ".join(f"{folder}: {few(list(run.span.symbols))}" for folder, run in read.items())
        raise ValueError(
            f"The runs have no asset in common ({own}), so their figures cannot stand side by side. Compare runs on the"
            " same tickers, or name data with the tickers of all of them as --data."
        )
    kept, left_out = {}, {}
    for folder, run in read.items():
        extra = [symbol for symbol in run.span.symbols if symbol not in common]
        if extra and run.agent.network.torso.binds_assets:
            raise ValueError(
                f"The run {folder} is bound to all of its assets (torso=flat), and others lack {few(extra)} of them;"
                " compare runs on the same tickers."
            )
        if extra:
            left_out[folder] = (
                f"The assets of the runs differ: all are scored on the {len(common)} that they share; {folder} was"
                f" trained on {few(extra)} too."
            )
        if list(run.span.symbols) != common and not run.agent.network.torso.binds_assets:
            market = build_market(run.panel.select(common), list(run.agent.feature_names))
            start, stop = (int(np.searchsorted(market.times, run.span.times[row])) for row in (0, -1))
            span = market.window(start, stop + 1, lead=run.agent.network.warm_up)
            run = run._replace(market=market, span=span)
        kept[folder] = run
    _check_same_bars(kept)
    return kept, left_out


def _check_same_bars(read: Mapping[str, Run]) -> None:
    """Make sure that the runs' files hold the same closes of their common assets over their common dates."""
    (one_folder, one), *rest = read.items()
    for folder, run in rest:
        _, mine, theirs = np.intersect1d(one.market.times, run.market.times, return_indices=True)
        places = [run.market.symbols.index(symbol) for symbol in one.market.symbols]
        closes = np.asarray(one.market.close)[mine], np.asarray(run.market.close)[theirs][:, places]
        both = np.asarray(one.market.tradable)[mine] & np.asarray(run.market.tradable)[theirs][:, places]
        apart = both & ~np.isclose(*closes)
        if apart.any():
            row, column = (int(each[0]) for each in np.nonzero(apart))
            raise ValueError(
                f"{one_folder} and {folder} have other bars of the same assets: the close of"
                f" {one.market.symbols[column]} on {str(one.market.times[mine[row]])[:10]} differs. Name one file for"
                " all of them as --data."
            )


def on_common_bars(read: Mapping[str, Run]) -> tuple[dict[str, Run], dict[str, str]]:
    """Return runs on the assets and over the dates that all of them have; otherwise as `on_common_assets`."""
    kept, left_out = on_common_assets(read)
    first = max(run.span.times[0] for run in kept.values())
    last = min(run.span.times[-1] for run in kept.values())
    same = {
        folder: run._replace(span=run.span.window(first, last, lead=run.agent.network.warm_up))
        for folder, run in kept.items()
    }
    return same, left_out


def short_names(paths: Iterable[str]) -> list[str]:
    """Return what tables call files or folders: their last parts, or the whole paths where those are not distinct."""
    paths = list(paths)
    names = [Path(path).stem if Path(path).is_file() else Path(path).name for path in paths]
    return names if len(set(names)) == len(names) else paths
