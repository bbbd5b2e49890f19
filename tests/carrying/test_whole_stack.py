"""Any app, any request: the response is the app's own, but for what is meant.

Meant are our own redirects, our cookie, `Cache-Control` with what else lets caches keep a response,
`Referrer-Policy`, and that a page with a token asks for no reports. `S2S_TEST_CASES` is how many
cases are made, 2,000 by itself (with more, `-o faulthandler_timeout=0`).
"""

from __future__ import annotations

import io
import os
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from ada_url import URL

from flask_s2s import Click, S2SMiddleware, Services, Settings
from flask_s2s.capture.token import NONCE, TokenSigner
from flask_s2s.testing import ManualClock

CASES = int(os.environ.get("S2S_TEST_CASES", "2000"))
HOST = "www.shop.example"
ORIGIN = f"https://{HOST}"
#: What a token in a query string is to an app that must not see it.
HIDDEN = re.compile(r"(^|&)s2s_xid(?:=[^&]*)?(?=&|$)")
OURS = {"set-cookie", "referrer-policy", "expires", "pragma", "surrogate-control"}
#: Would have browsers tell others the address of the page.
REPORTS = {"nel", "reporting-endpoints"}
Headers = list[tuple[str, str]]
Answer = tuple[list[tuple[str, Headers]], int, bytes]

STATUSES = ["200 OK", "200 ok then", "201 CREATED", "204 NO CONTENT", "206 PARTIAL CONTENT"]
STATUSES += ["301 MOVED", "302 FOUND", "303 SEE OTHER", "304 NOT MODIFIED", "404 NOT FOUND"]
STATUSES += ["422 UNPROCESSABLE", "500 OOPS", "999 odd"]
HEADERS: Headers = [
    *(("Content-Type", kind) for kind in ("text/html", "text/html; charset=utf-16", "image/png")),
    *(("Content-Length", length) for length in ("0", "3", "nonsense")),
    ("Content-Encoding", "gzip"),
    ("ETag", '"v1"'),
    ("Vary", "Referer"),
    ("Set-Cookie", "session=of-the-site; Path=/"),
    ("Link", "</style.css>; rel=preload"),
    ("Content-Security-Policy", "default-src 'none'"),
    ("NEL", "{}"),
    ("Reporting-Endpoints", 'main="/r"'),
    ("Location", "/elsewhere"),
    ("Location", "https://other.example/?s2s_xid="),
    ("Cache-Control", "public, max-age=60"),
    ("CDN-Cache-Control", "max-age=60"),
    ("Expires", "0"),
    *(("Referrer-Policy", policy) for policy in ("no-referrer", "unsafe-url", "origin", "x, y")),
    ("X-Odd", "caf\xe9"),
]
BODY = [b"", b"<a href=/x>", b"<form>", b"</", b"<base href=//evil.example>", b"\x00\xff", b"&amp"]


class App:
    """An app that answers as it was made to, and tells in its body what it was asked."""

    def __init__(self, chance: random.Random) -> None:
        self.status = chance.choice(STATUSES)
        self.headers = chance.sample(HEADERS, chance.randrange(6))
        self.pieces = [chance.choice(BODY) for _ in range(chance.randrange(4))]
        self.way = chance.choice(["list", "iterator", "late", "write", "again", "raises"])
        self.called = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.called += 1
        seen = [environ.get(name, "") for name in ("QUERY_STRING", "HTTP_REFERER", "RAW_URI")]
        pieces = [*self.pieces, repr(seen).encode()]
        if self.way == "raises":
            raise LookupError("in the app")
        if self.way == "late":
            return self._late(start_response, pieces)
        write = start_response(self.status, list(self.headers))
        if self.way == "again":
            try:
                raise LookupError("in the app")
            except LookupError as error:
                start_response("500 AGAIN", [], (type(error), error, None))
        if self.way == "write":
            for piece in pieces:
                write(piece)
            return []
        return pieces if self.way == "list" else iter(pieces)

    def _late(self, start_response: Any, pieces: list[bytes]) -> Iterator[bytes]:
        start_response(self.status, list(self.headers))
        yield from pieces


def answered(app: Any, environ: dict[str, Any]) -> Answer:
    """Return each start of the response, how many there were at the return, and the body."""
    starts: list[tuple[str, Headers]] = []
    written: list[bytes] = []

    def start_response(status: str, headers: Headers, exc_info: Any = None) -> Any:
        starts.append((status, headers))
        return written.append

    body = app(dict(environ), start_response)
    at_return = len(starts)
    return starts, at_return, b"".join([*written, *body])


def _outcome(app: Any, environ: dict[str, Any]) -> Answer | str:
    try:
        return answered(app, environ)
    except LookupError as error:
        return str(error)


class World:
    """One site, and what may be sent to it."""

    def __init__(self, folder: Path, seed: int, **config: Any) -> None:
        self.chance = random.Random(seed)
        self.clock = ManualClock()
        config = {"SECRET_KEY": "k" * 32, "TESTING": True, "S2S_CLICK_RATE": 0, **config}
        settings = Settings.from_mapping(config)
        self.services = Services.build(settings, folder=folder, clock=self.clock)
        self.services.start_serving()
        self._tokens = TokenSigner(settings.secret_keys, timedelta(days=90))

    def token(self, to: str | None = None) -> str:
        click = Click(click_id=self.chance.choice("abc"), at=self.clock.now())
        return self._tokens.dumps(click, self.clock.now(), self.chance.randbytes(NONCE), to)

    def query(self) -> str:
        chance = self.chance
        parts = [
            "a=1",
            "sid=mine",
            "",
            "x",
            "ps_xid=a",
            "gsxid=b",
            "ps_xid=%00",
            "xid=1",
            "\xff=\xe9",
        ]
        parts += [f"s2s_xid={self.token(to)}" for to in (None, HOST, f"{HOST}/p")]
        parts += ["s2s_xid=junk", "s2s_xid", "s2s_xid=%0d%0aX:1", "a\tb", "redirect_uri=/x"]
        return "&".join(chance.choice(parts) for _ in range(chance.randrange(4)))

    def path(self) -> str:
        """Return a path as a browser sends it."""
        odd = [
            "/",
            "//",
            "a",
            "b.html",
            "c.pdf",
            "%2f",
            "%2e%2e",
            "%5c",
            ":",
            "%09",
            "%c3%a9",
            "%FF",
        ]
        odd += ["evil.example", "@", "..;", "%3f", "%23", "'", "~", "%0d%0a", "%00"]
        text = "/" + "".join(self.chance.choice(odd) for _ in range(self.chance.randrange(5)))
        return URL(f"{ORIGIN}{text}").pathname

    def environ(self) -> dict[str, Any]:
        chance, path, query = self.chance, self.path(), self.query()
        environ = {
            "REQUEST_METHOD": chance.choice(["GET"] * 6 + ["POST", "HEAD", "PUT", "OPTIONS"]),
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": f"{path}?{query}" if query else path,
            "HTTP_HOST": chance.choice([HOST] * 8 + ["evil.example", ""]),
            "HTTP_ACCEPT": chance.choice(["text/html,*/*", "*/*", "application/json"]),
            "wsgi.url_scheme": chance.choice(["http", "https"]),
            "wsgi.input": io.BytesIO(),
        }
        said = {
            "HTTP_REFERER": [f"{ORIGIN}/p?{self.query()}"] * 3
            + [f"https://evil.example/?{self.query()}", "http://[?xid", f"?{self.query()}"],
            "HTTP_SEC_FETCH_SITE": ["same-origin"] * 3 + ["cross-site", "same-site", "none"],
            "HTTP_SEC_FETCH_DEST": ["document"] * 3 + ["iframe", "image", "empty", "worker"],
            "HTTP_SEC_PURPOSE": ["", "", "prefetch", "prefetch;prerender"],
            "HTTP_COOKIE": ["a=1", "s2s=junk", "s2s=; s2s=1x.y", f"s2s={self._record()}"],
            "HTTP_USER_AGENT": ["Mozilla/5.0", "Googlebot/2.1"],
            "HTTP_ORIGIN": [ORIGIN, "null"],
            "HTTP_UPGRADE": ["websocket"],
            "HTTP_SEC_GPC": ["1"],
        }
        often = {"HTTP_REFERER": 0.9, "HTTP_SEC_FETCH_SITE": 0.8, "HTTP_SEC_FETCH_DEST": 0.8}
        for name, values in said.items():
            if chance.random() < often.get(name, 0.15):
                environ[name] = chance.choice(values)
        return environ

    def _record(self) -> str:
        click = Click(click_id="kept", at=self.clock.now())
        return self.services.signer.dumps(click)


def hidden(environ: dict[str, Any]) -> dict[str, Any]:
    """Return the request without a token, by a rule of this test's own."""
    less = dict(environ)
    less["QUERY_STRING"] = _hidden(environ["QUERY_STRING"])
    for name in ("HTTP_REFERER", "RAW_URI"):
        front, mark, query = environ.get(name, "").partition("?")
        if mark and HIDDEN.search(query):
            kept = _hidden(query)
            less[name] = f"{front}?{kept}" if kept else front
    return less


def _hidden(query: str) -> str:
    kept = [part for part in query.split("&") if part.partition("=")[0] != "s2s_xid"]
    return "&".join(kept) if HIDDEN.search(query) else query


def comparable(environ: dict[str, Any], start: tuple[str, Headers]) -> tuple[str, Headers]:
    """Return a start of a response without what is ours to say."""
    status, headers = start
    drop = {*OURS}
    if status.startswith("3") and re.search(r"(^|&)(ps_xid|gsxid)=", environ["QUERY_STRING"]):
        drop.add("location")  # a landing's own parameters go along
    if any("s2s_xid" in environ.get(name, "") for name in ("QUERY_STRING", "HTTP_REFERER")):
        drop |= REPORTS
    left = [(n, v) for n, v in headers if n.lower() not in drop]
    return status, [(n, v) for n, v in left if not n.lower().endswith("cache-control")]


def judge(environ: dict[str, Any], starts: list[tuple[str, Headers]], body: bytes) -> str:
    """Hold a redirect of ours to be to the same origin and path; return what it was for."""
    [(status, headers)] = starts
    assert (status, body) == ("302 Found", b"")
    said = {name: value for name, value in headers if name != "Set-Cookie"}
    assert said.keys() == {"Location", "Content-Length", "Cache-Control", "Referrer-Policy"}
    assert said["Cache-Control"] == "private, no-store"
    assert said["Referrer-Policy"] == "same-origin"
    assert re.fullmatch(r"(\./[^/\\?]*)?(\?[!-~ ]*)?", said["Location"])
    base = URL(f"{ORIGIN}{environ['RAW_URI']}")
    there = URL(said["Location"], base=base.href)
    assert there.origin == base.origin
    assert unquote_to_bytes(there.pathname) == unquote_to_bytes(base.pathname)
    assert there.pathname.count("/") == base.pathname.count("/")
    assert environ["REQUEST_METHOD"] == "GET"
    kept = _hidden(environ["QUERY_STRING"])
    same = URL(f"?{kept}", base=base.href).search.replace(" ", "%20")
    assert _hidden(there.search.removeprefix("?")) == same.removeprefix("?")
    if "s2s_xid=" in said["Location"]:
        assert "s2s=" not in environ.get("HTTP_COOKIE", "")
        assert environ.get("HTTP_SEC_FETCH_SITE", "same-origin") == "same-origin"
        assert environ.get("HTTP_SEC_FETCH_DEST", "document") == "document"
        return "sent on"
    assert "s2s_xid=" in environ["QUERY_STRING"]
    return "cleaned"


@pytest.mark.parametrize("seed", [1, 4])
@pytest.mark.parametrize("consent", [None, "granted", "pending", "denied"], ids=str)
def test_the_response_is_the_apps_own(tmp_path: Path, seed: int, consent: str | None) -> None:
    config = {} if consent is None else {"S2S_CONSENT": lambda _environ: consent}
    world, happened = World(tmp_path, seed, **config), Counter[str]()
    for _ in range(CASES // 8):
        world.clock.advance(minutes=1)
        app, environ = App(world.chance), world.environ()
        site = S2SMiddleware(app, world.services, expose=world.chance.random() < 0.5)
        expected, answer = _outcome(app, hidden(environ)), _outcome(site, environ)
        if isinstance(expected, str) and app.called == 2:
            assert answer == expected
            continue
        assert not isinstance(answer, str)
        starts, at_return, body = answer
        if app.called == 1:
            assert at_return == 1
            happened[judge(environ, starts, body)] += 1
            assert consent is None or "s2s_xid=" not in dict(starts[0][1])["Location"]
            continue
        happened["passed"] += 1
        assert not isinstance(expected, str)
        assert (at_return, body) == expected[1:]
        assert [comparable(environ, one) for one in starts] == [
            comparable(environ, one) for one in expected[0]
        ]
    assert happened.keys() == {"passed", "cleaned"} | ({"sent on"} if consent is None else set())


def test_every_redirect_leads_to_the_same_page(tmp_path: Path) -> None:
    world, happened = World(tmp_path, 3), Counter[str]()
    app = App(world.chance)
    site = S2SMiddleware(app, world.services, expose=False)
    for number in range(CASES // 2):
        path = world.path()
        cleans = number % 2
        query = (
            f"s2s_xid={world.token()}" if cleans else world.chance.choice(["", "a=1&&b=%7E", "?"])
        )
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": f"{path}?{query}" if query else path,
            "HTTP_HOST": HOST,
            "HTTP_REFERER": "" if cleans else f"{ORIGIN}/?ps_xid=aBc{number}",
            "HTTP_SEC_FETCH_SITE": "none" if cleans else "same-origin",
            "HTTP_SEC_FETCH_DEST": "document",
        }
        app.way = "list"
        before = app.called
        starts, _, body = answered(site, environ)
        if app.called == before:
            happened[judge(environ, starts, body)] += 1
        else:
            # What looks like a file is left alone.
            assert re.search(rb"\.(?!html\Z)[^/]*\Z", unquote_to_bytes(path), re.DOTALL)
    assert happened["sent on"] > CASES // 8
    assert happened["cleaned"] > CASES // 8
