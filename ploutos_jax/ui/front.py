"""The front end as an ASGI application: Streamlit's, in the colours of the reports, under one known address."""

import contextlib
import functools
import importlib
import re
from pathlib import Path
from typing import Any

import streamlit
from starlette.responses import HTMLResponse
from starlette.types import Receive, Scope, Send
from streamlit import config
from streamlit.starlette import App

PAGES = ("data", "train", "watch", "models", "evaluate", "compare", "sweeps", "paper", "jobs")
"""Paths of the pages besides `/`."""
_SCRIPT = Path(__file__).parent / "pages" / "app.py"
_INDEX = Path(streamlit.__file__).parent / "static" / "index.html"
_ADDRESS = "<script>window.__streamlit = { BACKEND_BASE_URL: location.origin }</script>"
"""Without it a page opened by its own path first asks below that path, in vain."""
_CHUNKS = Path(streamlit.__file__).parent / "static" / "static" / "js"
_TABLE, _CHART = "DataFrame.*.js", "PlotlyChart.*.js"
_DRAWN: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("/data", "/sweeps"), (_TABLE,)),
    "/paper": (_TABLE, _CHART),
}
"""Parts of Streamlit's own script that a page will need, by its path; a browser asks for them at once then."""
_WHEN_IDLE = '<script>addEventListener("load",()=>setTimeout(()=>import("ADDRESS").catch(()=>{}),WAIT))</script>'
_WAITS = {_TABLE: "1500", _CHART: "6000"}
"""Milliseconds: most pages have tables; two draw by Plotly, whose script stops a page for a moment while it is read."""
_NEEDS = re.compile(r"""from\s*["']\./([\w.-]+\.js)["']|import\s*["']\./([\w.-]+\.js)["']""")
"""What a module of Streamlit's script cannot run without."""
_USED = (
    *("pandas", "pyarrow", "plotly.graph_objects", "plotly.io", "streamlit.elements.arrow"),
    "streamlit.elements.plotly_chart",
    *(f"ploutos_jax.ui.pages.{page}" for page in ("start", *PAGES)),
)
"""What the first viewer of a page would have to wait for."""
_OPTIONS = {
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "server.fileWatcherType": "none",
    "server.headless": True,
    "theme.light.primaryColor": "#1f5fe0",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f6f7f9",
    "theme.light.textColor": "#1b2430",
    # The lines of the reports: of Streamlit's own, the first two are both blue. Fewer than ten were not taken.
    "theme.light.chartCategoricalColors": [
        "#1f5fe0",
        "#d97706",
        "#0f9d76",
        "#c2408f",
        "#7a5af0",
        "#8a6d3b",
        "#0c8fb3",
        "#c0392b",
        "#5c7a29",
        "#6b7280",
    ],
    "theme.dark.primaryColor": "#3b78e7",
    "theme.dark.backgroundColor": "#12161c",
    "theme.dark.secondaryBackgroundColor": "#1a2028",
    "theme.dark.textColor": "#e8ebf0",
    "theme.dark.chartCategoricalColors": [
        "#6ea1ff",
        "#f5a742",
        "#3ccfa0",
        "#ee7fc0",
        "#a994ff",
        "#c9a96a",
        "#48c4e8",
        "#ff8a7a",
        "#a3c45c",
        "#9aa3b0",
    ],
}


class Front:
    """Streamlit with this package's pages.

    Args:
        address: of the API.
        key: by which the API knows its own pages.
        max_upload_mb: the largest file that a page takes, in MB.
    """

    def __init__(self, address: str, key: str, max_upload_mb: int) -> None:
        for name, value in {**_OPTIONS, "server.maxUploadSize": max_upload_mb}.items():
            config.set_option(name, value)
        self._app = App(_SCRIPT, secrets={"api": {"address": address, "key": key}})
        self.lifespan: Any = self._app.lifespan()
        index = _INDEX.read_text(encoding="utf-8").replace("<head>", f"<head>{_ADDRESS}", 1)
        self._pages = {path: index.replace("</head>", f"{_hints(path)}</head>", 1) for path in _paths()}

    def load(self) -> None:
        """Import what pages use, so that the first viewer of one does not wait for it."""
        for name in _USED:
            with contextlib.suppress(ImportError):  # another Streamlit may have it elsewhere
                importlib.import_module(name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "http" and scope["path"] in self._pages and scope["method"] in ("GET", "HEAD"):
            page = self._pages[scope["path"]]
            await HTMLResponse(page, headers={"cache-control": "no-cache"})(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _paths() -> tuple[str, ...]:
    return "/", *(f"/{page}" for page in PAGES)


def _hints(path: str) -> str:
    """Return what tells a browser which scripts the page needs at once, and has it read the others when it is idle."""
    now, found = _DRAWN.get(path, ()), []
    for pattern in (_TABLE, _CHART):
        for file in sorted(_CHUNKS.glob(pattern)):
            if pattern in now:
                # The modules that it imports too, or a browser hears of them only when it has read it.
                found += [f'<link rel="modulepreload" href="/static/js/{name}">' for name in _with_needs(file.name)]
            else:
                address = f"/static/js/{file.name}"
                found.append(_WHEN_IDLE.replace("ADDRESS", address).replace("WAIT", _WAITS[pattern]))
    return "".join(found)


@functools.cache
def _with_needs(name: str) -> tuple[str, ...]:
    """Return a module of Streamlit's script and all that it imports, directly or not."""
    found, left = [], [name]
    while left:
        name = left.pop()
        file = _CHUNKS / name
        if name not in found and file.is_file():
            found.append(name)
            text = file.read_text(encoding="utf-8", errors="replace")
            left += [one or other for one, other in _NEEDS.findall(text)]
    return tuple(found)
