"""Print what a trained agent would do at the next open, after the last bar of its data.

python scripts/orders.py checkpoints/run-1 --data data/sp500.parquet
python scripts/orders.py checkpoints/run-1 --data data/sp500.parquet --cash 5000 --holdings holdings.csv
"""

import sys

if __name__ == "__main__":
    # Before anything heavy: signals are answered while the rest is imported.
    from ploutos_jax.cli.early import answer_early

    answer_early()

from ploutos_jax.cli.orders import main
from ploutos_jax.cli.terminal import exit_codes

if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
