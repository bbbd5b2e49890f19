"""Behind a real shared cache one visitor's click never reaches another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Response, render_template_string

from tests.caches.nginx import Cache, cached
from tests.capture.sites import MakeSite, Site

#: A cache that tells campaigns apart by nothing, as many are set up to have more hits.
WITHOUT_QUERY = "proxy_cache_key $host$uri;"
#: The same, and it keeps a page whatever cookie that sets.
CARELESS = f"{WITHOUT_QUERY} proxy_ignore_headers Set-Cookie Vary Expires;"
#: The cure for such a cache: a landing goes to the site.
PASSING = "proxy_cache_bypass $arg_ps_xid$arg_gsxid$arg_s2s_xid;"
RULES = {"by-url": "", "without-query": WITHOUT_QUERY, "careless": CARELESS}

PAGE = '<link rel="canonical" href="{{ request.url }}"><a href="/signup">Join</a>'


def make_pages(site: Site) -> Any:
    """Pages that the site wants every cache to keep."""

    @site.app.get("/page", endpoint="kept")
    def page() -> str:
        return render_template_string(PAGE)

    @site.app.after_request
    def keep(response: Response) -> Response:
        response.headers["Cache-Control"] = "public, max-age=600"
        response.headers["X-Accel-Expires"] = "600"
        return response

    site.app.register_blueprint(site.s2s.capture_blueprint(), url_prefix="/_s2s")
    return site.app


def nothing_of_anybody(answer: requests.Response) -> bool:
    return "Set-Cookie" not in answer.headers and "s2s_xid" not in answer.text


@pytest.fixture(params=RULES)
def rules(request: pytest.FixtureRequest) -> str:
    return RULES[request.param]


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site()


def was(cache: Cache, address: str, **headers: str) -> str:
    return cache.get(address, **headers).headers["X-Cache"]


def test_a_landing_page_is_stored_for_nobody(site: Site, tmp_path: Path, rules: str) -> None:
    with cached(make_pages(site), tmp_path / "nginx", rules) as cache:
        for click in ("of-ada", "of-eve", "of-ada"):
            answer = cache.get(f"/page?ps_xid={click}")
            assert answer.headers["X-Cache"] == "MISS"
            assert answer.headers["Cache-Control"] == "private, no-store"
            record = answer.headers["Set-Cookie"].partition(";")[0]
            assert site.click_seen(cookie=record)[0] == click
            assert "s2s_xid" not in answer.text
        # Who brings nothing gets nothing.
        assert nothing_of_anybody(cache.get("/page"))


def test_a_page_on_the_way_is_stored_for_nobody_and_the_same_for_all(
    site: Site, tmp_path: Path, rules: str
) -> None:
    app = make_pages(site)
    organic = site.visit(path="/page", host="shop.test").body.decode()
    own = {"Sec_Fetch_Site": "same-origin", "Host": "shop.test"}
    with cached(app, tmp_path / "nginx", rules) as cache:
        landing = {"Referer": "http://shop.test/page?ps_xid=of-ada"}
        sent = cache.get("/page", **own, **landing)
        assert (sent.status_code, sent.headers["X-Cache"]) == (302, "MISS")
        token = sent.headers["Location"]
        for _ in range(2):
            answer = cache.get(f"/page{token}", **own, **landing)
            assert (answer.status_code, answer.headers["X-Cache"]) == (200, "MISS")
            assert answer.text == organic
            assert "Set-Cookie" in answer.headers
        kept = cache.get("/page", **own)
        assert kept.text == organic
        assert nothing_of_anybody(kept)
        # The copied address, opened by somebody else.
        copied = cache.get(f"/page{token}", Sec_Fetch_Site="none", Host="shop.test")
        assert nothing_of_anybody(copied)


def test_ordinary_pages_are_stored_and_the_same_for_all(
    site: Site, tmp_path: Path, rules: str
) -> None:
    with cached(make_pages(site), tmp_path / "nginx", rules) as cache:
        record = cache.get("/page?ps_xid=of-ada").headers["Set-Cookie"].partition(";")[0]
        first = cache.get("/page", Cookie=record)
        assert first.headers["X-Cache"] == "MISS"
        for headers in ({}, {"Cookie": record}, {"Cookie": "s2s=junk"}):
            again = cache.get("/page", **headers)
            assert again.headers["X-Cache"] == "HIT"
            assert again.text == first.text
            assert nothing_of_anybody(again)


def test_a_page_that_is_kept_captures_nothing(site: Site, tmp_path: Path) -> None:
    """The site never sees such a landing: the cache has to be told, or the page's script tells."""
    app = make_pages(site)
    with cached(app, tmp_path / "by-url") as cache:
        cache.get("/page")
        # The query string is a part of the key: a click of its own is a page of its own.
        assert "Set-Cookie" in cache.get("/page?ps_xid=first").headers
    with cached(app, tmp_path / "without-query", WITHOUT_QUERY) as cache:
        cache.get("/page")
        lost = cache.get("/page?ps_xid=second")
        assert lost.headers["X-Cache"] == "HIT"
        assert nothing_of_anybody(lost)
        fetched = {"Sec_Fetch_Dest": "empty", "Sec_Fetch_Site": "same-origin"}
        for click in ("second", "third"):
            told = cache.get(f"/_s2s/click?ps_xid={click}", **fetched)
            record = told.headers["Set-Cookie"].partition(";")[0]
            assert site.click_seen(cookie=record)[0] == click
    with cached(app, tmp_path / "passing", WITHOUT_QUERY + PASSING) as cache:
        cache.get("/page")
        landing = cache.get("/page?ps_xid=fourth")
        assert landing.headers["X-Cache"] == "BYPASS"
        assert "Set-Cookie" in landing.headers
        kept = cache.get("/page")
        assert kept.headers["X-Cache"] == "HIT"
        assert nothing_of_anybody(kept)
    assert [row["click_id"] for row in site.rows()] == ["first", "second", "third", "fourth"]


def test_a_redirect_that_cleans_the_address_is_stored_for_nobody(
    make_site: MakeSite, tmp_path: Path, rules: str
) -> None:
    site = make_site(S2S_STRIP_PARAMS=True)
    with cached(make_pages(site), tmp_path / "nginx", rules) as cache:
        tokens = set()
        for click in ("of-ada", "of-eve"):
            answer = cache.get(f"/page?ps_xid={click}")
            assert (answer.status_code, answer.headers["X-Cache"]) == (302, "MISS")
            tokens.add(answer.headers["Location"])
        assert len(tokens) == 2
        assert cache.get("/page").status_code == 200
