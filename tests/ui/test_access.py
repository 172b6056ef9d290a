"""Who may ask: tokens, origins, names of the server, sizes of bodies."""

import contextlib
import http.client
import os

import pytest

from tests.ui.projects import served

pytest.importorskip("fastapi", reason="the control room needs the extra `ui`")
import httpx

from ploutos_jax.ui.api.access import Access, check_address, read_token
from ploutos_jax.ui.api.app import make_app

TOKEN = "a-token-of-many-signs"
PAUSE = "/api/queue"
NOT_PAUSED = {"paused": False}


@pytest.fixture
def guarded(project):
    with served(make_app(project, token=TOKEN)) as asked:
        asked.headers["host"] = "room.example"
        yield asked


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.com"])
def test_an_address_that_others_reach_needs_a_token(host):
    with pytest.raises(ValueError, match="so a token is needed"):
        check_address(host, None)
    check_address(host, TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_s_own_address_needs_none(host):
    check_address(host, None)


def test_a_token_comes_from_the_environment_or_a_file_that_nobody_else_can_read(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o640)
    with pytest.raises(ValueError, match="can be read by others .mode 640.; chmod 600"):
        read_token(str(file), {})
    file.chmod(0o600)
    assert read_token(str(file), {"PLOUTOS_TOKEN": "x"}) == TOKEN
    assert read_token(None, {"PLOUTOS_TOKEN": TOKEN}) == TOKEN and read_token(None, {}) is None
    with pytest.raises(ValueError, match="at least 16 signs"):
        read_token(None, {"PLOUTOS_TOKEN": "short"})
    with pytest.raises(ValueError, match="cannot be read"):
        read_token(str(tmp_path / "none"), {})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": TOKEN},
        {"authorization": "Basic " + TOKEN},
        {"cookie": f"ploutos_token={TOKEN}"},
        {"cookie": "ploutos_token="},
        {"authorization": "Bearer"},
        {"authorization": "Bearer \xe9".encode("latin-1")},
    ],
)
def test_without_the_token_nothing_is_told(guarded, headers):
    for path in ("/api/runs", "/live", "/plotly.js", "/api/openapi.json", "/nowhere"):
        assert guarded.get(path, headers=headers).status_code == 401
    assert guarded.post(PAUSE, json=NOT_PAUSED, headers=headers).status_code == 401


def test_with_the_token_all_is_as_without(guarded):
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert len(guarded.get("/api/runs", headers=headers).json()) == 2
    assert guarded.get("/healthz").status_code == 200


def test_a_browser_gives_the_token_once(guarded):
    page = guarded.get("/live", headers={"accept": "text/html"})
    assert page.status_code == 401 and "<form" in page.text
    assert guarded.post("/login", data={"token": "wrong"}).status_code == 401
    answer = guarded.post("/login", data={"token": TOKEN})
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 303 and "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
    assert guarded.get("/api/runs").status_code == 200
    assert guarded.post("/login", content=b"token=" + b"x" * 5000).status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://127.0.0.1.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:8787"},
        {"host": ""},
    ],
)
def test_another_site_is_refused(client, headers):
    assert client.get("/api/runs", headers=headers).status_code == 403
    assert client.post(PAUSE, json=NOT_PAUSED, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:1", "host": "localhost:1"},
        {"sec-fetch-site": "same-origin"},
        {"host": "localhost:1"},
    ],
)
def test_this_server_s_own_pages_are_not(client, headers):
    assert client.post(PAUSE, json=NOT_PAUSED, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", ""]
)
def test_what_a_form_of_another_site_can_send_changes_nothing(client, kind):
    answer = client.post(PAUSE, content=b'{"paused": true}', headers={"content-type": kind})
    assert answer.status_code == 415


def test_a_web_socket_of_another_site_is_refused():
    async def accept(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "in"})

    handshake = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with served(Access(accept, token=None, key="k", uploads={})) as asked:
        own = f"http://{asked.base_url.netloc.decode()}"
        wrong = ({"origin": "http://evil.example"}, {"host": "evil.example"}, {"sec-fetch-site": "cross-site"})
        for headers in wrong:
            assert asked.get("/_stcore/stream", headers=handshake | headers).status_code == 403
        assert asked.get("/_stcore/stream", headers=handshake | {"origin": own}).status_code == 101


def test_every_answer_says_how_browsers_may_use_it(client):
    for answer in (client.get("/api/runs"), client.get("/live"), client.get("/api/runs", headers={"host": "evil"})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert "default-src 'self'" in client.get("/live").headers["content-security-policy"]


def test_a_body_that_says_it_is_a_gigabyte_is_refused_before_it_is_read(project):
    with served(make_app(project, max_upload_mb=1)) as client:
        for path in ("/api/data/files/big.csv", "/api/runs", "/_stcore/upload_file/x"):
            asked = http.client.HTTPConnection("127.0.0.1", client.base_url.port, timeout=10)
            asked.putrequest("PUT", path)
            asked.putheader("Content-Length", str(2**30))
            asked.putheader("Content-Type", "application/octet-stream")
            asked.endheaders(b"date,close\n")
            assert asked.getresponse().status == 413
            asked.close()
        # One that does not say how large it is, is cut off at the limit.
        kind = {"content-type": "application/octet-stream"}
        with contextlib.suppress(httpx.WriteError):
            answer = client.put("/api/data/files/big.csv", content=iter([b"x" * 2**16] * 64), headers=kind)
            assert answer.status_code == 413
    assert list((project.own / "uploads").glob("*")) == [] and os.listdir(project.root / "data") == ["bars.csv"]
