"""Behind a cache that all visitors share, and through a site's redirects, each keeps one's own click."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask, redirect, request

from tests.capture.sites import Answer, MakeSite, Site, WSGIApp, cookie_of, visit

#: What a cache may keep by these rules, as careless ones do: whatever does not forbid it.
FORBIDS = ("private", "no-store")


class SharedCache:
    """In front of an app. It leaves the query out of its keys, so that campaigns hit it."""

    def __init__(self, app: WSGIApp) -> None:
        self._app = app
        self._kept: dict[str, tuple[str, list[tuple[str, str]], list[bytes]]] = {}
        self.hits = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path in self._kept:
            self.hits += 1
        else:
            answer = self._ask(environ)
            control = ",".join(v for n, v in answer[1] if n.lower() == "cache-control")
            if any(word in control for word in FORBIDS):
                start_response(*answer[:2])
                return answer[2]
            self._kept[path] = answer
        status, headers, body = self._kept[path]
        start_response(status, headers)
        return body

    def _ask(self, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], list[bytes]]:
        started: list[Any] = []
        body = self._app(
            environ, lambda status, headers, exc=None: started.extend((status, headers))
        )
        pieces = list(body)
        getattr(body, "close", lambda: None)()
        return started[0], started[1], pieces


def is_public(app: Flask) -> None:
    """Let every page be kept by caches for an hour, as its site wishes."""

    @app.after_request
    def public(response: Any) -> Any:
        response.headers["Cache-Control"] = "public, max-age=3600"
        return response


def click_of(site: Site, answer: Answer) -> str | None:
    click = site.load(answer)
    return None if click is None else click.click_id


def test_a_shared_cache_hands_nobody_anothers_click(site: Site) -> None:
    is_public(site.app)
    cache = SharedCache(site.app)
    seen = [click_of(site, visit(cache, f"ps_xid={name}", path="/a")) for name in ("ada", "bob")]
    assert seen == ["ada", "bob"]
    assert [visit(cache, path="/a").cookie for _ in range(2)] == [None, None]
    assert cache.hits == 1, "a page without a click is the cache's, as ever"


def _slash() -> Any:
    return "there"


def _moved() -> Any:
    return redirect("/there", 301)


def _with_query() -> Any:
    return redirect("/there?" + request.query_string.decode(), 302)


def _secure() -> Any:
    return redirect(request.url.replace("http:", "https:", 1).partition("?")[0], 308)


def _www() -> Any:
    return redirect("http://shop.example/there", 303)


#: Where the visitor lands, and what answers: some of them drop the query.
REDIRECTS = {
    "a trailing slash": ("/slash", "/slash/", _slash),
    "a moved page": ("/moved", "/moved", _moved),
    "the query taken along": ("/query", "/query", _with_query),
    "https": ("/secure", "/secure", _secure),
    "the bare domain": ("/www", "/www", _www),
}


@pytest.mark.parametrize("name", REDIRECTS)
def test_a_redirect_that_drops_the_parameter_drops_no_click(make_site: MakeSite, name: str) -> None:
    site = make_site()
    path, rule, view = REDIRECTS[name]
    site.app.add_url_rule(rule, endpoint=name, view_func=view)
    answer = site.visit("ps_xid=ada", path=path)
    assert answer.status[:3] in ("301", "302", "303", "308")
    if name == "https":
        # Set here the cookie would be without Secure: it is set where this leads.
        assert answer.cookie is None
        target = urlsplit(answer.values("Location")[0])
        answer = site.visit(target.query, path="/", host=target.netloc, scheme=target.scheme)
    seen = site.click_seen(cookie=cookie_of(answer), host="shop.example", scheme="https")
    assert seen[0] == "ada"
    assert answer.attributes["domain"] == "shop.example"
