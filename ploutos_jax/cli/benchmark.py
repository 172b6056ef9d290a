"""Measure speed on this machine: runs the benchmarks of a source checkout, which the installed package does not hold.

ploutos benchmark                      environment and training at 1, 30, 100 and 503 assets
ploutos benchmark env --quick          the environment only, smaller sizes
ploutos benchmark --help               every section and option
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Of the checkout, where the package lies in one."""


def main(args: list[str]) -> int:
    """Run the command line; return the exit code.

    Raises:
        ValueError: if there is no checkout around the package.
    """
    script = ROOT / "scripts" / "benchmark.py"
    if not (script.is_file() and (ROOT / "benchmarks").is_dir()):
        raise ValueError(
            f"ploutos benchmark needs a source checkout: {ROOT} has no scripts/benchmark.py and benchmarks/. Clone the"
            " repository, install it with pip install -e '.[bench]', and run it there."
        )
    return subprocess.run([sys.executable, str(script), *args]).returncode
