"""Sizes are estimated before memory is taken, and refused in one message."""

import gzip
import subprocess
import sys
import time

import pandas as pd
import pytest

from ploutos_jax.market.io import sizes
from ploutos_jax.market.io.columns import Source
from ploutos_jax.market.io.load import load_panel

HEAD = "date,ticker,open,high,low,close,volume"
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (6 << 30,) * 2)
from ploutos_jax.market.io.load import load_panel
try:
    load_panel(sys.argv[1])
except ValueError as error:
    print("REFUSED", error)
# Not ru_maxrss, which begins at that of the process that started this one.
print(next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def sparse(path, tickers: int, bars: int):
    """Tickers that share no date."""
    days = pd.date_range("1900-01-01", periods=tickers * bars).strftime("%Y-%m-%d")
    rows = [f"{days[t * bars + i]},T{t},1,1,1,1,1" for t in range(tickers) for i in range(bars)]
    path.write_text("\n".join([HEAD, *rows]) + "\n")
    return path


@pytest.mark.thorough
@pytest.mark.parametrize(("tickers", "bars"), [(8000, 3), (3000, 15)])
def test_a_sparse_grid_is_refused_before_it_is_made(tmp_path, tickers, bars):
    path = sparse(tmp_path / "bars.csv", tickers, bars)
    job = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=False)
    said, megabytes = job.stdout.strip().splitlines()
    assert said.startswith(f"REFUSED The grid of {tickers * bars:,} dates x {tickers:,} tickers needs about")
    assert "Name fewer tickers" in said and int(megabytes) < 1500


def test_a_folder_whose_files_share_no_date_is_refused(tmp_path, monkeypatch):
    for number in range(3):
        days = pd.date_range(f"20{number}0-01-01", periods=50).strftime("%Y-%m-%d")
        (tmp_path / f"T{number}.csv").write_text("date,close\n" + "".join(f"{day},1\n" for day in days))
    monkeypatch.setattr(sizes, "free_memory", lambda: 150 * 3 * 150)
    with pytest.raises(ValueError, match=r"150 dates x 3 tickers .* 33.33% of it would hold a bar"):
        load_panel(tmp_path)
    monkeypatch.setattr(sizes, "free_memory", lambda: 150 * 3 * 300)
    assert load_panel(tmp_path).num_assets == 3


def test_a_thin_grid_is_refused_whatever_memory_there_is(monkeypatch):
    monkeypatch.setattr(sizes, "free_memory", lambda: 1 << 50)
    with pytest.raises(ValueError, match=r"0.01% of it would hold a bar"):
        sizes.check_grid(20_000, 10_000, 20_000, 0)
    sizes.check_grid(100_000, 500, 5_000_000, 20)
    sizes.check_grid(2_000, 1_000, 2_000, 0)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize("head", ["date,close", "a,b"])
def test_a_million_columns_are_refused_at_once(tmp_path, suffix, head):
    text = head + "".join(f",s{i}" for i in range(10**6)) + "\n2024-01-02,1" + ",1" * 10**6 + "\n"
    path = tmp_path / f"bars{suffix}"
    path.write_bytes(gzip.compress(text.encode(), 1) if suffix == ".csv.gz" else text.encode())
    begun = time.monotonic()
    with pytest.raises(ValueError, match=r"1,000,00[12] columns, more than 200,000"):
        load_panel(path)
    assert time.monotonic() - begun < 10


def test_a_line_without_an_end_is_refused(tmp_path):
    (tmp_path / "bars.csv").write_bytes(b"x" * (sizes.LONGEST_HEADER + 5))
    with pytest.raises(ValueError, match=r"bars.csv cannot be read as .csv: a line has more than"):
        load_panel(tmp_path / "bars.csv")


def test_rows_that_do_not_fit_are_refused_before_they_are_read(tmp_path, monkeypatch):
    text = "date,close\n" + "".join(f"{day:%Y-%m-%d},1\n" for day in pd.date_range("2000-01-01", periods=5000))
    (tmp_path / "bars.csv").write_text(text)
    (tmp_path / "bars.csv.gz").write_bytes(gzip.compress(text.encode()))
    pd.read_csv(tmp_path / "bars.csv").to_parquet(tmp_path / "bars.parquet")
    monkeypatch.setattr("ploutos_jax.market.io.sizes.free_memory", lambda: 100_000)
    for name in ("bars.csv", "bars.csv.gz", "bars.parquet"):
        with pytest.raises(ValueError, match=rf"{name} holds .* rows of 2 columns"):
            load_panel(tmp_path / name)


def test_free_memory_is_a_number_of_bytes():
    assert 0 < sizes.free_memory() < 1 << 62
    sizes.check_table(1, 1, Source("x.csv"))
