"""Bars that do not fit: a year of minutes of 500 made tickers, trained on and evaluated by the commands: what it takes.

python benchmarks/long_bars.py make /tmp/long
python benchmarks/long_bars.py train /tmp/long --timesteps 500000
python benchmarks/long_bars.py evaluate /tmp/long

The folder is made month by month, as Parquet files under `month=01` to `month=12`, and never is in memory as a whole.
Each month is a draw of `synthetic_panel(preset="sp500-1m")` of its own that goes on at the prices of the month before.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

DAYS_PER_MONTH, BARS_PER_DAY = 21, 390
GIB = 2**30


def make(folder: Path, tickers: int, months: int) -> None:
    """Write the bars, one month after the other."""
    import jax
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet

    from ploutos_jax.market.synthetic.generate import bar_days, synthetic_panel
    from ploutos_jax.market.synthetic.labels import session_times

    bars = DAYS_PER_MONTH * BARS_PER_DAY
    days, minutes = bar_days(bars * months, 1, "sp500-1m")
    times, scale, rows = session_times(days, minutes), np.ones(tickers), 0
    for month in range(months):
        panel = synthetic_panel(jax.random.key(month), tickers, bars, preset="sp500-1m")
        prices = {name: np.asarray(getattr(panel, name), np.float64) for name in ("open", "high", "low", "close")}
        factor = scale / prices["open"][0] if month else np.ones(tickers)
        own = np.repeat(times[month * bars : (month + 1) * bars], tickers)
        table = {"date": pa.array(own.astype("datetime64[us]"), pa.timestamp("us", "UTC"))}
        codes = np.tile(np.arange(tickers, dtype=np.int32), bars)
        table["ticker"] = pa.DictionaryArray.from_arrays(codes, list(panel.symbols))
        table |= {name: pa.array((price * factor).reshape(-1)) for name, price in prices.items()}
        table["volume"] = pa.array(np.asarray(panel.volume, np.float64).reshape(-1))
        scale = (prices["close"] * factor)[-1]
        place = folder / "bars" / f"month={month + 1:02d}"
        place.mkdir(parents=True)
        pa.parquet.write_table(pa.table(table), place / "part-0.parquet", row_group_size=BARS_PER_DAY * tickers)
        rows += len(codes)
        print(f"month {month + 1}: {rows:,} rows")
    size = sum(file.stat().st_size for file in (folder / "bars").rglob("*.parquet"))
    print(json.dumps({"rows": rows, "files_gib": round(size / GIB, 2), "peak_gib": round(_peak(), 2)}))


def run(folder: Path, output: Path, name: str, *words: str) -> None:
    """Run a command of the package and print what it took."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    began = time.perf_counter()
    script = Path(__file__).parents[1] / "scripts" / f"{name}.py"
    code = subprocess.run([sys.executable, str(script), *words], env=environment).returncode
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {
        "command": name,
        "code": code,
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_gib": round(used.ru_maxrss * 1024 / GIB, 2),
    }
    metrics = output / "metrics.jsonl"
    if name == "train" and metrics.exists():
        found |= _waited([json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()])
    print(json.dumps(found))


def _waited(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the share of the time of the updates that was spent waiting for a slice, and what came of the run."""
    calls = {row["seconds"]: row for row in rows}
    passed, waited, before = 0.0, 0.0, 0.0
    for seconds, row in calls.items():
        passed += seconds - before
        waited += row["data_wait_share"] * (seconds - before)
        before = seconds
    return {
        "updates": rows[-1]["update"],
        "training_seconds": round(passed, 1),
        "data_wait_share": round(waited / max(passed, 1e-9), 4),
        "steps_per_second": rows[-1]["steps_per_second"],
        "most_host_memory_gib": round(max(row["host_memory_bytes"] for row in rows) / GIB, 2),
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "train", "evaluate"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tickers", type=int, default=500)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--timesteps", type=int, default=500_000)
    parser.add_argument("--device-bars", default="auto")
    parser.add_argument("--run", default="run", help="name of the run folder in it")
    args, more = parser.parse_known_args()
    if args.what == "make":
        return make(args.folder, args.tickers, args.months)
    output = args.folder / args.run
    if args.what == "evaluate":
        return run(args.folder, output, "evaluate", str(output), "--overwrite", *more)
    words = [
        "--data",
        str(args.folder / "bars"),
        "--device-bars",
        args.device_bars,
        "--output",
        str(output),
    ]
    return run(args.folder, output, "train", *words, "--timesteps", str(args.timesteps), "--quiet", *more)


if __name__ == "__main__":
    main()
