"""Try many settings, choose on bars apart from the test, and say what the best is worth after so many trials.

python scripts/sweep.py --over learning_rate=3e-4,1e-3,3e-3 --over spread_bps=1,5        numbers: all as one program
python scripts/sweep.py --over learning_rate=1e-4:1e-2:log --over num_envs=32,64 --trials 16     a study: extra sweep
python scripts/sweep.py --checkpoint RUN --over spread_bps=1,5,20                        an agent under other costs

Takes every setting of train.py besides its own. A study that was stopped goes on with the same command and --resume.
"""

import sys

if __name__ == "__main__":
    # Before anything heavy: signals are answered while the rest is imported.
    from ploutos_jax.cli.early import answer_early

    answer_early()

from ploutos_jax.cli.sweep import main
from ploutos_jax.cli.terminal import exit_codes

if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
