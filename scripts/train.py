"""Train an agent, score it on bars it never saw, and say the result.

python scripts/train.py                                 synthetic data, no GPU needed, about two minutes
python scripts/train.py --data data/sp500.parquet       your own bars
python scripts/train.py --help                          the settings that matter first; --help-all lists every one
"""

import sys

if __name__ == "__main__":
    # Before anything heavy: signals are answered while the rest is imported.
    from ploutos_jax.cli.early import answer_early

    answer_early()

from ploutos_jax.cli.terminal import exit_codes
from ploutos_jax.cli.train import main

if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
