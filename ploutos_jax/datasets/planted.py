"""Planted markets by the words of `--data`: `planted:30:0.3`, `planted_persistent:30:0.1:0.9` and the like."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax

from ploutos_jax.market.panel import Panel
from ploutos_jax.market.sampler import MarketDraw
from ploutos_jax.market.synthetic.planted.bars import NUM_BARS
from ploutos_jax.market.synthetic.planted.hinted import HintedDraw, Recipe, hinted_panel
from ploutos_jax.market.synthetic.planted.iid import PlantedDraw, planted_panel
from ploutos_jax.market.synthetic.planted.lag import Lag
from ploutos_jax.market.synthetic.planted.persistent import Persistent
from ploutos_jax.market.synthetic.planted.regimes import Regimes

PLANTED = "planted"


@dataclasses.dataclass(frozen=True)
class PlantedData:
    """A planted market as `--data` names it.

    Attributes:
        num_assets: A.
        strength: correlation of what is told and the next return.
        recipe: of the kinds with a law of their own; None for `planted`.
    """

    num_assets: int
    strength: float
    recipe: Recipe | None = None

    def panel(self, key: jax.Array, num_bars: int = NUM_BARS) -> Panel:
        """Return one fixed panel."""
        if self.recipe is None:
            return planted_panel(key, self.num_assets, num_bars, self.strength)
        return hinted_panel(key, self.recipe, num_bars)

    def stream(self, key: jax.Array, num_bars: int, num_paths: int) -> MarketDraw:
        """Return the stream of markets of so many paths of so many bars."""
        if self.recipe is None:
            return PlantedDraw(self.num_assets, num_bars, num_paths, self.strength).stream(key)
        return HintedDraw(self.recipe, num_bars, num_paths).stream(key)


@dataclasses.dataclass(frozen=True)
class _Kind:
    """What a name stands for.

    Attributes:
        strength: that it has unless told.
        make: `(assets, strength, *rest)` to a recipe; None for `planted`.
        rest: what may come after the strength: how each part is read (None is refused), and how it is described.
        shown: how to write it.
        example: one that works.
    """

    strength: float
    make: Callable[..., Any] | None
    rest: tuple[Callable[[str], Any], ...]
    shown: str
    example: str


def _share(text: str) -> float | None:
    return number if (number := _number(text)) is not None and 0 <= number <= 1 else None


def _below_one(text: str) -> float | None:
    return number if (number := _share(text)) is not None and number < 1 else None


def _variant(text: str) -> str | None:
    return text if text in ("a", "b") else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


_KINDS = {
    PLANTED: _Kind(0.3, None, (), "a strength from 0 to 1", "planted:30:0.3"),
    "planted_persistent": _Kind(
        0.1,
        Persistent,
        (_below_one,),
        "a strength from 0 to 1 and a persistence from 0 to below 1",
        "planted_persistent:30:0.1:0.9",
    ),
    "planted_lag": _Kind(0.3, Lag, (), "a strength from 0 to 1", "planted_lag:30:0.3"),
    "planted_regimes": _Kind(
        0.3, Regimes, (_variant,), "a strength from 0 to 1 and a variant a or b", "planted_regimes:30:0.3:a"
    ),
}
_PLACES = {"planted_persistent": ":PERSISTENCE", "planted_regimes": ":VARIANT"}


def is_planted_name(data: str) -> bool:
    """Return whether `--data` names a planted market."""
    return data.partition(":")[0] in _KINDS


def read_planted(data: str) -> PlantedData:
    """Return the market that a name such as `planted:30:0.3` stands for; what is left out is as usual.

    Raises:
        ValueError: if the name is no planted market, or what follows it is not what it takes; says how to write it.
    """
    name, _, given = data.partition(":")
    if name not in _KINDS:
        raise ValueError(f"data={data!r} names no planted market; known are {', '.join(_KINDS)}.")
    kind = _KINDS[name]
    parts = given.split(":") if ":" in data else []
    readers = (_assets, _share, *kind.rest)
    values = [read(part) for read, part in zip(readers, parts, strict=False)]
    if len(parts) > len(readers) or None in values:
        form = f"{name}:A:STRENGTH{_PLACES.get(name, '')}"
        raise ValueError(
            f"data={data!r}: write {form} with a whole number of assets from 1 on and {kind.shown}, such as"
            f" {kind.example} or {name}:30."
        )
    num_assets, strength, *rest = [*values, *(30, kind.strength)[len(values) :]]
    return PlantedData(num_assets, strength, None if kind.make is None else kind.make(num_assets, strength, *rest))


def _assets(text: str) -> int | None:
    return int(text) if text.isdigit() and int(text) >= 1 else None
