"""The cards of Panel and Market: what a person wants to know of them at a glance.

Objects inside a program, whose arrays are being traced, have cards too: of shapes alone.
"""

from collections.abc import Sequence

import numpy as np

from ploutos_jax.market.display import Card, few, is_known, plural, present, share_of
from ploutos_jax.market.labels import UNKNOWN_SECTOR, Labelled, name_moment
from ploutos_jax.market.panel import SCALES, Market, Panel

_PRICES = ("open", "high", "low", "close", "volume")


def card_of_panel(panel: Panel) -> Card:
    """Return the card of a panel."""
    columns = present([(name, getattr(panel, name)) for name in (*_PRICES, "dividend", "split", "buyable", *SCALES)])
    rows = [("columns", columns)]
    rows += [("signals", few(list(panel.signals)))] if panel.signals else []
    if is_known(panel.close):
        bars = np.isfinite(np.asarray(panel.close))
        rows.append(("bars present", f"{share_of(bars)} of the grid; {share_of(np.asarray(panel.tradable))} tradable"))
    brief = [f"{len(panel.signals)} signal{'' if len(panel.signals) == 1 else 's'}"] if panel.signals else []
    return _card("Panel", panel, brief, rows, getattr(panel, "path_end", None))


def card_of_market(market: Market) -> Card:
    """Return the card of a market."""
    names = list(market.feature_names)
    number = _shape(market.features)[-1:] or (len(names),)
    rows = [("features", few(names))] if names else []
    more = ("dividend", "split", "delisted", "atr", "volatility", "adv", "buyable", *SCALES)
    rows.append(("columns", present([(name, getattr(market, name)) for name in (*_PRICES, *more)])))
    if is_known(market.tradable):
        rows.append(("tradable", f"{share_of(np.asarray(market.tradable))} of the grid"))
    return _card("Market", market, [plural(number[0], "feature")], rows, market.path_end)


def _card(
    kind: str, labelled: Labelled, brief: Sequence[str], rows: Sequence[tuple[str, str]], path_end: object
) -> Card:
    shape = _shape(labelled.close)
    size = [plural(shape[1], "ticker"), plural(shape[0], "bar")] if len(shape) == 2 else [f"shape {shape}"]
    several = _several_paths(path_end)
    paths = [several] if several else []
    labels = labelled.labels
    if labels is None:
        return Card(kind, [*size, *paths, *brief, "no labels"], rows)
    span = f"{name_moment(labels.times[0])} to {name_moment(labels.times[-1])}" if len(labels.times) else "no bar"
    known = [sector for sector in dict.fromkeys(labels.sectors) if sector != UNKNOWN_SECTOR]
    notes = [plural(len(labels.notes), "note")] if labels.notes else []
    head = [("tickers", few(labels.symbols)), ("bars", f"{plural(len(labels.times), 'bar')}, {span}")]
    if labels.calendar is not None or is_known(labelled.sessions):
        head.append(("calendar", labelled.calendar.describe()))
    head += [("sectors", few(known))] if known else []
    tail = [("notes", f"{len(labels.notes):,} in .notes; the first: {labels.notes[0]}")] if labels.notes else []
    return Card(kind, [*size, span, *paths, *brief, *notes], [*head, *rows, *tail])


def _several_paths(path_end: object) -> str:
    if not is_known(path_end):
        return ""
    number = len(np.unique(np.asarray(path_end)))
    return plural(number, "path") if number > 1 else ""


def _shape(array: object) -> tuple[int, ...]:
    return tuple(getattr(array, "shape", ()))
