"""A visitor's click: the last one or the first, and all code may ask."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import create_environ, run_wsgi_app

from flask_s2s.capture.cookie import read_cookies
from flask_s2s.signals import click_captured
from tests.capture.sites import MakeSite, Site, cookie_of


def test_the_landing_request_itself_sees_its_click(site: Site) -> None:
    at = site.clock.now().timestamp()
    seen = site.click_seen("ps_xid=abc&gspk=MTIz&sid=x&pscd=go.shop.com")
    assert seen == ["abc", "123", ["x"], "go.shop.com", at]


def test_later_requests_see_what_the_cookie_kept(site: Site) -> None:
    cookie = cookie_of(site.visit("ps_xid=abc&gspk=MTIz&sid=x&pscd=go.shop.com"))
    at = site.clock.now().timestamp()
    site.clock.advance(days=3)
    assert site.click_seen(cookie=cookie) == ["abc", "123", ["x"], "go.shop.com", at]
    assert site.click_seen() is None


@pytest.mark.parametrize(("policy", "expected"), [("last", "second"), ("first", "first")])
def test_policy(make_site: MakeSite, policy: str, expected: str) -> None:
    site = make_site(S2S_ATTRIBUTION=policy)
    cookie = cookie_of(site.visit("ps_xid=first"))
    site.clock.advance(days=1)
    answer = site.visit("ps_xid=second", cookie=cookie)
    assert site.click_seen("ps_xid=second", cookie=cookie)[0] == expected
    if answer.cookie is not None:
        cookie = cookie_of(answer)
    assert site.click_seen(cookie=cookie)[0] == expected
    # The history has both, whichever counts.
    assert [row["click_id"] for row in site.rows()] == ["first", "second"]


def test_an_expired_first_click_gives_way(make_site: MakeSite) -> None:
    site = make_site(S2S_ATTRIBUTION="first")
    cookie = cookie_of(site.visit("ps_xid=first"))
    site.clock.advance(days=91)
    click = site.load(site.visit("ps_xid=second", cookie=cookie))
    assert click is not None
    assert click.click_id == "second"


def test_reloading_a_landing_keeps_the_clicks_time(site: Site) -> None:
    at = site.clock.now()
    cookie = cookie_of(site.visit("ps_xid=abc"))
    site.clock.advance(days=89)
    reloaded = site.visit("ps_xid=abc&sid=other", cookie=cookie)
    assert reloaded.cookie is None
    assert site.click_seen("ps_xid=abc", cookie=cookie)[4] == at.timestamp()
    assert [row["at"] for row in site.rows()] == [at]
    site.clock.advance(days=2)
    assert site.click_seen(cookie=cookie) is None


def test_click_ids_differ_by_case(site: Site) -> None:
    cookie = cookie_of(site.visit("ps_xid=abc"))
    click = site.load(site.visit("ps_xid=ABC", cookie=cookie))
    assert click is not None
    assert click.click_id == "ABC"


def test_nothing_is_read_where_nobody_asks(site: Site) -> None:
    cookie = cookie_of(site.visit("ps_xid=abc"))
    environ = create_environ("/", headers={"Cookie": cookie})
    before = set(environ)
    run_wsgi_app(site.app, environ)
    assert {name for name in set(environ) - before if "s2s" in name} == set()
    assert site.app.before_request_funcs == {}
    assert site.app.after_request_funcs == {}
    assert site.app.teardown_request_funcs == {}


def test_the_signal_tells_new_clicks_only(site: Site) -> None:
    told: list[str] = []

    def receive(sender: object, click: object, **_: object) -> None:
        told.append(getattr(click, "click_id", "?"))

    with click_captured.connected_to(receive, site.app):
        cookie = cookie_of(site.visit("ps_xid=a"))
        site.visit("ps_xid=a", cookie=cookie)
        site.visit("", cookie=cookie)
        site.visit("ps_xid=b", cookie=cookie, HTTP_USER_AGENT="Googlebot/2.1")
        site.visit("ps_xid=b", cookie=cookie)
    assert told == ["a", "b"]


VISITS = st.lists(
    st.tuples(
        st.sampled_from(["", "utm=x", "ps_xid=", "ps_xid=%00", "ps_xid=a", "ps_xid=b", "gsxid=c"]),
        st.sampled_from(["GET", "GET", "POST", "HEAD"]),
        st.sampled_from([{}, {}, {"HTTP_SEC_PURPOSE": "prefetch"}, {"HTTP_USER_AGENT": "xbot/1"}]),
        st.sampled_from([1, 3600, 86400 * 40]),
        st.sampled_from(["keeps", "keeps", "mangles"]),
    ),
    max_size=12,
)


@pytest.mark.parametrize("policy", ["last", "first"])
def test_any_sequence_of_visits(make_site: MakeSite, policy: str) -> None:
    """Against the rules, written down once more: what a visitor has after each visit."""
    site = make_site(S2S_ATTRIBUTION=policy, S2S_CLICK_RATE=0)

    @settings(max_examples=100, deadline=None)
    @given(visits=VISITS)
    def check(visits: list[tuple[str, str, dict[str, str], int, str]]) -> None:
        cookie: str | None = None
        expected: tuple[str, float] | None = None
        for query, method, headers, wait, browser in visits:
            now = site.clock.advance(seconds=wait).timestamp()
            if expected and now - expected[1] > 90 * 86400:
                expected = None
            new = query.partition("xid=")[2].replace("%00", "")
            if method == "GET" and not headers and new:
                keeps = expected and (policy == "first" or expected[0] == new)
                expected = expected if keeps else (new, now)
            answer = site.visit(query, method=method, cookie=cookie, **headers)
            if answer.cookie is not None:
                cookie = cookie_of(answer)
            if browser == "mangles" and cookie is not None:
                cookie = f"[x]=1; {cookie}; s2s={read_cookies(cookie, 's2s')[0][:-1]}"
            seen = site.click_seen(cookie=cookie)
            assert (seen and (seen[0], seen[4])) == expected

    check()
