"""The differences between a paper account and the backtest of its bars, as a report keeps them; read without JAX."""

from pathlib import Path

import pyarrow.parquet as pq

DIFFERENCES_FILE = "paper_against_backtest.parquet"


def equity_apart(file: Path, most: int) -> list[tuple[float, float]]:
    """Return seconds since 1970 and the account's equity less the backtest's, dollars, by bar.

    Args:
        file: of a report.
        most: rows, evenly left out beyond; the last one is among them.
    """
    table = pq.read_table(file, columns=["date", "equity_backtest"])
    step = table.num_rows // most + 1
    rows = range((table.num_rows - 1) % step, table.num_rows, step)
    dates, apart = (table.column(name).to_numpy() for name in ("date", "equity_backtest"))
    seconds = dates.astype("datetime64[ns]").astype("int64") / 1e9
    return [(float(seconds[row]), float(apart[row])) for row in rows]
