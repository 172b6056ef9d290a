"""Compare short trainings on fixed made markets with a recorded baseline; exit code 1 where quality or memory is worse.

python scripts/check.py --baseline benchmarks/BASELINE.json
python scripts/check.py --baseline benchmarks/BASELINE.json --record
"""

import sys

if __name__ == "__main__":
    # Before anything heavy: signals are answered while the rest is imported.
    from ploutos_jax.cli.early import answer_early

    answer_early()

from ploutos_jax.cli.check import main
from ploutos_jax.cli.terminal import exit_codes

if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
