"""Download bars into a Parquet file that the other scripts read; again with the same file, only what is new.

python scripts/download.py --tickers SP500 --period 5y --output data/sp500.parquet
python scripts/download.py --tickers AAPL,MSFT,SPY --period max --output data/few.parquet
python scripts/download.py --tickers SPY --period 7d --interval 1m --output data/spy_1m.parquet
python scripts/download.py --vendor ccxt --tickers BTC/USDT --interval 1h --start 2021-01-01 --output data/btc.parquet
python scripts/download.py --vendor alpaca --tickers AAPL,SPY --interval 1m --period 1mo --output data/minutes.parquet
"""

import sys

if __name__ == "__main__":
    # Before anything heavy: signals are answered while the rest is imported.
    from ploutos_jax.cli.early import answer_early

    answer_early()

from ploutos_jax.cli.download import main
from ploutos_jax.cli.terminal import exit_codes

if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
