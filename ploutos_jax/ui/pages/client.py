"""The API as the pages see it: every page asks it, none reads a file."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import streamlit as st

_SECONDS = 200.0
"""A file of bars may take minutes to read."""


class RefusedError(Exception):
    """What the API said of a request that it refused, as a sentence for people."""


class Api:
    """The API of the server that these pages belong to.

    Args:
        address: such as http://127.0.0.1:8787.
        key: by which the server knows its own pages.
    """

    def __init__(self, address: str, key: str) -> None:
        headers = {"authorization": f"Bearer {key}"}
        self._client = httpx.Client(base_url=address, headers=headers, timeout=_SECONDS, trust_env=False)

    def get(self, path: str, /, **query: str | Sequence[str]) -> Any:
        """Return what there is at a path; text where it is no JSON."""
        return self._answer(self._client.get(path, params=httpx.QueryParams(query)))

    def post(self, path: str, content: Mapping[str, Any]) -> Any:
        """Ask for something to be done."""
        return self._answer(self._client.post(path, json=dict(content)))

    def put(self, path: str, content: bytes) -> Any:
        """Send a file."""
        headers = {"content-type": "application/octet-stream"}
        return self._answer(self._client.put(path, content=content, headers=headers))

    def delete(self, path: str, /, **query: str) -> None:
        """Have something removed."""
        self._answer(self._client.delete(path, params=httpx.QueryParams(query)))

    def _answer(self, response: httpx.Response) -> Any:
        is_json = response.headers.get("content-type", "").startswith("application/json")
        if response.is_success:
            return response.json() if is_json and response.content else response.text
        detail = response.json().get("detail") if is_json else response.text
        if isinstance(detail, list):  # what does not fit the description of the request
            detail = "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in detail)
        raise RefusedError(str(detail))


@st.cache_resource
def _api(address: str, key: str) -> Api:
    return Api(address, key)


def api() -> Api:
    """Return the API of this server, one connection for all pages."""
    return _api(st.secrets["api"]["address"], st.secrets["api"]["key"])
