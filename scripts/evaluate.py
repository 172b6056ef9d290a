"""Play a trained agent over a span of bars and write a report next to baselines at the same costs; or compare several.

python scripts/evaluate.py checkpoints/run-1 --output report
python scripts/evaluate.py --compare checkpoints/run-1 checkpoints/run-2 --output comparison
python scripts/evaluate.py checkpoints/run-1 --data data/sp500.parquet --start 2017-01-01 --output report
"""

import sys

if __name__ == "__main__":
    # Before anything heavy: signals are answered while the rest is imported.
    from ploutos_jax.cli.early import answer_early

    answer_early()

from ploutos_jax.cli.evaluate import main
from ploutos_jax.cli.terminal import exit_codes

if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
