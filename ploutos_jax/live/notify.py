"""Words to whoever watches: a line in the log, a webhook, a command. None of them ever stops the trading."""

import json
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Sequence

_TIMEOUT_SECONDS = 10
Say = Callable[[str, str], None]
"""`(kind, text)`, such as ("daily loss", "A, B: not bought at ...")."""


def to_log(kind: str, text: str) -> None:
    """Write a line to stderr."""
    print(f"{kind}: {text}", file=sys.stderr, flush=True)


def to_webhook(url: str) -> Say:
    """Return what posts `{"kind": ..., "text": ...}` as JSON to an address.

    Raises:
        ValueError: if it is no address of the web.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError("The webhook is no address that begins with http:// or https://.")

    def post(kind: str, text: str) -> None:
        data = json.dumps({"kind": kind, "text": text}).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS).close()

    return post


def to_command(command: str) -> Say:
    """Return what runs a command, such as one that sends mail: the kind is its last argument, the text its input."""
    words = shlex.split(command)
    if not words:
        raise ValueError("The command for notices is empty.")

    def call(kind: str, text: str) -> None:
        subprocess.run([*words, kind], input=text, text=True, timeout=_TIMEOUT_SECONDS, check=True, capture_output=True)

    return call


def to_all(ways: Sequence[Say]) -> Say:
    """Return what tells all; one that fails is named in the log, without its address or what it said."""

    def tell(kind: str, text: str) -> None:
        for way in ways:
            try:
                way(kind, text)
            except Exception as error:  # a notice that fails must not end the trading
                to_log("notice", f"could not be sent ({type(error).__name__})")

    return tell
