"""A project with runs that were written by hand, and its API in this process."""

import shutil

import pytest

from tests.made_once import made_once
from tests.ui.projects import served, write_run

ui = pytest.importorskip("fastapi", reason="the control room needs the extra `ui`")


@pytest.fixture(scope="session")
def described(tmp_path_factory):
    """The file in which a project keeps what the commands say of their settings, read once for all tests."""
    from ploutos_jax.ui.forms import Forms
    from ploutos_jax.ui.project import Project

    root, _ = made_once(tmp_path_factory, "described", lambda root: Forms(Project(root)).describe() and None)
    return root / ".ploutos" / "settings.json"


@pytest.fixture
def project(tmp_path, described):
    """A project with two runs, one of them with a report, and a file of bars."""
    from ploutos_jax.ui.project import Project

    write_run(tmp_path / "checkpoints" / "run-1", updates=30, report=True)
    write_run(tmp_path / "checkpoints" / "run-2", updates=12, total=40 * 64)
    (tmp_path / "data").mkdir()
    rows = [f"2020-01-{day:02d},AAA,{day}.5,{100 + day}" for day in range(1, 29)]
    (tmp_path / "data" / "bars.csv").write_text("date,ticker,close,volume\n" + "\n".join(rows) + "\n")
    (tmp_path / ".ploutos").mkdir()
    shutil.copy(described, tmp_path / ".ploutos")
    return Project(tmp_path)


@pytest.fixture
def client(project):
    """The API of the project, asked over HTTP."""
    from ploutos_jax.ui.api.app import make_app

    with served(make_app(project, max_upload_mb=1)) as asked:
        yield asked
