"""The backtest of older versions: says what to type instead."""

import sys

from ploutos_jax.cli.main import BACKTEST
from ploutos_jax.cli.terminal import exit_codes


def main(args: list[str]) -> int:
    """Refuse with the command that takes this one's place.

    Raises:
        ValueError: always.
    """
    raise ValueError(BACKTEST)


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
