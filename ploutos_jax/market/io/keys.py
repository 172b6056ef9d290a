"""What the folders that a file lies in say of it."""

from pathlib import Path


def keys_of(path: Path) -> dict[str, str]:
    """Return what the names of the folders above a file say of it, `{"ticker": "AAPL"}` of `ticker=AAPL`."""
    parts = [name.partition("=") for name in path.parts[:-1] if "=" in name]
    return {key: value for key, _, value in parts}
