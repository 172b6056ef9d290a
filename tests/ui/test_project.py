"""No path leads out of a project, and what lies in it is found."""

import os

import pytest

from ploutos_jax.ui.project import OutsideError, Project, check_name
from tests.ui.projects import write_run

OUTSIDE = (
    *("", ".", "..", "/etc/passwd", "checkpoints/../../x", "checkpoints/../data/a", "~/x", "data/a", "other/run"),
    *("checkpoints/.hidden", "checkpoints/-rf", "checkpoints\\..\\x", "checkpoints/a\0b", "checkpoints/a\nb"),
    *("checkpoints/" + "a" * 500, "./checkpoints/../../x", "checkpoints/%2e%2e/.././../x", ".ploutos/jobs"),
)


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_outside_is_refused(tmp_path, path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(OutsideError, match="is no path below checkpoints/"):
        Project(tmp_path).inside(path)


def test_a_link_out_of_the_project_is_refused(tmp_path):
    (tmp_path / "project" / "checkpoints").mkdir(parents=True)
    write_run(tmp_path / "elsewhere", updates=1)
    os.symlink(tmp_path / "elsewhere", tmp_path / "project" / "checkpoints" / "run-1")
    project = Project(tmp_path / "project")
    with pytest.raises(OutsideError):
        project.run("checkpoints/run-1")
    assert project.find_runs() == []


def test_a_folder_that_is_linked_as_a_whole_is_the_project_s(tmp_path):
    write_run(tmp_path / "disk" / "run-1", updates=1)
    (tmp_path / "project").mkdir()
    os.symlink(tmp_path / "disk", tmp_path / "project" / "checkpoints")
    assert Project(tmp_path / "project").run("checkpoints/run-1") == tmp_path / "disk" / "run-1"


def test_runs_are_found_wherever_they_lie_and_not_inside_checkpoints(tmp_path):
    for name in ("checkpoints/run-1", "checkpoints/validation-1/fold-1", "runs/a/b", "other/run-9"):
        write_run(tmp_path / name, updates=1)
    (tmp_path / "checkpoints" / "run-1" / "checkpoints" / "10" / "config.yaml").write_text("a: 1")
    project = Project(tmp_path)
    names = [project.name_of(run) for run in project.find_runs()]
    assert names == ["checkpoints/run-1", "checkpoints/validation-1/fold-1", "runs/a/b"]


@pytest.mark.parametrize("name", ["../x.csv", ".x.csv", "x.exe", "a/b.csv", "x.csv\0", "-x.csv", "x..csv", "", "é.csv"])
def test_a_name_that_is_no_plain_one_is_refused(name):
    with pytest.raises(OutsideError, match="is no name for a file here"):
        check_name(name, (".csv",))


def test_a_plain_name_is_taken():
    assert check_name("my bars 2020.CSV", (".csv",)) == "my bars 2020.CSV"
