"""What an object shows of itself where people look at it: a line, a few rows, or a table in a notebook."""

import html
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from ploutos_jax.market.tickers import show_marks, show_ticker

_FEW = 5
_LONGEST_CELL = 160
_STYLE = "text-align:left;vertical-align:top;padding:2px 12px 2px 0"


class Card(NamedTuple):
    """The same in brief and in full.

    Attributes:
        kind: the name of the class.
        brief: parts of the one line.
        rows: names and texts, at most a screen of them.
    """

    kind: str
    brief: Sequence[str]
    rows: Sequence[tuple[str, str]]


class Shown:
    """An object that shows a card of itself, in place of all its arrays.

    `repr` is a line, `print` a few, and a notebook shows a table. A subclass says what is on the card.
    """

    def _card(self) -> Card:
        raise NotImplementedError

    def __repr__(self) -> str:
        card = self._card()
        return f"{card.kind}({', '.join(card.brief)})"

    def __str__(self) -> str:
        card = self._card()
        width = max((len(name) for name, _ in card.rows), default=0)
        return "\n".join([repr(self), *(f"  {name:<{width}}  {_cut(text)}" for name, text in card.rows)])

    def _repr_html_(self) -> str:
        card = self._card()
        cells = (
            f"<tr><th scope='row' style='{_STYLE}'>{html.escape(name)}</th>"
            f"<td style='{_STYLE}'>{html.escape(_cut(text))}</td></tr>"
            for name, text in card.rows
        )
        return f"<table><caption style='{_STYLE}'>{html.escape(repr(self))}</caption>{''.join(cells)}</table>"


def _cut(text: str) -> str:
    shown = show_marks(" ".join(text.split()))
    return shown if len(shown) <= _LONGEST_CELL else shown[: _LONGEST_CELL - 1] + "…"


def few(names: Sequence[str], most: int = _FEW) -> str:
    """Return how many names there are, and the first of them."""
    if not names:
        return "none"
    listed = ", ".join(show_ticker(name) for name in names[:most])
    return f"{len(names):,}: {listed}" + (", …" if len(names) > most else "")


def plural(number: int, unit: str) -> str:
    """Return a number with its unit: 1 bar, 1,500 bars."""
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def is_known(array: Any) -> bool:
    """Return whether an array holds numbers, and is not being traced or a placeholder of JAX."""
    return isinstance(array, np.ndarray) or (isinstance(array, jax.Array) and not isinstance(array, Tracer))


def share_of(mask: np.ndarray) -> str:
    """Return the share of a mask that is set, as 97.8 %."""
    return f"{np.mean(mask):.1%}".replace("%", " %")


def present(parts: Iterable[tuple[str, Any]]) -> str:
    """Return the names of those parts that there are."""
    return ", ".join(name for name, part in parts if part is not None)
