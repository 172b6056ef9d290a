"""Imports that wait for a call: methods of a class that are written in modules which import the class."""

import importlib
from typing import Any


def late(module: str) -> Any:
    """Return a module of the package, loaded now.

    `Panel.from_frame` reads by the code that reads files, and that code makes panels: at the top of a file the two
    would import each other. A call of this stands inside a method; `tests/test_layers.py` sees it, and lets it reach
    into the file's own layer only.

    Args:
        module: its dotted name within the package, written out: `late("market.io.frames")`.
    """
    return importlib.import_module(f"{__name__.partition('.')[0]}.{module}")
