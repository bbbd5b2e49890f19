"""`S2S_STRIP_PARAMS`: the address bar is clean, and nobody loses the click over it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.capture.sites import Answer, MakeSite, Site, cookie_of
from tests.capture.test_visitors import NOBODY

LANDING = "a=1&ps_xid=aBc&&b=%7E+x&sid=1&ps_partner_key=MTIz&c"
CLEAN = "a=1&&b=%7E+x&c"


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site(S2S_STRIP_PARAMS=True, S2S_CARRY="auto")


def known(site: Site) -> str:
    """The cookie of a visitor whose browser has been seen to keep it."""
    answer = site.visit("ps_xid=old")
    site.clock.advance(days=1)
    return cookie_of(answer)


def location(answer: Answer) -> str:
    assert answer.status == "302 Found"
    assert answer.body == b""
    assert answer.values("Cache-Control") == ["private, no-store"]
    [said] = answer.values("Location")
    return said


def test_one_redirect_for_a_visitor_whose_cookie_came_back(site: Site) -> None:
    answer = site.visit(LANDING, path="/shop/page", cookie=known(site))
    assert location(answer) == f"?{CLEAN}"
    click = site.load(answer)
    assert click is not None
    assert click.click_id == "aBc"
    assert site.visit(CLEAN, path="/shop/page", cookie=cookie_of(answer)).status == "200 OK"


def test_a_new_visitor_has_a_clean_address_too(site: Site) -> None:
    first = site.visit(LANDING, path="/page")
    handed = location(first)
    assert handed.startswith(f"?{CLEAN}&s2s_xid=")
    second = site.visit(handed.partition("?")[2], path="/page", cookie=cookie_of(first))
    assert location(second) == f"?{CLEAN}"
    assert [row["click_id"] for row in site.rows()] == ["aBc"]


@pytest.mark.parametrize("came_from", ["cross-site", "none"])
def test_a_visitor_who_blocks_all_cookies_keeps_the_click(site: Site, came_from: str) -> None:
    """A visitor who opens a partner's link in an e-mail comes from nowhere, redirects and all."""
    headers = {"HTTP_SEC_FETCH_SITE": came_from, "HTTP_SEC_FETCH_DEST": "document"}
    handed = location(site.visit(LANDING, path="/click", **headers)).partition("?")[2]
    assert site.click_seen(handed, **headers)[:3] == ["aBc", "123", ["1"]]
    again = site.visit(handed, path="/click", **headers)
    assert again.status == "200 OK"
    assert again.values("Cache-Control") == ["private, no-store"]


def test_the_token_in_the_address_is_for_this_page_and_one_minute(site: Site) -> None:
    handed = location(site.visit(LANDING, path="/click")).partition("?")[2]
    cross = {"HTTP_SEC_FETCH_SITE": "cross-site"}
    assert site.click_seen(handed, **cross) is not None
    assert site.click_seen(handed, host="other.shop.example", **cross) is None
    assert b"s2s_xid" not in site.visit(handed, path="/elsewhere", **cross).body
    assert site.visit(handed, path="/elsewhere", **cross).cookie is None
    site.clock.advance(seconds=61)
    assert site.click_seen(handed, **cross) is None


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/", "./"),
        ("", "./"),
        ("/a/", "?"),
        ("/a/b", "?"),
        ("/a:b", "./a%3Ab"),
        ("/..", "?"),
        ("//evil.example", "?"),
        ("//evil.example/", "?"),
        ("/\\evil.example", "./%5Cevil.example"),
        ("/http://evil.example", "?"),
        ("/a\r\nX: 1", "./a%0D%0AX%3A%201"),
        ("/caf\xc3\xa9", "./caf%C3%A9"),
    ],
)
def test_it_is_the_same_page_whatever_the_path(site: Site, path: str, page: str) -> None:
    assert location(site.visit("ps_xid=x", PATH_INFO=path, cookie=known(site))) == page


def test_a_mounted_app_stays_where_it_is(site: Site) -> None:
    request = {"SCRIPT_NAME": "/mounted", "PATH_INFO": "", "cookie": known(site)}
    assert location(site.visit("ps_xid=x&y=1", **request)) == "?y=1"


@pytest.mark.parametrize("query", ["ps%5Fxid=abc&a=1", "a=1&gsxid=abc&gspk=x&pscd=a.b&sid12=x"])
def test_every_spelling_of_a_parameter_goes(site: Site, query: str) -> None:
    assert location(site.visit(query, path="/p", cookie=known(site))) == "?a=1"


@pytest.mark.parametrize("name", NOBODY)
def test_what_is_no_capture_is_no_redirect(site: Site, name: str) -> None:
    for cookie in (None, known(site)):
        answer = site.visit(LANDING, cookie=cookie, **NOBODY[name])
        assert answer.status == "200 OK"
        assert answer.cookie is None


def test_a_click_that_is_kept_already_is_no_redirect(site: Site) -> None:
    cookie = cookie_of(site.visit("ps_xid=aBc"))
    assert site.visit(LANDING, cookie=cookie).status == "200 OK"


def test_where_the_first_click_wins_the_address_is_clean_all_the_same(make_site: MakeSite) -> None:
    site = make_site(S2S_STRIP_PARAMS=True, S2S_ATTRIBUTION="first")
    answer = site.visit(LANDING, path="/p", cookie=known(site))
    assert location(answer) == f"?{CLEAN}"
    click = site.load(answer)
    assert click is not None
    assert click.click_id == "old"


def test_where_nothing_may_be_carried_only_a_proven_cookie_cleans(make_site: MakeSite) -> None:
    site = make_site(S2S_STRIP_PARAMS=True, S2S_CARRY="off")
    assert site.visit(LANDING).status == "200 OK"
    assert site.visit(LANDING, cookie="session=of-the-site").status == "200 OK"
    assert location(site.visit(LANDING, path="/p", cookie=known(site))) == f"?{CLEAN}"


def test_who_adds_the_parameters_again_is_not_sent_round(site: Site) -> None:
    """A CDN's rule, say, between the browser and us."""
    query = "ps_xid=aBc&s2s_xid=" + location(site.visit("ps_xid=aBc")).partition("=")[2]
    assert site.visit(query).status == "200 OK"
    cookie = known(site)
    answer = site.visit("ps_xid=aBc", cookie=cookie)
    assert answer.status == "302 Found"
    assert site.visit("ps_xid=aBc", cookie=cookie_of(answer)).status == "200 OK"


def test_an_address_that_cannot_be_written_stays(site: Site) -> None:
    cookie = known(site)
    for query in ("ps_xid=abc&x=\xff", "ps_xid=abc&x=" + "y" * 70_000, "ps_xid=abc&x=a\tb"):
        answer = site.visit(query, cookie=cookie)
        assert answer.status == "200 OK"
        assert answer.cookie is not None


def test_a_site_that_asks_for_consent_keeps_the_address(make_site: MakeSite) -> None:
    """Before the visitor's answer the click is nowhere else."""
    for said in ("granted", "pending", "denied"):

        def ask(_environ: dict[str, Any], said: str = said) -> str:
            return said

        site = make_site(S2S_STRIP_PARAMS=True, S2S_CONSENT=ask)
        assert site.visit(LANDING).status == "200 OK"


def test_it_is_off_by_itself(make_site: MakeSite) -> None:
    site = make_site()
    assert site.visit(LANDING, cookie=known(site)).status == "200 OK"


def test_links_of_the_page_are_cleaned_once_the_cookie_is_proven(site: Site) -> None:
    token = location(site.visit("ps_xid=aBc", path="/click")).partition("=")[2]
    own = {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_DEST": "document"}
    first = site.visit(f"s2s_xid={token}", path="/click", **own)
    assert first.status == "200 OK"
    second = site.visit(f"x=1&s2s_xid={token}", path="/click", cookie=cookie_of(first), **own)
    assert location(second) == "?x=1"
