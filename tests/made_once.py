"""What costs seconds to make and is only read: made by one of the test processes for all of them."""

import fcntl
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> tuple[Path, Any]:
    """Return a folder of this process alone that holds what `make(folder)` has put into one, and what it returned.

    Args:
        factory: of pytest.
        name: of what is made, unique among all.
        make: fills an empty folder; returns what JSON can hold. It runs in the first process that asks, others wait.
    """
    own = factory.mktemp(name)
    base = factory.getbasetemp()
    # Processes of pytest-xdist have their folders side by side in that of the whole run.
    place = (base.parent if base.name.startswith("popen-") else base) / f"{name}-for-all"
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = place / "told.json"
        if not told.exists():
            shutil.rmtree(place / "made", ignore_errors=True)  # of one that failed half-way
            (place / "made").mkdir()
            told.write_text(json.dumps(make(place / "made")))
    shutil.copytree(place / "made", own, dirs_exist_ok=True)
    return own, json.loads(told.read_text())
