"""Who may ask: a token where one is set, requests from this server's own pages, bodies of a bounded size."""

import hashlib
import hmac
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_VARIABLE = "PLOUTOS_TOKEN"
COOKIE = "ploutos_token"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SHORTEST = 16
_MOST_BODY = 2**20
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_OPEN = frozenset({"/login", "/healthz"})
_LOGIN_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>ploutos</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>body{font:16px system-ui;max-width:24rem;margin:15vh auto;padding:0 1rem;color-scheme:light dark}
input,button{font:inherit;width:100%;padding:.6rem;margin:.4rem 0;box-sizing:border-box}</style>
<h1>ploutos</h1><form method="post" action="/login"><label>Token
<input name="token" type="password" autofocus></label><button>Open</button></form></html>
"""


def read_token(file: str | None, environment: Mapping[str, str]) -> str | None:
    """Return the token that is asked for, from a file or the environment; None where there is none.

    Args:
        file: path of a file that nobody but its owner may read (mode 600).
        environment: its `PLOUTOS_TOKEN` is the token where no file is given.

    Raises:
        ValueError: if others may read the file, it cannot be read, or the token is shorter than 16 signs.
    """
    if file is None:
        token, source = environment.get(TOKEN_VARIABLE), TOKEN_VARIABLE
    else:
        try:
            mode = stat.S_IMODE(os.stat(file).st_mode)
            token, source = Path(file).read_text(encoding="utf-8").strip(), file
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"The token file {file} cannot be read: {error}") from None
        if mode & 0o077:
            raise ValueError(f"The token file {file} can be read by others (mode {mode:o}); chmod 600 {file}.")
    if token is not None and (len(token) < _SHORTEST or not token.isascii() or not token.isprintable()):
        raise ValueError(f"The token in {source} must have at least {_SHORTEST} signs, all of them ASCII.")
    return token


def check_address(host: str, token: str | None) -> None:
    """Make sure that an address which others reach is not served without a token.

    Raises:
        ValueError: if it would be.
    """
    if host not in LOOPBACK and token is None:
        raise ValueError(
            f"--host {host} can be reached from other machines, so a token is needed: put one of at least {_SHORTEST}"
            f" signs into a file of mode 600 and give it as --token FILE, or into {TOKEN_VARIABLE}."
        )


class Access:
    """ASGI middleware before everything that is served, web sockets included.

    Refused are: requests without the token, where one is set (401); names of this server that are not its own, unless a
    token is set (a page elsewhere could point its name here; 403); requests from another site or origin (403); changes
    that are not sent as JSON or as bytes, which a form of another site cannot send (415); bodies that are too large
    (413).

    Args:
        app: what is served.
        token: which people give, or None.
        key: which the front end of this very server gives.
        uploads: path prefixes of requests with a large body, and how many bytes each may have.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, key: str, uploads: Mapping[str, int]) -> None:
        self._app, self._token, self._key, self._uploads = app, token, key, dict(uploads)
        self._cookie = None if token is None else _digest(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope, Headers(scope=scope))
        if refusal is None and scope["type"] == "http" and scope["path"] == "/login" and scope["method"] == "POST":
            refusal = await self._log_in(scope, receive)
        if refusal is not None:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})
            else:
                refusal.headers.update(_HEADERS)
                await refusal(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        await self._app(scope, self._bounded(scope, receive), _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if self._token is None and _name_of(host) not in LOOPBACK:
            return _no(403, "This server answers to 127.0.0.1 and localhost; a token is needed for other names.")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        is_page = scope["type"] == "http" and scope["method"] in _SAFE and not scope["path"].startswith("/api")
        if origin is not None and origin.partition("://")[2] != host:
            return _no(403, "The request comes from another origin.")
        if site not in ("none", "same-origin") and not is_page:
            return _no(403, "The request comes from another site.")
        path = scope["path"]
        if not self._is_known(headers) and path not in _OPEN:
            if scope["type"] == "http" and "text/html" in headers.get("accept", ""):
                return HTMLResponse(_LOGIN_PAGE, status_code=401)
            return _no(401, "A token is needed: Authorization: Bearer TOKEN.")
        if scope["type"] == "http" and scope["method"] not in _SAFE:
            return self._refused_body(path, headers)
        return None

    def _refused_body(self, path: str, headers: Headers) -> Response | None:
        length = headers.get("content-length", "0")
        if not length.isdigit() or len(length) > 15:
            return _no(400, "The length of the body is no number.")
        if int(length) > self._most(path):
            return _no(413, f"The body is larger than {self._most(path):,} bytes, the most that is taken here.")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        has_body = length != "0" or "transfer-encoding" in headers
        is_form = kind in ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
        if path.startswith("/api") and has_body and (is_form or not kind):
            return _no(415, "Send JSON (Content-Type: application/json), or the bytes of a file.")
        return None

    def _is_known(self, headers: Headers) -> bool:
        if self._token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and (_same(given, self._token) or _same(given, self._key)):
            return True
        cookies = [part.strip().partition("=") for part in headers.get("cookie", "").split(";")]
        return any(name == COOKIE and _same(value, self._cookie or "") for name, _, value in cookies)

    async def _log_in(self, scope: Scope, receive: Receive) -> Response:
        from urllib.parse import parse_qs

        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > 4096:
                return _no(413, "The body is too large.")
            if not message.get("more_body"):
                break
        given = parse_qs(body.decode("utf-8", errors="replace")).get("token", [""])[0]
        if self._token is None or not _same(given, self._token):
            return HTMLResponse(_LOGIN_PAGE, status_code=401)
        response = Response(status_code=303, headers={"location": "/"})
        response.set_cookie(COOKIE, self._cookie or "", httponly=True, samesite="strict")
        return response

    def _most(self, path: str) -> int:
        return max((most for prefix, most in self._uploads.items() if path.startswith(prefix)), default=_MOST_BODY)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """Cut a body off that is sent in parts and grows too large."""
        left = self._most(scope["path"])

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            return message if left >= 0 else {"type": "http.disconnect"}

        return bounded


def _with_headers(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            named = {name.lower() for name, _ in message.get("headers", [])}
            more = [(n.encode(), v.encode()) for n, v in _HEADERS.items() if n.encode() not in named]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return with_headers


def _same(given: str, wanted: str) -> bool:
    """Compare in a time that does not tell how much is right."""
    return hmac.compare_digest(given.encode(), wanted.encode())


def _digest(token: str) -> str:
    return hashlib.sha256(b"cookie of the control room: " + token.encode()).hexdigest()


def _name_of(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _no(status: int, detail: Any) -> Response:
    return JSONResponse({"detail": detail}, status_code=status)
