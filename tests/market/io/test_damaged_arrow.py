"""Parquet and Feather files with bytes changed: one line that names the file, and no process that dies."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from ploutos_jax.market.io.load import load_panel

CHILD = """
import json, sys, resource
import numpy as np
from pathlib import Path
from ploutos_jax.market.io.load import load_panel
path, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
good, random = path.read_bytes(), np.random.default_rng(seed)
broken = path.with_name("broken" + path.suffix)
ends = {"read": 0, "refused": 0, "other": []}
for _ in range(count):
    data = bytearray(good)
    for place in random.integers(0, len(data), random.integers(1, 4)):
        data[place] = random.integers(0, 256)
    broken.write_bytes(bytes(data))
    try:
        load_panel(broken)
        ends["read"] += 1
    except ValueError as error:
        said = str(error)
        is_good = "\\n" not in said and ("broken" in said or said.startswith(("More than", "The grid", "Daily bars")))
        ends["refused"] += is_good
        ends["other"] += [] if is_good else [said[:300]]
    except BaseException as error:
        ends["other"].append(f"{type(error).__name__}: {error}"[:300])
print(json.dumps(ends))
"""


def table(days: int = 30) -> pa.Table:
    dates = pd.bdate_range("2024-01-01", periods=days)
    close = 100.0 + np.arange(days) % 7
    names = {name: close for name in ("open", "high", "low", "close")}
    rows = {"date": pa.array(dates), "ticker": pa.array(["ABC"] * days), **{n: pa.array(v) for n, v in names.items()}}
    return pa.table({**rows, "volume": pa.array(np.full(days, 1000.0)), "sector": pa.array(["Tech"] * days)})


def write(path: Path, rows: pa.Table) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(rows, path, compression="none")
    else:
        feather.write_feather(rows, path, compression="uncompressed")
    return path


def refusal(path: Path, **how) -> str:
    with pytest.raises(ValueError) as caught:
        load_panel(path, **how)
    said = str(caught.value)
    assert "\n" not in said and path.name in said and len(said) < 700
    return said


@pytest.mark.thorough
@pytest.mark.parametrize("suffix", [".feather", ".parquet"])
def test_changed_bytes_end_no_process(tmp_path, suffix):
    path = write(tmp_path / f"bars{suffix}", table())
    words = [sys.executable, "-c", CHILD, str(path), "0", "150"]
    job = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert job.returncode == 0, (job.returncode, job.stderr[-500:])
    ends = json.loads(job.stdout)
    assert ends["other"] == [] and ends["read"] + ends["refused"] == 150 and ends["refused"] > 0


@pytest.mark.filterwarnings("ignore:Feather V1:DeprecationWarning")
def test_feather_of_the_first_version_is_refused(tmp_path):
    feather.write_feather(table(), tmp_path / "bars.feather", version=1)
    assert "version 1" in refusal(tmp_path / "bars.feather")


@pytest.mark.parametrize("column", ["date", "sector"])
@pytest.mark.parametrize("value", [0x7FFFFFF0, -5, 10**6])
def test_bad_offsets_of_texts_are_refused(tmp_path, column, value):
    rows = table()
    rows = rows.set_column(0, "date", pa.array([str(day)[:10] for day in rows["date"].to_pylist()]))
    path = write(tmp_path / "bars.feather", rows)
    data = bytearray(path.read_bytes())
    size = len(rows[column][0].as_py())
    place = data.index((np.arange(31, dtype=np.int32) * size).tobytes()) + 4 * 10
    data[place : place + 4] = np.int32(value).tobytes()
    path.write_bytes(bytes(data))
    assert "cannot be read" in refusal(path)


@pytest.mark.parametrize("suffix", [".feather", ".parquet"])
@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("date", [[1, 2]] * 30),
        ("ticker", [{"a": 1}] * 30),
        ("close", [[1.5]] * 30),
        ("volume", [{"a": [1]}] * 30),
        ("ticker", [b"\xff\xfe"] * 30),
    ],
)
def test_columns_of_lists_and_the_like_are_refused(tmp_path, suffix, column, values):
    rows = table()
    rows = rows.set_column(rows.schema.get_field_index(column), column, pa.array(values))
    said = refusal(write(tmp_path / f"bars{suffix}", rows))
    assert f"column {column!r} holds" in said and "in each row" in said


def test_a_signal_of_lists_is_left_out(tmp_path):
    rows = table().append_column("mood", pa.array([[1]] * 30))
    panel = load_panel(write(tmp_path / "bars.parquet", rows))
    assert not panel.signals and "'mood' is not numeric" in " ".join(panel.notes)


@pytest.mark.parametrize("note", [b"{not json", b"", b"[]", b"null", b'{"columns": 5}'])
def test_notes_of_pandas_that_are_no_json_do_not_matter(tmp_path, note):
    for suffix in (".parquet", ".feather"):
        path = write(tmp_path / f"bars{suffix}", table().replace_schema_metadata({"pandas": note}))
        assert load_panel(path).num_bars == 30


@pytest.mark.parametrize("suffix", [".feather", ".parquet"])
def test_notes_of_pandas_that_are_no_text_tell_of_damage(tmp_path, suffix):
    path = write(tmp_path / f"bars{suffix}", table().replace_schema_metadata({"pandas": b'{"a": "\xff"}'}))
    assert "is damaged" in refusal(path)
