"""A response with the cookie is for one visitor; every other response is the site's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, abort, redirect, stream_with_context
from flask import request as current

from tests.capture.sites import Answer, MakeSite, Site, cookie_of, make_app, visit

FOR_CACHES = [
    ("Cache-Control", "public, max-age=600, s-maxage=86400"),
    ("cache-control", "immutable"),
    ("Expires", "Thu, 01 Jan 2032 00:00:00 GMT"),
    ("Pragma", "cache"),
    ("CDN-Cache-Control", "max-age=86400"),
    ("Cloudflare-CDN-Cache-Control", "max-age=86400"),
    ("Vercel-CDN-Cache-Control", "max-age=86400"),
    ("Netlify-CDN-Cache-Control", "public, durable, max-age=86400"),
    ("Akamai-Cache-Control", "max-age=86400"),
    ("X-LiteSpeed-Cache-Control", "public,max-age=86400"),
    ("Surrogate-Control", "max-age=86400"),
    ("SURROGATE-CONTROL", "content='ESI/1.0'"),
    ("Edge-Control", "cache-maxage=1d"),
    ("X-Accel-Expires", "86400"),
]
HARMLESS = [
    ("Surrogate-Key", "pages landing"),
    ("Vary", "Accept-Language"),
    ("ETag", '"v1"'),
    ("X-Frame-Options", "DENY"),
    ("Set-Cookie", "session=of-the-site; Path=/"),
]


def add_pages(app: Flask) -> None:
    """Pages that do all they can to be kept by a cache."""

    @app.after_request
    def cacheable(response: Response) -> Response:
        for name, value in [*FOR_CACHES, *HARMLESS]:
            response.headers.add(name, value)
        return response

    @app.get("/static-page")
    def static_page() -> str:
        return "<p>for everybody</p>"

    @app.get("/conditional")
    def conditional() -> Any:
        response = Response("<p>body</p>")
        response.set_etag("v1")
        # Else Werkzeug dates it, and two requests that meet the turn of a second differ.
        response.date = datetime(2026, 1, 1, tzinfo=timezone.utc)
        return response.make_conditional(current)

    @app.get("/away")
    def away() -> Any:
        return redirect("/static-page", 301)

    @app.get("/missing")
    def missing() -> str:
        abort(404)

    @app.get("/stream")
    def stream() -> Response:
        def pieces() -> Iterator[str]:
            yield from ("one ", "two ", current.args.get("sid", "three"))

        return Response(stream_with_context(pieces()))


PATHS = ["/static-page", "/conditional", "/away", "/missing", "/stream"]


@pytest.fixture
def cached_site(make_site: MakeSite) -> Site:
    site = make_site()
    add_pages(site.app)
    return site


@pytest.fixture
def bare(tmp_path: Path) -> Callable[..., Answer]:
    """The same site without the extension."""
    app = make_app(tmp_path / "bare", {})
    add_pages(app)
    return lambda *query, **request: visit(app, *query, **request)


@pytest.mark.parametrize("path", PATHS)
def test_a_response_with_the_cookie_is_kept_by_no_cache(
    cached_site: Site, bare: Callable[..., Answer], path: str
) -> None:
    answer = cached_site.visit("ps_xid=abc", path=path, HTTP_IF_NONE_MATCH='"v1"')
    expected = bare("ps_xid=abc", path=path, HTTP_IF_NONE_MATCH='"v1"')
    assert answer.cookie is not None
    assert answer.values("Cache-Control") == ["private, no-store"]
    left = {name.lower() for name, _ in answer.headers}
    assert left.isdisjoint({name.lower() for name, _ in FOR_CACHES} - {"cache-control"})
    # All else is the site's.
    ours = {name.lower() for name, _ in FOR_CACHES}
    if path == "/away":
        # A visitor without cookies would lose the click with the redirect.
        ours.add("location")
        assert answer.values("Location") == ["/static-page?ps_xid=abc&s2s_hop=1"]
    assert (answer.status, answer.body) == (expected.status, expected.body)
    kept = [(n, v) for n, v in answer.headers if n.lower() not in ours and v != answer.cookie]
    assert kept == [(n, v) for n, v in expected.headers if n.lower() not in ours]


def test_a_304_with_the_cookie_is_private_too(cached_site: Site) -> None:
    answer = cached_site.visit("ps_xid=abc", path="/conditional", HTTP_IF_NONE_MATCH='"v1"')
    assert answer.status == "304 NOT MODIFIED"
    assert answer.cookie is not None
    assert answer.values("Cache-Control") == ["private, no-store"]


ORDINARY: dict[str, dict[str, Any]] = {
    "plain": {},
    "query": {"query": "utm_source=x&sid=1"},
    "looks-like-a-click": {"query": "xid=1&ps_xid=%00&ps_xid"},
    "post": {"query": "ps_xid=abc", "method": "POST"},
    "head": {"query": "ps_xid=abc", "method": "HEAD"},
    "of-no-click": {"query": "ps_xid=%00", "HTTP_USER_AGENT": "Googlebot/2.1"},
}
#: Landings that are nobody's: what they are shown must not answer somebody's.
IGNORED: dict[str, dict[str, Any]] = {
    "robot": {"HTTP_USER_AGENT": "Googlebot/2.1"},
    "prefetch": {"HTTP_SEC_PURPOSE": "prefetch"},
    "image": {"HTTP_SEC_FETCH_DEST": "image"},
}


@pytest.mark.parametrize("name", IGNORED)
def test_a_landing_that_is_ignored_is_kept_by_no_cache_either(
    cached_site: Site, bare: Callable[..., Answer], name: str
) -> None:
    answer = cached_site.visit("ps_xid=abc", path="/static-page", **IGNORED[name])
    expected = bare("ps_xid=abc", path="/static-page", **IGNORED[name])
    assert (answer.cookie, cached_site.rows()) == (None, [])
    assert answer.values("Cache-Control") == ["private, no-store"]
    assert (answer.status, answer.body) == (expected.status, expected.body)


@pytest.mark.parametrize("path", ["/", *PATHS])
def test_any_other_response_is_the_same_byte_for_byte(
    cached_site: Site, bare: Callable[..., Answer], path: str
) -> None:
    kept = cookie_of(cached_site.visit("ps_xid=kept"))
    for name, request in ORDINARY.items():
        for cookie in (None, kept, "s2s=junk"):
            expected = bare(path=path, cookie=cookie, **request)
            assert cached_site.visit(path=path, cookie=cookie, **request) == expected, name


@pytest.mark.parametrize("path", ["/", *PATHS])
def test_a_click_that_is_kept_changes_nothing(
    cached_site: Site, bare: Callable[..., Answer], path: str
) -> None:
    cookie = cookie_of(cached_site.visit("ps_xid=kept"))
    cached_site.clock.advance(minutes=5)
    answer = cached_site.visit("ps_xid=kept", path=path, cookie=cookie)
    assert answer == bare("ps_xid=kept", path=path, cookie=cookie)
