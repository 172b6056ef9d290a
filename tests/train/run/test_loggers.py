"""TensorBoard as people who come from Stable-Baselines3 expect it, read back by TensorBoard's own reader."""

import json

import pytest

from ploutos_jax.train.run.folder import RunFolder, read_figures
from ploutos_jax.train.run.loggers import BOARD_NAMES, board_name
from ploutos_jax.train.run.resources import MACHINE_FIGURES

STABLE_BASELINES = {
    "rollout/ep_rew_mean": ("episode_return_mean", 1),
    "train/policy_gradient_loss": ("policy_loss", 1),
    "train/value_loss": ("value_loss", 1),
    "train/loss": ("loss", 1),
    "train/entropy_loss": ("entropy", -1),
    "train/approx_kl": ("approx_kl", 1),
    "train/clip_fraction": ("clip_fraction", 1),
    "train/explained_variance": ("explained_variance", 1),
    "train/learning_rate": ("learning_rate", 1),
    "time/fps": ("steps_per_second", 1),
}
TRADING = {"equity", "total_return", "trades", "sharpe", "drawdown", "max_drawdown", "costs"}


@pytest.fixture(scope="module")
def board(finished_run):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return reader.EventAccumulator(str(finished_run.folder / "tensorboard"), {"scalars": 0}).Reload()


def test_the_board_has_the_names_of_stable_baselines(finished_run, board):
    for scalar, (figure, sign) in STABLE_BASELINES.items():
        expected = [(row["timesteps"], row[figure]) for row in finished_run.rows if row[figure] is not None]
        found = [(event.step, sign * event.value) for event in board.Scalars(scalar)]
        assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected], scalar


def test_the_board_shows_trading_and_the_machine(finished_run, board):
    tags = set(board.Tags()["scalars"])
    assert tags >= {f"trading/{name}" for name in TRADING}
    assert tags >= {"resources/host_memory_bytes", "resources/compile_seconds", "resources/update_seconds"}
    (first, *_) = board.Scalars("trading/equity")
    assert first.value == pytest.approx(finished_run.rows[0]["equity"], rel=1e-6) and first.value > 50_000


def test_every_figure_has_a_place_of_its_own(finished_run):
    names = [board_name(name) for name in finished_run.rows[-1] if name not in ("update", "timesteps")]
    assert len(set(names)) == len(names) and all(name.count("/") == 1 for name in names)
    elsewhere = {"data_wait_share"}  # of markets in files
    assert set(BOARD_NAMES) - elsewhere <= set(finished_run.rows[-1]), "a name for a figure that no run has"
    assert set(MACHINE_FIGURES) - elsewhere <= set(finished_run.rows[-1])
    assert board_name("held_out_score") == "held_out/score"
    assert board_name("episode_return_mean_by_seed/2") == "rollout/ep_rew_mean_by_seed/2"


class Kept:
    """A logger of one's own."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))


def test_other_loggers_join(tmp_path):
    rows = [{"update": i, "timesteps": 10 * i, "loss": 0.5} for i in (1, 2, 3)]
    kept = Kept()
    with RunFolder(tmp_path, {}, resume=False, loggers=[kept]) as folder:
        folder.write(rows)
        folder.flush()
    with RunFolder(tmp_path, {}, resume=True, loggers=[kept]) as folder:
        folder.cut_back(2)
    assert kept.calls == [("write", rows), ("flush",), ("close",), ("cut_back", 2, 20), ("close",)]
    assert read_figures(tmp_path) == rows[:2]


def test_lines_that_are_no_figures_are_left_out(tmp_path):
    good = {"update": 1, "timesteps": 5}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(good) + '\n[1]\n{"update": 2, "time', encoding="utf-8")
    assert read_figures(tmp_path) == [good]
    assert read_figures(tmp_path / "nowhere") == []
