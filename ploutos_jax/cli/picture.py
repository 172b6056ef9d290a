"""Curves in the terminal: braille dots, eight to a character, or plain signs where the output has no braille."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from rich.text import Text

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a braille character, by its row and column. Source: Unicode, chapter 21, Braille Patterns."""
_BRAILLE = 0x2800
_PLAIN = "*o+."
"""Signs of the curves, in order, without braille."""
_STYLES = ("bold blue", "yellow", "dim", "magenta")


class Curve(NamedTuple):
    """A line of a picture.

    Attributes:
        name: shown at its end.
        x, y: `[n]` places from left to right, and values; those that are not finite are left out.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


def draw(
    curves: Sequence[Curve],
    *,
    title: str,
    ends: tuple[str, str],
    width: int,
    height: int = 8,
    braille: bool = True,
    write: Callable[[float], str] = "{:.2f}".format,
) -> Text:
    """Return a picture of curves over one another, the first in front.

    Args:
        curves: at most four.
        title: the line above.
        ends: what stands below the left and the right end.
        width: characters in all, at least 40.
        height: lines of the curves, at least 2.
        braille: whether the output has the signs.
        write: how a value is written at the side.

    Raises:
        ValueError: if no curve has a finite value.
    """
    known = [(np.asarray(curve.x, float), np.asarray(curve.y, float)) for curve in curves]
    known = [(x[np.isfinite(y)], y[np.isfinite(y)]) for x, y in known]
    values = np.concatenate([y for _, y in known])
    if not values.size:
        raise ValueError(f"{title}: no curve has a finite value to draw.")
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    left, right = min(x[0] for x, _ in known if x.size), max(x[-1] for x, _ in known if x.size)
    scale = [write(high), write((low + high) / 2), write(low)]
    names = [curve.name for curve in curves]
    margin, legend = max(map(len, scale)), max(map(len, names)) + 1
    columns = max(width - margin - legend - 2, 10)
    across, down = (2, 4) if braille else (1, 1)
    grid = np.zeros((height, columns), int)
    owner = np.full((height, columns), -1)
    for place in reversed(range(len(curves))):
        x, y = known[place]
        for column, row in _dots(x, y, (left, right), (low, high), columns * across, height * down):
            cell = row // down, column // across
            if owner[cell] != place and not braille:
                grid[cell] = 0
            grid[cell] |= _DOTS[row % down][column % across] if braille else 1
            owner[cell] = place
    named = _at_ends(known, (low, high), height)
    beside = {0: scale[0], height // 2: scale[1], height - 1: scale[2]}
    text = Text(f"{'':{margin}}  {title}\n", no_wrap=True)
    for row in range(height):
        text.append(f"{beside.get(row, ''):>{margin}} {'┤' if braille else '|'}", "dim")
        text.append_text(_signs(grid[row], owner[row], braille))
        if row in named:
            text.append(f" {names[named[row]]}", _STYLES[named[row]])
        text.append("\n")
    text.append(f"{'':{margin}}  {ends[0]}{ends[1]:>{max(columns - len(ends[0]), 1)}}", "dim")
    return text


def _dots(
    x: np.ndarray,
    y: np.ndarray,
    across: tuple[float, float],
    upwards: tuple[float, float],
    columns: int,
    rows: int,
) -> list[tuple[int, int]]:
    """Return the dots of a curve as (column, row from the top), each column filled from the value before to its own."""
    if not x.size:
        return []
    span = across[1] - across[0] or 1.0
    first, last = (round((edge - across[0]) / span * (columns - 1)) for edge in (x[0], x[-1]))
    at = np.interp(np.linspace(*across, columns)[first : last + 1], x, y)
    level = np.rint((upwards[1] - at) / (upwards[1] - upwards[0]) * (rows - 1)).astype(int)
    dots = [(first, int(level[0]))]
    for column, (before, now) in enumerate(itertools.pairwise(level.tolist()), start=first + 1):
        step = int(math.copysign(1, now - before)) if now != before else 0
        dots += [(column, row) for row in range(before + step, now + (step or 1), step or 1)]
    return dots


def _at_ends(
    known: Sequence[tuple[np.ndarray, np.ndarray]], upwards: tuple[float, float], height: int
) -> dict[int, int]:
    """Return which curve's name stands in which line: near its last value, each in a line of its own."""
    taken: dict[int, int] = {}
    for place, (_, y) in enumerate(known):
        free = [line for line in range(height) if line not in taken]
        if y.size and free:
            wanted = (upwards[1] - float(y[-1])) / (upwards[1] - upwards[0]) * (height - 1)
            taken[min(free, key=lambda line: abs(line - wanted))] = place
    return taken


def _signs(dots: np.ndarray, owner: np.ndarray, braille: bool) -> Text:
    """Return one line of the curves, in as few changes of style as there are."""
    line = Text()
    for place, run in itertools.groupby(range(len(owner)), key=lambda column: int(owner[column])):
        cells = list(run)
        if place < 0:
            # Where a font's braille is not as wide as its other signs, at least the lines of a picture stay aligned.
            line.append((chr(_BRAILLE) if braille else " ") * len(cells))
        elif braille:
            line.append("".join(chr(_BRAILLE | int(dots[cell])) for cell in cells), _STYLES[place])
        else:
            line.append(_PLAIN[place] * len(cells), _STYLES[place])
    return line
