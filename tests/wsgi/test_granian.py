"""granian reads status and headers as soon as the app has returned, and only then its body."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.servers.running import PATIENCE, Kind, Server

pytestmark = pytest.mark.slow

KIND = Kind(
    lambda port: [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"),
        *("--port", str(port), "tests.wsgi.granian_site:application"),
    ]
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    settings = {"SECRET_KEY": "k" * 32, "S2S_TOKEN": "x", "S2S_WORKER": "external"}
    server = Server(KIND, tmp_path, {"FOLDER": str(tmp_path), **settings})
    yield server.wait()
    server.kill()


def ask(server: Server, path: str, came_from: str, method: str = "GET") -> requests.Response:
    said = {"Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin" if came_from else "none"}
    if came_from:
        said["Referer"] = server.url + came_from
    url = server.url + path
    return requests.request(method, url, headers=said, timeout=PATIENCE, allow_redirects=False)


def test_a_landing_keeps_its_status_and_its_headers_and_goes_on(server: Server) -> None:
    organic = ask(server, "/", "")
    landing = ask(server, "/?ps_xid=aBc", "")
    assert (landing.status_code, landing.content) == (200, organic.content)
    assert landing.headers["Content-Security-Policy"] == "default-src 'self'"
    assert landing.headers["Cache-Control"] == "private, no-store"
    assert landing.headers["Set-Cookie"].startswith("s2s=1")
    assert "Set-Cookie" not in ask(server, "/", "").headers

    missing = ask(server, "/nosuch?ps_xid=aBc", "")
    assert (missing.status_code, "Set-Cookie" in missing.headers) == (404, True)

    sent = ask(server, "/stream", "/?ps_xid=aBc")
    assert sent.status_code == 302
    page = f"/stream{sent.headers['Location']}"
    stream = ask(server, page, "/?ps_xid=aBc")
    assert (stream.status_code, stream.headers["X-Stream"]) == (203, "yes")
    assert stream.text == "one two three"
    assert stream.headers["Referrer-Policy"] == "same-origin"
    assert ask(server, "/signup", page, "POST").text == "carried"
