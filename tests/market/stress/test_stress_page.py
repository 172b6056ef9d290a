"""scripts/plot_stress.py: a page of plots is written, bad input is told."""

import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "plot_stress.py"


@pytest.fixture(scope="module")
def bars_file(make_panel, tmp_path_factory):
    panel = make_panel(num_bars=330, num_assets=3)
    lines = ["date,ticker,open,high,low,close,volume"]
    for t, day in enumerate(panel.times.astype("datetime64[D]")):
        for a, symbol in enumerate(panel.symbols):
            numbers = (getattr(panel, name)[t, a] for name in ("open", "high", "low", "close", "volume"))
            lines.append(",".join([str(day), symbol, *(f"{x:.6f}" for x in numbers)]))
    path = tmp_path_factory.mktemp("bars") / "bars.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(*flags):
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, flags)], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_page_is_drawn(bars_file, tmp_path):
    page = tmp_path / "page.png"
    done = run("--data", bars_file, "--ticker", "T1", "--severity", "1", "--output", page)
    assert done.returncode == 0, done.stderr
    assert "8 scenarios on T1" in done.stdout
    assert np.ptp(matplotlib.image.imread(page)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "said"),
    [(("--ticker", "NOPE"), "Unknown ticker: NOPE"), (("--severity", "2"), "severity=2.0 must lie in [0, 1]")],
)
def test_bad_input_is_told(flags, said, bars_file, tmp_path):
    done = run("--data", bars_file, *flags, "--output", tmp_path / "page.png")
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
