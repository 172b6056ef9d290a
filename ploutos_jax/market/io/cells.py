"""Cells of a file to numbers: decimal commas, thousands, currency signs, 1.2M."""

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from ploutos_jax.market.io.columns import Source, find_first

MISSING = ("", "-", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None", "none")
Decimal = Literal["point", "comma"]

_SIGN = r"(?:[+-]?(?:US\$|[$€£¥])?|(?:US\$|[$€£¥])[+-])"
_UNIT = r"[KMBTkmbt]?"
_IS_COMMA = "|".join(
    (
        rf"{_SIGN}\d{{1,3}}(?:\.\d{{3}})+,\d+{_UNIT}",
        rf"{_SIGN}\d+,(?:\d{{1,2}}|\d{{4,}}){_UNIT}",
        rf"{_SIGN}(?:0|\d{{4,}}),\d+{_UNIT}",
        rf"{_SIGN}\d{{1,3}}(?:\.\d{{3}}){{2,}}{_UNIT}",
    )
)
_IS_POINT = "|".join(
    (
        rf"{_SIGN}\d{{1,3}}(?:,\d{{3}})+\.\d+{_UNIT}",
        rf"{_SIGN}\d+\.(?:\d{{1,2}}|\d{{4,}}){_UNIT}",
        rf"{_SIGN}(?:0|\d{{4,}})\.\d+{_UNIT}",
        rf"{_SIGN}\d{{1,3}}(?:,\d{{3}}){{2,}}{_UNIT}",
    )
)
_HAS_COMMA = rf"{_SIGN}\d+(?:[.,]\d+)*,\d+(?:[.,]\d+)*{_UNIT}"
_GROUPED = {
    "point": rf"{_SIGN}(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d*)?{_UNIT}",
    "comma": rf"{_SIGN}(?:\d{{1,3}}(?:\.\d{{3}})+|\d+)(?:,\d*)?{_UNIT}",
}
_SIZES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def find_decimal(columns: Sequence[pd.Series], source: Source) -> Decimal:
    """Return whether a file's numbers have a decimal point or a decimal comma.

    A comma before three digits, as in 1,234, may be either; another number of the file has to tell.

    Args:
        columns: those of prices, volume and the like.
        source: the file, for messages.

    Raises:
        ValueError: naming the first number that tells otherwise than the others, or that nothing tells of.
    """
    doubtful = None
    comma, point = None, None
    for column in columns:
        if pd.api.types.is_numeric_dtype(column):
            point = point or ("a number" if _has_short_fraction(column) else None)
            continue
        texts = _texts(column)
        for form in (_IS_COMMA, _IS_POINT, _HAS_COMMA):
            found = texts.str.fullmatch(form).to_numpy(bool)
            if not found.any():
                continue
            if form == _IS_COMMA:
                comma = comma or (column, found)
            elif form == _IS_POINT:
                point = point or str(column.iloc[int(np.argmax(found))])
            else:
                doubtful = doubtful or (column, found)
    if comma and point:
        raise ValueError(
            f"{find_first(*comma, source)} has a decimal comma, and another number ({point}) a decimal point; write all"
            " numbers with a point."
        )
    if doubtful and not comma and not point:
        raise ValueError(
            f"{find_first(*doubtful, source)} may have a decimal comma or be a thousand; say which:"
            f" {source.say('decimal=comma')}, or decimal=point."
        )
    return "comma" if comma else "point"


def _has_short_fraction(column: pd.Series) -> bool:
    """Return whether a number has a fraction of other than three digits, which no thousands can look like."""
    values = column.to_numpy(np.float64, na_value=np.nan)
    values = np.abs(values[np.isfinite(values)])
    in_hundredths, in_thousandths = values * 100, values * 1000
    whole = values == np.round(values)
    short = np.abs(in_hundredths - np.round(in_hundredths)) < 1e-6
    long = np.abs(in_thousandths - np.round(in_thousandths)) > 1e-4
    return bool((~whole & (short | long)).any())


def _texts(column: pd.Series) -> pd.Series:
    return column.astype(object).where(column.notna(), "").map(str).str.strip()


def parse_numbers(column: pd.Series, source: Source, decimal: Decimal, *, is_count: bool = False) -> np.ndarray:
    """Return `[N]` float64, NaN where nothing is written.

    Args:
        column: of the file.
        source: the file, for messages.
        decimal: as `find_decimal` says.
        is_count: of shares, which may be written as 1.2M.

    Raises:
        ValueError: naming the first cell that is no number.
    """
    numbers, bad = to_numbers(column, decimal)
    if bad.any():
        texts = _texts(column)
        fits = texts.str.fullmatch(_GROUPED[decimal])
        if not is_count:
            fits &= ~texts.str.fullmatch(r".*[A-Za-z]")
        again = bad & fits.to_numpy(bool)
        numbers[again] = [_read(text, decimal) for text in texts[again]]
        bad &= ~again
    if bad.any():
        raise ValueError(f"{find_first(column, bad, source)} is not a number; correct it or leave it blank.")
    return numbers


def _read(text: str, decimal: Decimal) -> float:
    size = _SIZES.get(text[-1].upper(), 1.0)
    bare = re.sub(r"US\$|[$€£¥A-Za-z]", "", text)
    bare = bare.replace(",", "") if decimal == "point" else bare.replace(".", "").replace(",", ".")
    return float(bare) * size


def to_numbers(column: Any, decimal: Decimal = "point") -> tuple[np.ndarray, np.ndarray]:
    """Return `[N]` float64, NaN where missing, and `[N]` bool where there is something else than a plain number."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(np.float64, na_value=np.nan).copy(), np.zeros(len(column), bool)
    texts = _texts(column)
    plain = texts
    if decimal == "comma":
        # A point is no decimal point here: 1.234 is a thousand, read by its groups or not at all.
        plain = texts.where(~texts.str.contains(".", regex=False), "?").str.replace(",", ".", regex=False)
    numbers = np.asarray(pd.to_numeric(plain, errors="coerce"), np.float64).copy()
    return numbers, np.isnan(numbers) & ~texts.isin(MISSING).to_numpy(bool)
