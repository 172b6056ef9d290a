"""The notebooks run from top to bottom on a fresh run, and are committed without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.scripts.command_line import ROOT, call, train_args, write_bars

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_committed(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert len(cell.source.splitlines()) <= 20
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


def execute(name: str, folder: Path) -> list[dict]:
    """Run a notebook with a folder as the working directory; return the outputs of its cells."""
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_restore_checkpoint(tmp_path, monkeypatch):
    data = write_bars(tmp_path / "bars.csv")
    outcome = call("train", train_args(data, "run", 1, "--quiet"), tmp_path)
    assert outcome.code == 0, outcome.err
    monkeypatch.setenv("PLOUTOS_RUN", "run")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    outputs = execute("restore_checkpoint.ipynb", tmp_path)
    printed = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
    assert "Update 1, trained on 3 tickers from 2015-01-05" in printed
    assert "81 bars. Out of sample" in printed
    tables = [output["data"]["text/plain"] for output in outputs if output["output_type"] == "execute_result"]
    assert all(word in tables[0] for word in ("sharpe", "agent", "buy and hold", "equal weight", "random"))
    assert "entry_price" in tables[1]
    pictures = [output["data"] for output in outputs if output["output_type"] == "display_data"]
    assert len(pictures) == 1 and len(pictures[0]["image/png"]) > 5_000
