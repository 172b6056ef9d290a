"""Train from scratch on every fold of a history, and show the result on bars that were never trained on.

python scripts/validate.py                                                          synthetic data, walk-forward
python scripts/validate.py --data data/sp500.parquet --liquid 50 --num-seeds 5      walk-forward: 5 years, 1, 1
python scripts/validate.py --scheme combinatorial --folds 6 --test-folds 2          purged cross-validation

Takes every setting of train.py besides its own; --help lists those that matter first, --help-all every one. A
validation that was stopped goes on with the same command and --resume; folds that are done are not done again.
"""

import sys

if __name__ == "__main__":
    # Before anything heavy: signals are answered while the rest is imported.
    from ploutos_jax.cli.early import answer_early

    answer_early()

from ploutos_jax.cli.terminal import exit_codes
from ploutos_jax.cli.validate import main

if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
