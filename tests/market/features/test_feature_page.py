"""scripts/plot_features.py: a page of plots is written for real-looking bars."""

import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "plot_features.py"


@pytest.fixture(scope="module")
def bars_file(make_panel, tmp_path_factory):
    panel = make_panel(num_bars=90, num_assets=2)
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
@pytest.mark.parametrize("form", ["network", "textbook"])
def test_a_page_is_drawn(form, bars_file, tmp_path):
    page = tmp_path / "page.png"
    done = run("--data", bars_file, "--ticker", "T1", "--features", "sentio", "--form", form, "--output", page)
    assert done.returncode == 0, done.stderr
    assert "20 features of T1" in done.stdout
    pixels = matplotlib.image.imread(page)
    assert pixels.shape[1] == 1980 and np.ptp(pixels) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "said"),
    [(("--ticker", "NOPE"), "Unknown ticker: NOPE"), (("--features", "minimum"), "features='minimum' is unknown")],
)
def test_bad_input_is_told(flags, said, bars_file, tmp_path):
    done = run("--data", bars_file, *flags, "--output", tmp_path / "page.png")
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
