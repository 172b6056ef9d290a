"""Tickers as others choose them: what is refused, how they are shown, and which file names they make."""

import sys
import unicodedata

import pytest

from ploutos_jax.market.tickers import LONGEST_FILE_PART, file_part, find_control, has_marks, show_marks, show_ticker

RESERVED = (
    "CON",
    "..",
    ".",
    "a/b",
    "a\\b",
    "A:B",
    "A*?",
    "=cmd()|' /C calc'!A0",
    "+1",
    "@x",
    "\tA",
    "ÄÖ",
    "٣",
    "x" * 300,
)


def test_every_unseen_character_becomes_an_escape():
    unseen = [
        chr(n) for n in range(sys.maxunicode + 1) if unicodedata.category(chr(n)) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    ]
    for char in unseen:
        shown = show_marks(f"A{char}B")
        assert shown == f"A{char}B" if char in "\n\t\r" else char not in shown and shown.isascii(), hex(ord(char))
        assert (find_control(char) is not None) != has_marks(char)


@pytest.mark.parametrize("ticker", ["AAPL", "BRK.B", "^GSPC", "ES=F", "מניה", "株", "BTC/USD", "A B", "−"])
def test_other_tickers_stay_as_they_are(ticker):
    assert show_marks(ticker) == show_ticker(ticker) == ticker
    assert find_control(ticker) is None and not has_marks(ticker)


@pytest.mark.parametrize("ticker", RESERVED)
def test_file_names_are_short_and_hold_no_separators(ticker):
    name = file_part(ticker)
    assert len(name) <= LONGEST_FILE_PART and not set(name) & set("/\\:*?\"<>|\t=+@'") and name.isascii()


def test_no_two_tickers_share_a_file_name():
    tickers = [
        *RESERVED,
        "AAPL",
        "aapl",
        "Aapl",
        "x" * 299 + "y",
        "x" * 299 + "%",
        "ä" * 90,
        "ä" * 89 + "b",
        "straße",
        "STRASSE",
    ]
    names = [file_part(ticker, tickers) for ticker in tickers]
    assert len({name.casefold() for name in names}) == len(tickers)
    assert file_part("AAPL", ["AAPL", "MSFT"]) == "AAPL" and file_part("aapl") == "aapl"


def test_a_long_ticker_is_shown_by_its_beginning():
    assert show_ticker("x" * 300) == "x" * 59 + "…" and show_ticker("R\u202eTXT") == "R\\u202eTXT"
