"""The backtest of older versions: says what to type instead."""

import sys

from ploutos_jax.cli.main import BACKTEST


def main(args: list[str]) -> int:
    """Print the command that takes this one's place; return the exit code."""
    print(f"Error: {BACKTEST}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
