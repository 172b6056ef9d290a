"""The word `auto` in the place of a size: which sizes are to be measured."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

SIZES = ("num_envs", "num_minibatches")
_AUTO = "auto"


def without_auto(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words of a command line without sizes that are `auto`, and the names of those.

    Args:
        args: words with flags by their own names.
    """
    words, names = list(args), []
    for name in SIZES:
        flag = f"--{name.replace('_', '-')}"
        while f"{flag}={_AUTO}" in words:
            words.remove(f"{flag}={_AUTO}")
            names.append(name)
        while (flag, _AUTO) in (pairs := list(itertools.pairwise(words))):
            place = pairs.index((flag, _AUTO))
            del words[place : place + 2]
            names.append(name)
    return words, list(dict.fromkeys(names))


def file_without_auto(settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what a file of settings says, likewise."""
    kept: dict[str, Any] = {}
    names: list[str] = []
    for key, value in settings.items():
        name = str(key).replace("-", "_")
        if name in SIZES and value == _AUTO:
            names.append(name)
        elif isinstance(value, Mapping):
            kept[key], more = file_without_auto(value)
            names += more
        else:
            kept[key] = value
    return kept, names
