"""Figures and summary of a run folder that somebody else wrote into, or that a crash cut short."""

import json

import pytest

from ploutos_jax.train.run.figures import METRICS_FILE, find_gaps, read_figures
from ploutos_jax.train.run.folder import FiguresWarning, RunFolder, add_to_summary
from tests.train.run.test_folder import SETTINGS, lines_of, rows_of, write_run

LINES = {
    "not UTF-8": b"\xff\xfe\n",
    "UTF-16": '{"update": 9}'.encode("utf-16"),
    "bytes of zero": b"\0" * 64,
    "cut short": b'{"update": 9, "timest',
    "another tool's": b'{"step": 3}\n',
    "a list": b"[1, 2]\n",
    "a number": b"7\n",
    "an update that is text": b'{"update": "9", "timesteps": 1}\n',
    "an update that is true": b'{"update": true, "timesteps": 1}\n',
    "an update without end": b'{"update": 1e999, "timesteps": 1}\n',
    "no steps": b'{"update": 2}\n',
    "5,000 digits": b'{"update": 1' + b"0" * 5000 + b"}\n",
    "brackets without end": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
@pytest.mark.parametrize("place", ["last", "in the middle"])
def test_a_line_that_holds_no_figures_is_left_out(tmp_path, line, place):
    write_run(tmp_path, rows_of(1, 6))
    file = tmp_path / METRICS_FILE
    whole = file.read_bytes().splitlines(keepends=True)
    at = len(whole) if place == "last" else 2
    file.write_bytes(b"".join([*whole[:at], line.rstrip(b"\n") + b"\n", *whole[at:]]))
    assert read_figures(tmp_path) == rows_of(1, 6)
    with RunFolder(tmp_path, SETTINGS, resume=True) as run:
        assert run.cut_back(4) == rows_of(1, 5)
    assert lines_of(tmp_path) == rows_of(1, 5)


GAPS = {
    "the file is gone": (lambda lines: None, "updates 1 to 5 of the 5"),
    "it is empty": (lambda lines: b"", "updates 1 to 5 of the 5"),
    "one line is broken": (lambda lines: b"".join([lines[0], b"\xff\xfe\n", *lines[2:]]), "update 2 of the 5"),
    "two stretches": (lambda lines: b"".join([lines[1], lines[3]]), "updates 1, 3, 5 of the 5"),
}


@pytest.mark.parametrize(("damage", "said"), GAPS.values(), ids=GAPS)
def test_a_gap_is_said(tmp_path, damage, said):
    write_run(tmp_path, rows_of(1, 6))
    file = tmp_path / METRICS_FILE
    left = damage(file.read_bytes().splitlines(keepends=True))
    file.unlink()
    if left is not None:
        file.write_bytes(left)
    warned = pytest.warns(FiguresWarning, match=rf"metrics.jsonl lacks the figures of {said} that are done")
    with RunFolder(tmp_path, SETTINGS, resume=True) as run, warned:
        run.cut_back(5)
    assert "lacks the figures" in (tmp_path / "run.log").read_text()


def test_gaps_in_words():
    assert find_gaps([{"update": i} for i in (1, 2, 3)], 3) == ""
    assert find_gaps([], 0) == ""
    assert find_gaps([{"update": i} for i in range(2, 20, 2)], 18).endswith("1, 3, 5, 7, 9 and 4 more stretches")


SUMMARIES = (b'{"a":', b"", b"[1]", b"null", b"\xff\xfe", b'{"a": 1' + b"0" * 5000 + b"}", b"[" * 100_000)


@pytest.mark.parametrize("content", SUMMARIES, ids=range(len(SUMMARIES)))
def test_a_summary_that_cannot_be_read_is_written_anew_and_that_is_said(tmp_path, content):
    file = tmp_path / "summary.json"
    file.write_bytes(content)
    with pytest.warns(FiguresWarning, match=r"summary.json could not be read as JSON; it is written anew"):
        add_to_summary(tmp_path, {"score": 1.0})
    assert json.loads(file.read_text()) == {"score": 1.0}
    add_to_summary(tmp_path, {"more": float("nan")})
    assert json.loads(file.read_text()) == {"score": 1.0, "more": None}


def test_a_run_has_a_text_log_that_goes_on(tmp_path):
    with RunFolder(tmp_path, SETTINGS, resume=False, notes=["device cpu", "two\nlines"]) as run:
        run.write(rows_of(1, 3))
    with RunFolder(tmp_path, SETTINGS, resume=True) as run:
        run.cut_back(2)
        run.write([{"update": 3, "timesteps": 30, "loss": 0.25, "equity": None, "episode_return_mean": [1.0, 2.0]}])
        run.say("done")
    said = [line.partition("  ")[2] for line in (tmp_path / "run.log").read_text().splitlines()]
    assert said == [
        *("device cpu", "two lines", "update 2, 20 steps: loss 1.0000", "going on after update 2"),
        *("update 3, 30 steps: loss 0.2500", "done"),
    ]
