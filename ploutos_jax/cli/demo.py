"""The first run of a newcomer: a market with a known edge, in a folder of its own.

ploutos demo                about two minutes, no GPU needed
ploutos demo --seed 1       any setting of training
"""

import itertools
from pathlib import Path

from ploutos_jax.cli import train
from ploutos_jax.cli.short_help import wants_short

FOLDER = "ploutos-demo"


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    own = [] if wants_short(args) or any(word.split("=")[0] == "--output" for word in args) else _free()
    return train.main([*own, *args])


def _free() -> list[str]:
    """Return the flag of the first folder that is not there yet."""
    names = itertools.chain([FOLDER], (f"{FOLDER}-{number}" for number in itertools.count(2)))
    return ["--output", next(name for name in names if not Path(name).exists())]
