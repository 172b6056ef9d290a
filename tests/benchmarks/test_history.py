"""What is recorded of a run of the benchmarks, and when the guard speaks up."""

import json

import pytest

from benchmarks import history

MACHINE = {"device": "cpu", "cores": 2, "load": 0.1, "jax": "0.10.2", "commit": "abc", "date": "2026-01-02T03:04"}


def row(section="env, defaults", assets=30, per_reference=1000.0):
    return {"section": section, "assets": assets, "per_reference": per_reference, "steps_per_second": 1e6, "envs": 9}


def line(*rows, **changes):
    return history.line_of(rows, MACHINE, quick=True) | changes


def test_a_line_holds_the_machine_and_the_speeds(tmp_path):
    file = tmp_path / "history.jsonl"
    history.append(line(row(), {"section": "start", "assets": 30, "cold_seconds": 9.0}), file)
    history.append(line(row(assets=1)), file)
    first, second = history.read(file)
    assert first["rows"] == {"env, defaults, 30 assets": {"per_reference": 1000.0, "steps_per_second": 1e6}}
    assert list(second["rows"]) == ["env, defaults, 1 asset"] and second["commit"] == "abc" and second["quick"]


def test_a_run_without_speeds_is_not_recorded():
    with pytest.raises(ValueError, match="sections env and train"):
        line({"section": "start", "assets": 30, "cold_seconds": 9.0})


@pytest.mark.parametrize(("now", "is_lost"), [(1000, False), (720, False), (700, True), (100, True), (5000, False)])
def test_less_work_beside_the_reference_program_is_a_loss(now, is_lost):
    # The median of the last five counts: neither the oldest nor one lucky run.
    recorded = [line(row(per_reference=x)) for x in (9000, 990, 1010, 1000, 400, 3000)]
    found = history.losses(line(row(per_reference=now)), recorded)
    assert len(found) == is_lost
    if is_lost:
        assert "env, defaults, 30 assets" in found[0] and f"{1000 / now:.2f} times slower" in found[0]


@pytest.mark.parametrize("changes", [{"quick": False}, {"device": "NVIDIA H200"}])
def test_only_runs_of_the_same_kind_are_compared(changes):
    slow = line(row(per_reference=1.0))
    with pytest.raises(ValueError, match="None of these configurations has been recorded"):
        history.losses(slow, [line(row(), **changes)])
    assert history.losses(slow, [line(row(), **changes), line(row())])


def test_the_guard_fails_where_speed_is_lost(monkeypatch, capsys):
    monkeypatch.setattr(history, "read", lambda: [line(row())])
    assert history.guard([row(per_reference=900)], MACHINE) == 0
    assert history.guard([row(per_reference=500)], MACHINE) == 1
    assert "2.00 times slower" in capsys.readouterr().out


def test_what_is_recorded_is_what_the_guard_measures():
    """A guard that finds nothing to compare with would never speak up."""
    quick = [run for run in history.read() if run["quick"]]
    for what, assets in history.GUARDED:
        begins = f"{what}, "
        assert any(name.startswith(begins) and f" {assets} asset" in name for run in quick for name in run["rows"])


def test_the_picture_is_drawn(tmp_path):
    runs = [line(row(), row("train", per_reference=50), quick=False), line(row(assets=1), quick=False)]
    history.draw(runs, tmp_path / "history.png")
    assert (tmp_path / "history.png").stat().st_size > 10_000
    assert json.loads(json.dumps(runs)) == runs
