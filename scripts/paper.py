"""Trade a paper account on bars as they close, bar by bar, by the step that trained the agent; keep a journal.

python scripts/paper.py checkpoints/run-1 --source replay:data/btc.parquet --start 2021-01-01 --journal btc.journal
python scripts/paper.py checkpoints/run-1 --source ccxt:binance --tickers BTC/USDT --interval 1h --journal live.journal
python scripts/paper.py checkpoints/run-1 --source alpaca --interval 1m --broker alpaca-paper --journal stocks.journal
python scripts/paper.py checkpoints/run-1 --journal btc.journal --report paper_report
python scripts/paper.py --journal btc.journal --strip shared.journal
"""

import sys

if __name__ == "__main__":
    # Before anything heavy: signals are answered while the rest is imported.
    from ploutos_jax.cli.early import answer_early

    answer_early()

from ploutos_jax.cli.paper import main
from ploutos_jax.cli.terminal import exit_codes

if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
