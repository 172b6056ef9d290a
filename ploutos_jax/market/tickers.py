"""What may be a ticker, and how one is shown and made part of a file's name, whoever chose it."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import quote

LONGEST_FILE_PART = 100
"""Characters of a file's name that a ticker may take; most disks hold names of 255 bytes."""


LONGEST_SHOWN = 60
"""Characters of a ticker in a heading."""
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
"""Controls, marks of direction and of width zero, breaks of lines: Unicode's Cc, Cf, Cs, Zl and Zp."""


def find_control(text: str) -> str | None:
    """Return the first character that no name may hold, or None: controls, breaks of lines, lone surrogates."""
    return next((char for char in text if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")), None)


def has_marks(text: str) -> bool:
    """Return whether a name holds characters that are not seen: marks of direction, of width zero."""
    return any(unicodedata.category(char) == "Cf" for char in text)


def show_marks(text: str) -> str:
    r"""Return a text with unseen characters as escapes, so that none turns what stands beside it: R\u202eTXT.

    Line breaks and tabs stay.
    """
    return _UNSEEN.sub(lambda match: _escape(match[0]), text)


def _escape(char: str) -> str:
    number = ord(char)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def show_ticker(ticker: str) -> str:
    """Return a ticker for a heading: its beginning where it is longer than any exchange's, unseen characters shown."""
    shown = show_marks(ticker)
    return shown if len(shown) <= LONGEST_SHOWN else shown[: LONGEST_SHOWN - 1] + "…"


def file_part(ticker: str, others: Iterable[str] = ()) -> str:
    """Return a ticker as part of a file's name that every system takes, and no two share.

    Characters that a file name or a link cannot hold become %XX. Where the name is long, or another of `others` differs
    by upper and lower case alone, a hash of the ticker is added: disks that do not tell them apart would keep one.

    Args:
        ticker: whose file it is.
        others: those that get a file in the same folder.
    """
    name = quote(ticker, safe="")
    clashes = any(other != ticker and other.casefold() == ticker.casefold() for other in others)
    if len(name) <= LONGEST_FILE_PART and not clashes:
        return name
    mark = "-" + hashlib.sha256(ticker.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    cut = name[: LONGEST_FILE_PART - len(mark)]
    # Not in the middle of %XX.
    return (cut[: cut.rfind("%")] if "%" in cut[-2:] else cut) + mark
