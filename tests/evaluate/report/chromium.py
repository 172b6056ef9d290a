"""A page in headless Chromium, driven through its debugging socket: what it logs, how wide it is, how it looks."""

import asyncio
import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tornado.websocket import WebSocketClientConnection, websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0"),
)


class View(NamedTuple):
    """A window: width and height in pixels, theme, and whether it is a phone."""

    width: int
    height: int
    theme: str
    phone: bool = False


class Look(NamedTuple):
    """What a page did in one window.

    Attributes:
        messages: all that it logged, errors included.
        requests: addresses that it asked for.
        answers: what the expressions came to.
        picture: PNG of the whole page.
    """

    messages: list[str]
    requests: list[str]
    answers: list[Any]
    picture: bytes


def find_chromium() -> str | None:
    """Return the path of a Chromium on this machine, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def look_at(page: Path, folder: Path, views: Sequence[View], expressions: Sequence[str] = ()) -> list[Look]:
    """Return how a page does in each window.

    Args:
        page: HTML file.
        folder: empty, for the browser's profile.
        views: windows.
        expressions: JavaScript to evaluate in each, in order.
    """
    program = find_chromium()
    assert program is not None
    command = [program, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as browser:
        try:
            assert browser.stderr is not None
            address = next(line.split()[-1] for line in browser.stderr if line.startswith("DevTools listening on"))
            return asyncio.run(_look_at(address, page, views, expressions))
        finally:
            browser.terminate()
            assert browser.stderr is not None
            browser.stderr.read()


async def _look_at(address: str, page: Path, views: Sequence[View], expressions: Sequence[str]) -> list[Look]:
    socket = await websocket_connect(address)
    browser, looks = _Session(socket), []
    for view in views:
        target = (await browser.ask("Target.createTarget", url="about:blank"))["targetId"]
        session = (await browser.ask("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        looks.append(await _look(_Session(socket, session), page, view, expressions))
        await browser.ask("Target.closeTarget", targetId=target)
    socket.close()
    while await socket.read_message() is not None:
        pass
    return looks


async def _look(tab: "_Session", page: Path, view: View, expressions: Sequence[str]) -> Look:
    for domain in ("Page", "Runtime", "Log", "Network"):
        await tab.ask(f"{domain}.enable")
    await tab.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": view.theme}])
    size = {"width": view.width, "height": view.height, "deviceScaleFactor": 2 if view.phone else 1}
    await tab.ask("Emulation.setDeviceMetricsOverride", mobile=view.phone, **size)
    await tab.ask("Page.navigate", url=page.resolve().as_uri())
    await tab.wait_for("Page.loadEventFired")
    answers = []
    for expression in expressions:
        answer = await tab.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        answers.append(answer["result"].get("value"))
    picture = await tab.ask("Page.captureScreenshot", captureBeyondViewport=True, format="png")
    messages = [
        json.dumps(event["params"])
        for event in tab.events
        if event["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
    ]
    asked = [e["params"]["request"]["url"] for e in tab.events if e["method"] == "Network.requestWillBeSent"]
    return Look(messages, asked, answers, base64.b64decode(picture["data"]))


class _Session:
    """Questions to one tab (or to the browser itself), and the events that came in between."""

    def __init__(self, socket: WebSocketClientConnection, session: str | None = None) -> None:
        self.socket, self.session, self.events, self._number = socket, session, [], 0

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        question = {"id": self._number, "method": method, "params": params}
        await self.socket.write_message(json.dumps(question | ({"sessionId": self.session} if self.session else {})))
        while True:
            message = await self._read()
            if message.get("id") == self._number and message.get("sessionId") == self.session:
                assert "error" not in message, message
                return message["result"]

    async def wait_for(self, event: str) -> None:
        while all(seen["method"] != event for seen in self.events):
            await self._read()

    async def _read(self) -> dict[str, Any]:
        text = await asyncio.wait_for(self.socket.read_message(), 60)
        assert text is not None, "Chromium closed the socket."
        message = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message
