"""Is a saved step what was saved: the seal of its description, whose it is, and the list of its files.

From layout 2 on all of it is required: a step without seal, digests or list is taken for a damaged one. Older steps
have none, or some; what they have is checked, and `UncheckedWarning` says that they could not be checked in full.
"""

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

META = "meta"
LAYOUT = 2
"""What a description of today says of itself; older ones say nothing."""

_FILES = "files.json"
_SEAL = "self"


class DamagedError(ValueError):
    """A checkpoint is not what was saved."""


class UncheckedWarning(UserWarning):
    """Whether a checkpoint is what was saved cannot be said in full."""


def sealed(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description as it is saved: with its layout and the digest of all that it says."""
    content = {**description, "layout": LAYOUT}
    return {**content, _SEAL: _seal(content)}


def check_description(stored: Any, step: int, run: str | None) -> dict[str, Any]:
    """Return what a description says, without its seal.

    Args:
        stored: as read from the disk.
        step: number that the folder's name gives it.
        run: identity of the run in whose folder it lies; None where that is not known.

    Raises:
        DamagedError: if it was changed, lacks what it must have, or is that of another step or run.
    """
    if not isinstance(stored, dict):
        raise DamagedError("its description is no mapping")
    meta = dict(stored)
    seal = meta.pop(_SEAL, None)
    if seal is not None and seal != _seal(meta):
        raise DamagedError("its description was changed")
    lacking = [word for word, value in (("seal", seal), ("digests", meta.get("digests"))) if value is None]
    if lacking and "layout" in meta:
        raise DamagedError(f"its description lacks {' and '.join(lacking)}")
    if lacking:
        warnings.warn(
            f"The checkpoint of step {step} was saved by an older version, without {' and '.join(lacking)}: whether it"
            " is what was saved cannot be checked in full.",
            UncheckedWarning,
            stacklevel=4,
        )
    if meta.get("step", step) != step:
        raise DamagedError(f"it is step {meta['step']} under another name")
    if None not in (run, meta.get("run")) and meta["run"] != run:
        raise DamagedError("it is a step of another run")
    return meta


def check_list(step: Path, meta: Mapping[str, Any]) -> None:
    """Make sure that a step that has to have a list of its files has one.

    Raises:
        DamagedError: if not. It is written before the step gets its name, so no crash leaves a step without.
    """
    if "layout" in meta and not is_listed(step):
        raise DamagedError("its list of files is missing")


def is_listed(step: Path) -> bool:
    """Return whether a step has a list of its files."""
    return (step / _FILES).is_file()


def list_files(step: Path) -> None:
    """Write down size and digest of every file of a finished step."""
    files = sorted(path for path in step.rglob("*") if path.is_file())
    listed = {path.relative_to(step).as_posix(): _digest_of_file(path) for path in files}
    unfinished = step / f"{_FILES}.part"
    unfinished.write_text(json.dumps(listed, indent=1), encoding="utf-8")
    unfinished.replace(step / _FILES)


def check_files(step: Path, items: Iterable[str]) -> None:
    """Make sure that the files of some items are those that were written, as far as they are listed.

    Raises:
        DamagedError: if one is missing or was changed, or the list cannot be read.
    """
    if not is_listed(step):
        return
    listed = json.loads((step / _FILES).read_text(encoding="utf-8"))
    wanted, names = set(items), {name.partition("/")[0] for name in listed}
    if not wanted <= names:
        raise DamagedError(f"its list of files names none of {', '.join(sorted(wanted - names))}")
    for name, digest in listed.items():
        if name.partition("/")[0] not in wanted:
            continue
        if not (step / name).is_file():
            raise DamagedError(f"{name} is missing")
        if _digest_of_file(step / name) != digest:
            raise DamagedError(f"{name} was changed")


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return f"{path.stat().st_size} {hashlib.file_digest(file, 'sha256').hexdigest()}"


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
