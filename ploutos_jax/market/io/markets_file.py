"""What exchanges say of their markets, in a file beside their bars: `FILE.markets.json`."""

import json
from collections.abc import Sequence
from pathlib import Path

from ploutos_jax.market.instrument import Venue


def facts_file(path: Path) -> Path:
    """Return where the facts of the markets of a file of bars lie."""
    return path.with_name(f"{path.name}.markets.json")


def read_venues(files: Sequence[Path]) -> dict[str, Venue]:
    """Return what the exchanges of files of bars say, by ticker; nothing where no such file is.

    Raises:
        ValueError: if one cannot be read, naming the file and the market.
    """
    found: dict[str, Venue] = {}
    for path in map(facts_file, files):
        if not path.is_file():
            continue
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            rows = {str(ticker): dict(facts) for ticker, facts in plain.items()}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{path} cannot be read as facts of markets ({error}); download them again, or remove the file."
            ) from None
        found |= {ticker: Venue.read(facts, f"{path}, {ticker}") for ticker, facts in rows.items()}
    return found
