"""Compare short trainings on fixed made markets with a recorded baseline; exit code 1 where quality or memory is worse.

ploutos check --baseline benchmarks/BASELINE.json
ploutos check --baseline benchmarks/BASELINE.json --record
"""

import dataclasses
import os
import platform
from pathlib import Path
from typing import Any

import jax

from ploutos_jax.cli.device import configure
from ploutos_jax.cli.terminal import result_console
from ploutos_jax.env.bounds import check_bounds, check_kinds, whole
from ploutos_jax.experiment.alerts import CASES, compare, measure, read_baseline, write_baseline
from ploutos_jax.runs.command_line import read
from ploutos_jax.version import __version__

CHECK_BOUNDS = {"seeds": whole(2, 1000)}
_CHANGED = 1


@dataclasses.dataclass(frozen=True)
class Check:
    """Compare quality and memory with a recorded baseline.

    Attributes:
        baseline: JSON file of recorded figures.
        record: write it instead of comparing.
        seeds: agents of each training, whose scatter is the noise. In [2, 1,000].
        cases: which of the made markets; all without it.
    """

    baseline: str
    record: bool = False
    seeds: int = 4
    cases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_kinds(self, CHECK_BOUNDS)
        check_bounds(self, CHECK_BOUNDS)
        for name in self.cases:
            if name not in CASES:
                raise ValueError(f"cases={name} is unknown; there are {', '.join(CASES)}.")


def main(args: list[str]) -> int:
    """Run the command line; return the exit code: 1 where something has become worse."""
    wanted = read(Check, args)
    configure("cpu")
    # Compiling is part of the peak, and is to be so each time.
    jax.config.update("jax_enable_compilation_cache", False)
    file, console = Path(wanted.baseline), result_console()
    before = {} if wanted.record else read_baseline(file)
    now = measure(wanted.cases or tuple(CASES), wanted.seeds)
    if wanted.record:
        write_baseline(file, now, _about())
        for case, figures in now.items():
            for name, one in figures.items():
                console.print(f"{case:>8} {name:<16} {one.mean:9.3f} ± {one.deviation:.3f} over {one.number}")
        console.print(f"Recorded in {file}.")
        return 0
    rows = compare(before, now)
    if not rows:
        raise ValueError(f"{file} has none of the cases {', '.join(now)}; record it anew with --record.")
    for row in rows:
        console.print(str(row))
    failed = [row for row in rows if row.failed]
    if failed:
        names = ", ".join(f"{row.figure} of {row.case}" for row in failed)
        console.print(
            f"\nWorse than recorded in {file}, beyond noise: {names}. If this is meant, record the baseline anew"
            " (--record) in the same change and say why."
        )
        return _CHANGED
    console.print(f"\nNothing is worse than recorded in {file}.")
    return 0


def _about() -> dict[str, Any]:
    return {
        "ploutos_jax": __version__,
        "jax": jax.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
