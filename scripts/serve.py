"""Open the control room: runs, data, reports and jobs of this folder in a browser.

python scripts/serve.py                               http://127.0.0.1:8787
python scripts/serve.py --port 8080
"""

import sys

if __name__ == "__main__":
    # Before anything heavy: signals are answered while the rest is imported.
    from ploutos_jax.cli.early import answer_early

    answer_early()

from ploutos_jax.cli.serve import main
from ploutos_jax.cli.terminal import exit_codes

if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
