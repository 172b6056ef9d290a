"""What runs have left: checkpoints and exports, reports, validations. Found on the disk, and removed on request."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

from ploutos_jax.runs.run_files import REPORT_METRICS, is_run, read_json
from ploutos_jax.ui.project import REPORT_FOLDERS, OutsideError, Project
from ploutos_jax.ui.run_list import holder_of

REPORT_PAGES = ("report.html", "comparison.html", "overview.html", "index.html", "validation.html")
VALIDATION_FILE, VALIDATION_PLAN = "validation.json", "validation.yaml"
EXPORT_FILES = ("policy.json", "policy.npz")
_FIGURES = ("sharpe", "total_return", "annual_return", "max_drawdown", "turnover", "num_trades", "total_cost")


class BusyError(ValueError):
    """A process writes to what is to be removed."""


def stop_writer(folder: Path, what: str) -> int:
    """Ask the process that writes to a folder to end, as Ctrl+C does in a terminal; return its number.

    Args:
        folder: of a run or a sweep.
        what: the word for it.

    Raises:
        BusyError: if no process of this machine writes there, or it cannot be reached.
    """
    process = holder_of(folder)
    if process is None:
        raise BusyError(f"No process of this machine writes to this {what}.")
    try:
        os.kill(process, signal.SIGTERM)
    except OSError as error:
        raise BusyError(f"The process {process} cannot be stopped: {error.strerror}.") from None
    return process


def find_models(project: Project) -> list[dict[str, Any]]:
    """Return each run with its checkpoints and the size of all, and each exported agent."""
    models: list[dict[str, Any]] = []
    for folder in project.find_folders():
        if is_run(folder) and not _is_export(folder):
            models.append(
                {
                    "path": project.name_of(folder),
                    "kind": "run",
                    "checkpoints": _steps(folder / "checkpoints"),
                    "best": _steps(folder / "best"),
                    "bytes": _size(folder),
                }
            )
        elif _is_export(folder):
            models.append({"path": project.name_of(folder), "kind": "export", "bytes": _size(folder)})
    return models


def remove_model(project: Project, path: str, confirm: str) -> None:
    """Remove a run, one of its checkpoints (`RUN/checkpoints/40`), or an exported agent, with all that lies in it.

    Args:
        project: in which it lies.
        path: of the folder.
        confirm: the last part of the path once more, as a person types it to confirm.

    Raises:
        OutsideError: if the path is no model of the project, or the confirmation is not its name.
        FileNotFoundError: if there is none.
        BusyError: if a process writes to the run.
    """
    named = project.root / path
    folder = project.inside(path)
    if named.is_symlink() or not folder.is_dir():
        raise FileNotFoundError("There is no such folder.")
    is_step = folder.name.isdigit() and folder.parent.name in ("checkpoints", "best") and is_run(folder.parents[1])
    if not (is_step or is_run(folder) or _is_export(folder)):
        raise OutsideError("The folder is no run, checkpoint or exported agent.")
    if confirm != folder.name:
        raise OutsideError(f"To confirm, give the name of the folder: {folder.name!r}.")
    run = folder.parents[1] if is_step else folder
    inner = [file.parent for file in run.rglob("config.yaml")]
    if any(holder_of(each) is not None for each in {run, *inner}):
        raise BusyError("A process writes to this run; stop it first.")
    shutil.rmtree(folder)


def find_reports(project: Project) -> list[dict[str, Any]]:
    """Return each report: its page, the run that it lies in, runs that it compares, main figures; the newest first."""
    found = []
    for folder in _report_folders(project):
        page = next((folder / name for name in REPORT_PAGES if (folder / name).is_file()), None)
        if page is None:
            continue
        metrics = read_json(folder / REPORT_METRICS)
        run = next((parent for parent in folder.parents if is_run(parent)), None)
        found.append(
            {
                "page": project.name_of(page),
                "run": None if run is None else project.name_of(run),
                "compares": sorted(map(str, compared)) if isinstance(compared := metrics.get("runs"), dict) else [],
                "written": page.stat().st_mtime,
                "figures": {name: metrics.get(name) for name in _FIGURES} if metrics else None,
            }
        )
    return sorted(found, key=lambda report: report["written"], reverse=True)


def report_page(project: Project, path: str) -> Path:
    """Return the file of a report's page.

    Raises:
        OutsideError: if the path is none of the project's reports.
        FileNotFoundError: if there is no such page.
    """
    file = project.inside(path, REPORT_FOLDERS)
    if file.suffix != ".html" or not file.is_file():
        raise FileNotFoundError("There is no such report.")
    return file


def find_validations(project: Project) -> list[dict[str, Any]]:
    """Return each validation: its plan's folder, folds that are there, and the result where it is finished."""
    found = []
    for folder in project.find_folders(REPORT_FOLDERS):
        if (folder / VALIDATION_PLAN).is_file() or (folder / VALIDATION_FILE).is_file():
            result = read_json(folder / VALIDATION_FILE)
            found.append({"path": project.name_of(folder), "is_finished": bool(result), "result": result})
    return found


def _report_folders(project: Project) -> list[Path]:
    found = list(project.find_folders(REPORT_FOLDERS))
    return found + [run / "report" for run in found if is_run(run) and (run / "report").is_dir()]


def _is_export(folder: Path) -> bool:
    return all((folder / name).is_file() for name in EXPORT_FILES)


def _steps(folder: Path) -> list[int]:
    try:
        return sorted(int(step.name) for step in folder.iterdir() if step.name.isdigit() and step.is_dir())
    except OSError:
        return []


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
