"""The notebooks run from top to bottom, and are committed with the outputs of such a run."""

import ast
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.scripts.command_line import ROOT, call, train_args, write_bars

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_saved_in_order_and_without_an_error(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.language_info == {"name": "python"}, "of no machine's interpreter"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in notebook.cells:
        assert len(cell.source.splitlines()) <= 20
    outputs = [output for cell in code for output in cell.outputs]
    assert "error" not in {output.output_type for output in outputs}
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
    assert path.stat().st_size < 300_000
    for cell in code:
        last = ast.parse(cell.source).body[-1]
        shown = isinstance(last, ast.Expr) and "chdir" not in ast.unparse(last)
        assert bool(cell.outputs) == shown, cell.source


def run_cells(path, names):
    """Run a notebook's code in this process; return what each cell ends with, None where that is a statement."""
    ends = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        tree = ast.parse(cell.source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, path.name, "exec"), names)
        ends.append(None if last is None else eval(compile(ast.Expression(last.value), path.name, "eval"), names))
    return ends


@pytest.mark.slow
def test_own_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    frame, panel, market, agent, figures, picture, orders = run_cells(ROOT / "notebooks" / "own_data.ipynb", names)
    assert len(frame) == 3 and panel.num_assets == 3 and not panel.tradable.all()
    assert {"signal_mood", "range_share"} <= set(market.feature_names) == set(agent.feature_names)
    assert {"agent", "equal weight", "random"} <= set(figures.index) and figures.loc["cash", "total_return"] == 0
    assert len(picture.axes) >= 2 and set(orders["ticker"]) <= set(panel.symbols)


def execute(name: str, folder: Path) -> list[dict]:
    """Run a notebook with a folder as the working directory; return the outputs of its cells."""
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    os.environ.pop("MPLBACKEND", None)  # Streamlit sets it for whatever its process starts, and pictures are not shown
    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


CELLS = (
    """
import jax
import ploutos_jax as pj
panel = pj.synthetic_panel(jax.random.key(0), num_assets=4, num_bars=200)
panel
""",
    """
market = pj.build_market(panel, "minimal")
env = pj.TradingEnv(pj.EnvConfig(action="weights", episode_length=30))
agent = pj.train(pj.TrainConfig(num_envs=16, total_timesteps=1_024), market.window(0, 150), env, progress=True)
agent
""",
    "ledger = pj.backtest(agent, market, start=150)\nledger",
    "ledger.plot()",
)
"""What a person types; the last line of each cell is shown."""


@pytest.mark.slow
def test_a_notebook_shows_progress_cards_and_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    panel, training, ledger, plot = (
        {kind: text for output in cell.outputs for kind, text in output.get("data", {}).items()}
        for cell in notebook.cells
    )
    assert "<table>" in panel["text/html"] and panel["text/plain"].startswith("Panel(4 tickers, 200 bars")
    assert "<table>" in ledger["text/html"] and "sharpe" in ledger["text/html"]
    assert training["text/plain"].startswith("Agent(weights actions, 4 tickers")
    # The bar is one output that was changed in place; its last state stays below the cell.
    bars = [o["data"]["text/html"] for o in notebook.cells[1].outputs if o["output_type"] == "display_data"]
    assert len(bars) == 1 and "<progress value='1024' max='1024'" in bars[0] and "100%" in bars[0]
    assert len(plot["image/png"]) > 20_000


@pytest.mark.thorough
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
