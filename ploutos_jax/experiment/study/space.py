"""What a sweep searches: settings by name, each with a list of values or a range."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ploutos_jax.env.bounds import shown
from ploutos_jax.runs.overrides import ALIASES

_LOG = "log"


@dataclasses.dataclass(frozen=True)
class Choice:
    """Values of one setting.

    Attributes:
        values: to choose from.
    """

    values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Range:
    """A stretch of numbers of one setting.

    Attributes:
        low, high: its ends, which belong to it; whole numbers where both are whole.
        is_log: evenly by its logarithm.
    """

    low: float
    high: float
    is_log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Space = dict[str, Choice | Range]


def read_space(words: Sequence[str]) -> Space:
    """Return what a command line says is to be searched.

    Args:
        words: such as `learning_rate=1e-4,1e-3` for values, `learning_rate=1e-4:1e-2:log` for a range.

    Raises:
        ValueError: naming the word that cannot be read, and how it may look.
    """
    space: Space = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        name = ALIASES.get(name, name)
        if not equals or not name or not text.strip():
            raise ValueError(
                f"over={shown(word)} cannot be read; write NAME=A,B,C for values or NAME=LOW:HIGH or NAME=LOW:HIGH:log"
                " for a range."
            )
        if name in space:
            raise ValueError(f"over names {name} twice; give it once with all its values.")
        space[name] = _read_range(name, text) if ":" in text else _read_choice(name, text)
    if not space:
        raise ValueError("Nothing to sweep over; give --over NAME=A,B,C or --over NAME=LOW:HIGH:log.")
    return space


def grid_of(space: Space) -> dict[str, tuple[Any, ...]]:
    """Return a space of lists as a grid.

    Raises:
        ValueError: if it has a range, which has no end of points.
    """
    for name, part in space.items():
        if isinstance(part, Range):
            raise ValueError(
                f"over={name}={part.low:g}:{part.high:g} is a range, whose points have no end: say how many to try with"
                " --trials, or give values."
            )
    return {name: part.values for name, part in space.items() if isinstance(part, Choice)}


def _read_choice(name: str, text: str) -> Choice:
    values = tuple(_value(part) for part in text.split(",") if part.strip())
    if len(set(map(repr, values))) < len(values):
        raise ValueError(f"over={name}={text} names a value twice.")
    return Choice(values)


def _read_range(name: str, text: str) -> Range:
    ends, kind = text.split(":")[:2], text.split(":")[2:]
    low, high = (_value(end) for end in ends)
    are_numbers = all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in (low, high))
    if not are_numbers or kind not in ([], [_LOG]) or not low < high:
        raise ValueError(f"over={name}={text} is no range; write {name}=LOW:HIGH or {name}=LOW:HIGH:log, low first.")
    if kind and not low > 0:
        raise ValueError(f"over={name}={text}: a range by its logarithm begins above 0.")
    return Range(low, high, bool(kind))


def _value(text: str) -> Any:
    """Return a value as people write it: a number, a word, none, true or false."""
    word = text.strip()
    known: Mapping[str, Any] = {"none": None, "true": True, "false": False}
    if word.lower() in known:
        return known[word.lower()]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
