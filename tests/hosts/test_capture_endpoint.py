"""A landing page that is not the app's tells it of the click, by a script of the same site."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_s2s.blueprint import CaptureBlueprint
from tests.capture.sites import Answer, MakeSite, Site, cookie_of
from tests.capture.test_visitors import NOBODY

HOST = "app.shop.example"
CMS = "https://www.shop.example"
QUERY = "ps_xid=aBc&sid=x"
FETCHED = {
    "HTTP_ORIGIN": CMS,
    "HTTP_SEC_FETCH_SITE": "same-site",
    "HTTP_SEC_FETCH_MODE": "cors",
    "HTTP_SEC_FETCH_DEST": "empty",
}


def opened(site: Site, **options: Any) -> CaptureBlueprint:
    blueprint = site.s2s.capture_blueprint(**options)
    site.app.register_blueprint(blueprint, url_prefix="/_s2s")
    return blueprint


def call(site: Site, query: str = QUERY, *, without: str = "", **request: Any) -> Answer:
    said = {k: v for k, v in {**FETCHED, **request}.items() if k != without}
    return site.visit(query, **{"path": "/_s2s/click", "host": HOST, "scheme": "https", **said})


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    made = make_site()
    opened(made)
    return made


def test_the_cookie_is_set_and_the_click_stored(site: Site) -> None:
    answer = call(site)
    assert (answer.status, answer.body) == ("204 NO CONTENT", b"")
    click = site.load(answer)
    assert click is not None
    assert (click.click_id, click.sub_ids) == ("aBc", ("x",))
    assert answer.attributes["domain"] == "shop.example"
    assert "secure" in answer.attributes
    assert [row["click_id"] for row in site.rows()] == ["aBc"]
    assert site.click_seen(cookie=cookie_of(answer))[0] == "aBc"


def test_the_page_may_read_the_answer_and_no_cache_keeps_it(site: Site) -> None:
    for query, cookie in ((QUERY, None), (QUERY, cookie_of(call(site))), ("", None)):
        answer = call(site, query, cookie=cookie)
        assert answer.status == "204 NO CONTENT"
        assert answer.values("Access-Control-Allow-Origin") == [CMS]
        assert answer.values("Access-Control-Allow-Credentials") == ["true"]
        assert answer.values("Vary") == ["Origin"]
        assert answer.values("Cache-Control") == ["private, no-store"]


def test_a_preflight_is_answered(site: Site) -> None:
    answer = call(site, method="OPTIONS", HTTP_ACCESS_CONTROL_REQUEST_METHOD="GET")
    assert answer.status == "204 NO CONTENT"
    assert answer.values("Access-Control-Allow-Origin") == [CMS]
    assert answer.values("Access-Control-Allow-Methods") == ["GET"]
    assert answer.cookie is None


ALLOWED: dict[str, dict[str, Any]] = {
    "sibling": {},
    "apex": {"HTTP_ORIGIN": "https://shop.example"},
    "a-port": {"HTTP_ORIGIN": "https://www.shop.example:8443"},
    "same-origin": {"without": "HTTP_ORIGIN", "HTTP_SEC_FETCH_SITE": "same-origin"},
    "same-origin-said": {"HTTP_ORIGIN": f"https://{HOST}", "HTTP_SEC_FETCH_SITE": "same-origin"},
    "an-older-browser": {"without": "HTTP_SEC_FETCH_SITE"},
    "plain-http": {"scheme": "http", "HTTP_ORIGIN": "http://www.shop.example"},
    "loopback": {
        "scheme": "http",
        "host": "127.0.0.1:5000",
        "HTTP_ORIGIN": "http://127.0.0.1:5000",
    },
}


@pytest.mark.parametrize("name", ALLOWED)
def test_pages_of_the_same_site_may_call(site: Site, name: str) -> None:
    assert call(site, **ALLOWED[name]).cookie is not None


REFUSED: dict[str, dict[str, Any]] = {
    "another-site": {"HTTP_ORIGIN": "https://evil.example", "HTTP_SEC_FETCH_SITE": "cross-site"},
    "another-site-that-lies": {"HTTP_ORIGIN": "https://evil.example"},
    "cross-site": {"HTTP_SEC_FETCH_SITE": "cross-site"},
    "typed": {"HTTP_SEC_FETCH_SITE": "none"},
    "no-word": {"without": "HTTP_ORIGIN"},
    "no-word-at-all": {"without": "HTTP_ORIGIN", "HTTP_SEC_FETCH_SITE": ""},
    "null": {"HTTP_ORIGIN": "null"},
    "empty": {"HTTP_ORIGIN": ""},
    "insecure": {"HTTP_ORIGIN": "http://www.shop.example"},
    "suffix": {"HTTP_ORIGIN": "https://notshop.example"},
    "prefix": {"HTTP_ORIGIN": "https://www.shop.example.evil.example"},
    "user": {"HTTP_ORIGIN": "https://www.shop.example@evil.example"},
    "path": {"HTTP_ORIGIN": "https://www.shop.example/"},
    "scheme": {"HTTP_ORIGIN": "chrome-extension://www.shop.example"},
    "header": {"HTTP_ORIGIN": "https://www.shop.example, https://evil.example"},
    "bad": {"HTTP_ORIGIN": "https://[www.shop.example"},
    "a-neighbour-of-a-suffix": {
        "host": "ada.github.io",
        "HTTP_ORIGIN": "https://eve.github.io",
    },
    "another-loopback": {
        "scheme": "http",
        "host": "127.0.0.1:5000",
        "HTTP_ORIGIN": "http://127.0.0.1:6000",
    },
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_nobody_else_may(site: Site, name: str, method: str) -> None:
    answer = call(site, method=method, **REFUSED[name])
    assert answer.status == "403 FORBIDDEN"
    assert answer.cookie is None
    assert answer.values("Access-Control-Allow-Origin") == []
    assert site.rows() == []


#: A script's request counts here, if its page is the site's.
ELSEWHERE = [name for name, one in NOBODY.items() if one.get("HTTP_SEC_FETCH_DEST") != "empty"]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_nobody_makes_no_click_here_either(site: Site, name: str) -> None:
    answer = call(site, **NOBODY[name])
    assert answer.cookie is None
    # A POST is for the page that the site has for every other address.
    assert answer.status == ("200 OK" if name == "post" else "204 NO CONTENT")
    assert site.rows() == []


def test_it_is_the_one_place_where_a_fetch_counts(site: Site) -> None:
    assert call(site, path="/").cookie is None
    assert call(site, path="/click").cookie is None
    assert site.rows() == []


def test_calls_beyond_the_rate_get_their_cookie_and_no_row(make_site: MakeSite) -> None:
    site = make_site()
    blueprint = opened(site, rate=3)
    answers = [call(site, f"ps_xid=click{n}") for n in range(5)]
    assert [answer.status[:3] for answer in answers] == ["204"] * 5
    assert [answer.cookie is not None for answer in answers] == [True] * 5
    assert len(site.rows()) == 3
    assert call(site, HTTP_SEC_FETCH_SITE="cross-site").status == "403 FORBIDDEN"
    assert blueprint.refused == {"rate": 2, "cross_site": 1}
    site.clock.advance(seconds=1)
    assert call(site, "ps_xid=later").cookie is not None


def test_a_site_with_tenants_names_who_may_call(make_site: MakeSite) -> None:
    site = make_site(S2S_COOKIE_DOMAIN=None)
    opened(site)
    assert call(site).status == "403 FORBIDDEN"
    assert call(site, host="shop.example").cookie is not None
    named = make_site(S2S_COOKIE_DOMAIN=None)
    opened(named, origins=[CMS, "https://evil.example"])
    answer = call(named)
    assert answer.cookie is not None
    assert "domain" not in answer.attributes
    assert call(named, HTTP_ORIGIN="https://tenant.shop.example").status == "403 FORBIDDEN"
    assert call(named, HTTP_ORIGIN="https://evil.example").status == "403 FORBIDDEN"


def test_behind_a_proxy_that_ends_tls(site: Site) -> None:
    assert call(site, scheme="http").cookie is not None
    site.app.wsgi_app = ProxyFix(site.app.wsgi_app)  # type: ignore[method-assign]
    answer = call(site, scheme="http", HTTP_X_FORWARDED_PROTO="https")
    assert "secure" in answer.attributes


@pytest.mark.parametrize(("said", "kept"), [("granted", 1), ("pending", 0), ("denied", 0)])
def test_nothing_is_kept_before_the_visitor_agrees(
    make_site: MakeSite, said: str, kept: int
) -> None:
    site = make_site(S2S_CONSENT=lambda _environ: said)
    opened(site)
    answer = call(site)
    assert answer.status == "204 NO CONTENT"
    assert (answer.cookie is not None) is bool(kept)
    assert len(site.rows()) == kept


def test_the_newer_click_wins_here_too(site: Site) -> None:
    kept = cookie_of(call(site, "ps_xid=old"))
    site.clock.advance(days=1)
    assert site.click_seen(cookie=cookie_of(call(site, "ps_xid=new", cookie=kept)))[0] == "new"
    assert call(site, "ps_xid=old", cookie=kept).cookie is None


def test_a_plain_link_from_such_a_page_needs_nothing_of_this(site: Site) -> None:
    """The CMS links to the app with the query string of its own page."""
    clicked = {
        "HTTP_SEC_FETCH_SITE": "same-site",
        "HTTP_SEC_FETCH_DEST": "document",
        "HTTP_REFERER": f"{CMS}/landing",
    }
    answer = site.visit(QUERY, path="/pricing", host=HOST, **clicked)
    assert answer.cookie is not None
    assert site.click_seen(cookie=cookie_of(answer))[0] == "aBc"


def test_an_older_browsers_script_is_not_sent_to_a_clean_address(make_site: MakeSite) -> None:
    site = make_site(S2S_STRIP_PARAMS=True)
    opened(site)
    says = {name: FETCHED[name] for name in ("HTTP_ORIGIN",)}
    answer = site.visit(QUERY, path="/_s2s/click", host=HOST, scheme="https", **says)
    assert answer.status == "204 NO CONTENT"
    assert answer.cookie is not None
