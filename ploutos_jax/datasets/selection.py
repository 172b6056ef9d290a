"""Which tickers and which rows of a history a run uses: named universes, the most traded, spans of dates."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ploutos_jax.market.labels import Labelled, read_date
from ploutos_jax.market.panel import Panel

UNIVERSES: dict[str, tuple[str, ...]] = {
    "momentum": ("NVDA", "TSLA", "AMD", "MSTR"),
    "tech": ("MSFT", "AAPL", "GOOGL", "META"),
    "indices": ("SPY", "QQQ", "IWM", "DIA"),
    "sectors": ("XLE", "XLF", "XLK", "XLV", "XLI"),
}
"""Lists of tickers by a name in small letters, which no ticker has: those of the guide of Ploutos V3."""

_APART = ".."


class HasSpan(Protocol):
    """What of a `DataConfig` says which bars are trained on."""

    @property
    def spans(self) -> str | None: ...
    @property
    def start(self) -> str | None: ...
    @property
    def end(self) -> str | None: ...
    @property
    def holdout(self) -> float: ...


def expand_tickers(tickers: Sequence[str]) -> tuple[str, ...]:
    """Return tickers with the names of `UNIVERSES` among them replaced by what they stand for; each ticker once."""
    named = [UNIVERSES.get(ticker, (ticker,)) for ticker in tickers]
    if all(len(each) == 1 for each in named):
        return tuple(tickers)  # one given twice is an error, which the reader of the file tells
    return tuple(dict.fromkeys(ticker for each in named for ticker in each))


def read_spans(text: str) -> tuple[tuple[str, str], ...]:
    """Return the first and last date of each span of "2019-01-01..2021-12-31,2023-01-01..2024-12-31".

    Raises:
        ValueError: if it is no such text, or spans overlap or are not in order of time.
    """
    spans = []
    for part in text.split(","):
        first, apart, last = (word.strip() for word in part.partition(_APART))
        if not apart or not first or not last:
            raise ValueError(f"spans={text!r}: {part.strip()!r} is no span; write FIRST..LAST, several with commas.")
        begin, end = (read_date(date, "spans") for date in (first, last))
        if begin > end:
            raise ValueError(f"spans={text!r}: {first} lies after {last}; exchange them.")
        # In the unit of the earlier end: an end of 2021 stands for the whole year.
        if spans and begin.astype(read_date(spans[-1][1], "spans").dtype) <= read_date(spans[-1][1], "spans"):
            raise ValueError(
                f"spans={text!r}: {first}..{last} must begin after {spans[-1][1]}, where the one before ends."
            )
        spans.append((first, last))
    return tuple(spans)


def training_rows(bars: Labelled, config: HasSpan) -> tuple[slice, ...]:
    """Return the rows of a history that a run trains on, one slice for each of its spans, in order of time.

    Without spans it is one slice, up to `end` or, without that, up to the last share `holdout`.

    Raises:
        ValueError: if a span holds no bar.
    """
    if config.spans is not None:
        return tuple(bars.find_rows(first, last) for first, last in read_spans(config.spans))
    rows = bars.find_rows(config.start, config.end)
    stop = rows.stop
    if config.end is None and config.holdout > 0:
        stop = max(rows.start + 1, round(rows.stop - config.holdout * (rows.stop - rows.start)))
    return (slice(rows.start, stop),)


def most_traded(panel: Panel, count: int) -> tuple[str, ...]:
    """Return the tickers with the highest median of dollars traded in a bar, most first; a missing bar counts as 0.

    Raises:
        ValueError: if there is no volume at all.
    """
    dollars = np.nan_to_num(np.asarray(panel.close, np.float64) * np.asarray(panel.volume, np.float64))
    dollars = np.median(np.where(np.asarray(panel.tradable), dollars, 0), axis=0)
    if not np.asarray(panel.volume).any():
        raise ValueError(
            f"liquid={count} needs to know what was traded, and the data has no volume on the training bars; name"
            " tickers instead (tickers)."
        )
    order = np.argsort(-dollars, kind="stable")[:count]
    return tuple(panel.symbols[i] for i in order if dollars[i] > 0)
