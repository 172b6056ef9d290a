"""Curves in the terminal, read back from their signs."""

import io

import numpy as np
import pytest
from rich.console import Console

from ploutos_jax.cli.picture import _BRAILLE, _DOTS, Curve, draw

WIDTH, HEIGHT = 60, 8


def dots_of(picture, braille):
    """Return `[rows, columns]` of dots, and the numbers at the side, from a picture's text alone."""
    lines = picture.plain.split("\n")[1:-1]
    parts = [line.split("┤" if braille else "|") for line in lines]
    cells = [part[1] for part in parts]
    columns = max(map(len, cells))
    across, down = (2, 4) if braille else (1, 1)
    dots = np.zeros((len(cells) * down, columns * across), bool)
    for row, line in enumerate(cells):
        for column, sign in enumerate(line):
            if braille and 0x2800 <= ord(sign) < 0x2900:
                for y in range(4):
                    for x in range(2):
                        dots[4 * row + y, 2 * column + x] = bool((ord(sign) - _BRAILLE) & _DOTS[y][x])
            elif not braille and sign == "*":
                dots[row, column] = True
    return dots, [part[0].strip() for part in parts]


@pytest.mark.parametrize("braille", [True, False])
def test_every_value_is_where_it_belongs(braille):
    x = np.linspace(0, 1, 400)
    y = np.sin(7 * x) + 2 * x
    picture = draw(
        [Curve("", x, y)],
        title="t",
        ends=("a", "b"),
        width=WIDTH,
        height=HEIGHT,
        braille=braille,
        write="{:.3f}".format,
    )
    dots, side = dots_of(picture, braille)
    assert float(side[0]) == pytest.approx(y.max(), abs=1e-3)
    assert float(side[-1]) == pytest.approx(y.min(), abs=1e-3)
    used = np.flatnonzero(dots.any(axis=0))
    num_rows, num_columns = dots.shape[0], used[-1] + 1
    for column in used:
        value = np.interp(column / (num_columns - 1), x, y)
        row = (y.max() - value) / (y.max() - y.min()) * (num_rows - 1)
        assert dots[max(round(row) - 1, 0) : round(row) + 2, column].any(), "near its value in each column"
    assert np.array_equal(used, np.arange(num_columns)), "without a gap from left to right"


def test_the_first_curve_is_in_front_and_each_is_named_near_its_end():
    rising, falling = Curve("up", [0, 1], [0, 1]), Curve("down", [0, 1], [1, 0])
    picture = draw([rising, falling], title="t", ends=("", ""), width=WIDTH, height=HEIGHT, braille=False)
    lines = picture.plain.split("\n")
    assert lines[1].endswith(" up") and lines[HEIGHT].endswith(" down")
    assert "*" in lines[1] and "o" in lines[1]
    same = draw([rising, Curve("same", [0, 1], [0, 1])], title="t", ends=("", ""), width=WIDTH, braille=False).plain
    assert "*" in same and "|o" not in same and "same" in same and "up" in same


@pytest.mark.parametrize("values", [[3.0, 3.0], [0.0, 0.0], [np.nan, 2.0, np.nan], [1.0]])
def test_flat_and_broken_curves_are_drawn(values):
    picture = draw([Curve("a", range(len(values)), values)], title="t", ends=("", ""), width=WIDTH)
    assert any(0x2800 < ord(sign) < 0x2900 for sign in picture.plain)


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match="t: no curve has a finite value"):
        draw([Curve("a", [0], [np.nan])], title="t", ends=("", ""), width=WIDTH)


def test_lines_fit_the_width():
    curve = Curve("a long name", np.arange(300), np.random.default_rng(0).normal(size=300) * 1e5)
    picture = draw([curve], title="t", ends=("first", "last"), width=WIDTH, write="${:,.0f}".format)
    assert max(map(len, picture.plain.split("\n"))) <= WIDTH
    console = Console(file=io.StringIO(), width=WIDTH, force_terminal=True)
    console.print(picture)
    assert len(console.file.getvalue().splitlines()) == len(picture.plain.split("\n"))
