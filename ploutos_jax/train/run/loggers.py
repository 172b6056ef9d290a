"""Where the figures of a run go: a file with a line per update, and TensorBoard. Others join through `Logger`."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from ploutos_jax.train.run.atomic_write import write_whole
from ploutos_jax.train.run.figures import read_lines
from ploutos_jax.train.run.tensorboard import Board

Row = Mapping[str, Any]


class Logger(Protocol):
    """Receiver of the rows of figures of a run, one per update: numbers, None, or a list with a number per seed."""

    def write(self, rows: Sequence[Row]) -> None:
        """Take rows, in order of their `update`."""
        ...

    def cut_back(self, update: int, timesteps: int) -> None:
        """Forget rows of updates after `update`, that with `timesteps`: a resumed run will make them again."""
        ...

    def flush(self) -> None:
        """Put what was taken out of reach of a crash of this process."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


class MetricsFile:
    """A file of strict JSON, one line per row."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("a", encoding="utf-8")

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows; they are in the file when this returns."""
        for row in rows:
            self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()

    def cut_back(self, update: int, timesteps: int) -> None:
        """Drop later rows, and lines that hold none: cut short by a crash, say."""
        del timesteps
        self._file.close()
        kept = [line for line, row in read_lines(self._path) if row["update"] <= update]
        write_whole(self._path, "".join(line + "\n" for line in kept))
        self._file = self._path.open("a", encoding="utf-8")

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


BOARD_NAMES = {
    "episode_return_mean": "rollout/ep_rew_mean",
    "episodes": "rollout/episodes",
    "reward_per_step": "rollout/reward_per_step",
    "loss": "train/loss",
    "policy_loss": "train/policy_gradient_loss",
    "value_loss": "train/value_loss",
    "entropy": "train/entropy_loss",
    "steps_per_second": "time/fps",
    "seconds": "time/seconds",
    "total_return_mean": "trading/total_return",
    "equity": "trading/equity",
    "sharpe": "trading/sharpe",
    "drawdown_mean": "trading/drawdown",
    "drawdown_max": "trading/max_drawdown",
    "trades": "trading/trades",
    "cost_per_step": "trading/costs",
    "growth_per_step": "trading/growth_per_step",
    "turnover_per_step": "trading/turnover",
    "invested": "trading/invested",
    "num_trades_per_step": "trading/trades_per_step",
    "rejected_orders_per_step": "trading/rejected_orders",
    "terminated_episodes": "trading/ruined_episodes",
    "compile_seconds": "resources/compile_seconds",
    "update_seconds": "resources/update_seconds",
    "device_memory_bytes": "resources/device_memory_bytes",
    "host_memory_bytes": "resources/host_memory_bytes",
    "program_share": "resources/program_share",
    "host_cpu_share": "resources/host_cpu_share",
    "data_wait_share": "resources/data_wait_share",
}
"""Figure -> scalar, by the names of Stable-Baselines3 where it has one. Other figures are named by `_PREFIXES`."""

_PREFIXES = (("held_out_", "held_out/"), ("exit_", "trading/exit_"), ("", "train/"))
_NEGATED = frozenset({"entropy"})
"""Stable-Baselines3 shows the entropy as a loss."""


class TensorBoard:
    """Scalars for TensorBoard over the timesteps of a run.

    Args:
        folder: of the event files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._board = Board(folder)

    def write(self, rows: Sequence[Row]) -> None:
        """Add the figures of rows; those without a number are left out."""
        for row in rows:
            self._board.write(row["timesteps"], scalars_of(row))

    def cut_back(self, update: int, timesteps: int) -> None:
        """Make TensorBoard forget what comes after `timesteps`."""
        del update
        self._board.close()
        self._board = Board(self._folder, forget_from=timesteps + 1)

    def flush(self) -> None:
        self._board.flush()

    def close(self) -> None:
        self._board.close()


def scalars_of(row: Row) -> dict[str, float]:
    """Return the figures of a row under the names that boards show; those without a number are left out."""
    figures = {name: value for name, value in _single_figures(row).items() if value is not None}
    return {board_name(name): -value if name in _NEGATED else value for name, value in figures.items()}


@cache
def board_name(figure: str) -> str:
    """Return the scalar of a figure; that of one seed or device, `name/i`, stands below the name."""
    name, _, seed = figure.partition("/")
    if name.endswith("_by_seed"):
        return f"{board_name(name.removesuffix('_by_seed'))}_by_seed/{seed}"
    if name.endswith("_by_device"):
        return f"resources/{name}/{seed}"
    if name in BOARD_NAMES:
        return BOARD_NAMES[name]
    return next(scalar + name.removeprefix(prefix) for prefix, scalar in _PREFIXES if name.startswith(prefix))


def _single_figures(row: Row) -> dict[str, Any]:
    """Return the figures of a row with each list, one figure per seed, taken apart as `name/0`, `name/1`, ..."""
    single: dict[str, Any] = {}
    for name, value in row.items():
        if name not in ("update", "timesteps"):
            single |= {f"{name}/{i}": one for i, one in enumerate(value)} if isinstance(value, list) else {name: value}
    return single
