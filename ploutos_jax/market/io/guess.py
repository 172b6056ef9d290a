"""What the columns of an unknown file may be: a proposal for the person to type, never a reading.

Guessed from names that hold a known word, in some languages, and from the first rows: what looks like a date, and four
neighbours of which the second is never below the others and the third never above.
"""

import re
from collections.abc import Sequence

_WORDS = {
    "ticker": r"ticker|symbol|isin|instrument|security|stock|asset|code",
    "date": r"date|datum|fecha|^data$|day$|^tag$|time|zeit|epoch|period",
    "open": r"open|er(ö|oe)ffnung|erster|apertura|ouverture|abertura|^first",
    "high": r"high|hoch|h(ö|oe)chst|m(á|a|à)x|haut|^max",
    "low": r"low|tief|m(í|i)n\b|m(í|i)nim|plus_bas|^bas$|^min",
    "close": r"close|schlu(ss|ß)|cierre|cl(ô|o)ture|dernier|(ú|u)ltimo|fechamento|last|settle|price|kurs|nav",
    "volume": r"vol|umsatz|st(ü|ue)ck|quantity|shares|qty|turnover",
}
DATE = re.compile(
    r"\d{4}[-/.]\d\d?[-/.]\d\d?([T ].*)?|\d\d?[-/. ](\d\d?|[A-Za-z]{3,9})[-/. ]\d{2,4}( .*)?|\d{8}(\s.*)?|\d{10,19}"
    r"|[A-Za-z]{3,9}\.? \d\d?,? \d{4}"
)
CLOCK = re.compile(r"\d\d?:\d\d(:\d\d(\.\d+)?)?( ?[AaPp][Mm])?")
_PRICES = ("open", "high", "low", "close")


def guess_columns(names: Sequence[str], rows: Sequence[Sequence[str]], roles: set[str]) -> dict[str, int]:
    """Return the place of the column of each role, as far as names or rows tell.

    Args:
        names: of the columns, in lower case; empty where there is none.
        rows: the first rows as texts; may be empty.
        roles: those wanted.
    """
    cells = [
        [row[place].strip() for row in rows if place < len(row) and row[place].strip()] for place in range(len(names))
    ]
    found: dict[str, int] = {}
    for role in [role for role in ("date", *_PRICES, "volume", "ticker") if role in roles]:
        free = [place for place in range(len(names)) if place not in found.values()]
        fits = DATE if role == "date" else None
        for place in free:
            if re.search(_WORDS[role], names[place]) and _may_be(role, cells[place], fits):
                found[role] = place
                break
    free = [place for place in range(len(names)) if place not in found.values()]
    if "date" in roles and "date" not in found:
        dates = [place for place in free if cells[place] and all(DATE.fullmatch(cell) for cell in cells[place])]
        found.update({"date": dates[0]} if dates else {})
    if "time" in roles:
        clocks = [place for place in free if cells[place] and all(CLOCK.fullmatch(cell) for cell in cells[place])]
        found.update({"time": clocks[0]} if clocks else {})
    if not found.keys() & set(_PRICES) and roles >= set(_PRICES):
        found |= _prices_by_value(cells, [place for place in free if place not in found.values()], "volume" in roles)
    if "close" in roles and not found.keys() & set(_PRICES):
        numbers = [place for place in free if place not in found.values() and cells[place]]
        numbers = [place for place in numbers if all(_number(cell) is not None for cell in cells[place])]
        found.update({"close": numbers[0]} if numbers else {})
    return found


def _may_be(role: str, cells: Sequence[str], form: re.Pattern[str] | None) -> bool:
    if not cells:
        return True
    if role == "ticker":
        return not any(_number(cell) is not None and "." in cell for cell in cells)
    return all(form.fullmatch(cell) if form else _number(cell) is not None for cell in cells)


def _prices_by_value(cells: Sequence[Sequence[str]], free: Sequence[int], with_volume: bool) -> dict[str, int]:
    """Return the places of open, high, low and close, and of the volume behind them, by what the rows hold."""
    numbers = {place: [_number(cell) for cell in cells[place]] for place in free}
    good = [place for place in free if numbers[place] and None not in numbers[place]]
    for first in range(len(good) - 3):
        group = good[first : first + 4]
        rows = list(zip(*(numbers[place] for place in group), strict=False))
        if all(o is not None and h >= max(o, l, c) and l <= min(o, c) and l > 0 for o, h, l, c in rows):  # noqa: E741
            found: dict[str, int] = dict(zip(_PRICES, group, strict=True))
            if with_volume and first + 4 < len(good):
                found["volume"] = good[first + 4]
            return found
    return {}


def _number(text: str) -> float | None:
    """Return a number however it is written: $1,234.5, 100,5 or 1.2M; None for what is none."""
    bare = re.sub(r"^[$€£¥]|[KMBkmb%]$", "", text.strip())
    if re.fullmatch(r"[+-]?\d+,\d{1,2}|[+-]?\d{1,3}(\.\d{3})+,\d+|\d{1,3}(\.\d{3}){2,}", bare):
        bare = bare.replace(".", "").replace(",", ".")
    try:
        return float(bare.replace(",", ""))
    except ValueError:
        return None
