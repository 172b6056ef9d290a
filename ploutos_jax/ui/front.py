"""The front end as an ASGI application: Streamlit's, in the colours of the reports, under one known address."""

from pathlib import Path
from typing import Any

import streamlit
from starlette.responses import HTMLResponse
from starlette.types import Receive, Scope, Send
from streamlit import config
from streamlit.starlette import App

PAGES = ("data", "train", "watch", "models", "evaluate", "compare", "jobs")
"""Paths of the pages besides `/`."""
_SCRIPT = Path(__file__).parent / "pages" / "app.py"
_INDEX = Path(streamlit.__file__).parent / "static" / "index.html"
_ADDRESS = "<script>window.__streamlit = { BACKEND_BASE_URL: location.origin }</script>"
"""Without it a page opened by its own path first asks below that path, in vain."""
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
    "theme.dark.primaryColor": "#6ea1ff",
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
        self._index = _INDEX.read_text(encoding="utf-8").replace("<head>", f"<head>{_ADDRESS}", 1)
        self._paths = frozenset({"/", *(f"/{page}" for page in PAGES)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "http" and scope["path"] in self._paths and scope["method"] in ("GET", "HEAD"):
            await HTMLResponse(self._index, headers={"cache-control": "no-cache"})(scope, receive, send)
        else:
            await self._app(scope, receive, send)
