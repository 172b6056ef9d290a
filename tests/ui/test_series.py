"""Curves of a run are those of its file, however the file grows, and stay short."""

import json

import numpy as np

from ploutos_jax.ui.series import MOST_POINTS, Series
from tests.ui.projects import rows_of


def write(folder, rows, mode="a"):
    with (folder / "metrics.jsonl").open(mode) as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def test_each_line_is_told_once_and_an_unfinished_one_when_it_is_done(tmp_path):
    rows, series = rows_of(6), Series(tmp_path)
    assert series.read().rows == []
    write(tmp_path, rows[:2])
    first = series.read()
    assert first.is_all and [row["update"] for row in first.rows] == [1, 2]
    write(tmp_path, rows[2:4])
    text = json.dumps(rows[4]) + "\n"
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(text[:20])
    news = series.read()
    assert not news.is_all and [row["update"] for row in news.rows] == [3, 4]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(text[20:])
    assert [row["update"] for row in series.read().rows] == [5]
    assert series.read().rows == [] and len(series.points) == 5


def test_what_a_resumed_run_takes_back_is_forgotten(tmp_path):
    write(tmp_path, rows_of(9))
    series = Series(tmp_path)
    series.read()
    (tmp_path / "anew").write_text("")
    write(tmp_path, rows_of(4, seed=1), mode="w")
    news = series.read()
    assert news.is_all and [row["update"] for row in news.rows] == [1, 2, 3, 4]
    assert news.rows[0]["loss"] == rows_of(4, seed=1)[0]["loss"]


def test_a_long_run_keeps_evenly_spaced_points(tmp_path):
    rows = rows_of(5 * MOST_POINTS)
    write(tmp_path, rows)
    points = Series(tmp_path).read_all()
    updates = np.array([point["update"] for point in points])
    assert len(points) <= MOST_POINTS and updates[0] == 1 and updates[-1] > len(rows) - 16
    assert set(np.diff(updates)) == {8}
    assert [point["equity"] for point in points] == [row["equity"] for row in rows[::8]]


def test_several_seeds_are_their_mean_and_what_is_no_number_is_left_out(tmp_path):
    rows = [
        {"update": 1, "timesteps": 8, "loss": [1.0, 4.0, None], "equity": None},
        {"update": 2, "timesteps": 16, "loss": "many", "equity": True},
        {"update": True, "timesteps": 24},
    ]
    write(tmp_path, rows)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('[1, 2]\n{"update": 3, "timesteps": 1e999}\n\xff\n')
    assert Series(tmp_path).read_all() == [
        {"update": 1, "timesteps": 8, "loss": 2.5},
        {"update": 2, "timesteps": 16},
    ]
