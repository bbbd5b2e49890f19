"""The cookies of the network's own script: read where nothing better is found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import create_environ, run_wsgi_app

from flask_s2s import Click
from flask_s2s.capture.cookie import read_cookies
from flask_s2s.middleware import S2SMiddleware
from flask_s2s.networks.partnerstack.clicks import PartnerStackClicks
from flask_s2s.rules.attribution import Reason
from flask_s2s.testing import ManualClock
from tests.capture.sites import MakeSite, Site, cookie_of

NOW = ManualClock().now()


@pytest.mark.parametrize(
    ("header", "click_id", "partner_key"),
    [
        ("ps_xid=abc", "abc", None),
        ("gsxid=abc", "abc", None),
        ("gsxid=old; ps_xid=new", "new", None),
        ("ps_xid=abc; ps_partner_key=a1b2c3d4e5f6", "abc", "a1b2c3d4e5f6"),
        ("ps_xid=abc; growSumoPartnerKey=ada42", "abc", "ada42"),
        ("growSumoPartnerKey=old; ps_partner_key=new; ps_xid=abc", "abc", "new"),
        # In the URL the key is base64, here it is not: nothing is decoded.
        ("ps_xid=abc; ps_partner_key=YTFiMmMz", "abc", "YTFiMmMz"),
        ("theme=dark; [bad]=1; ps_xid=abc; z", "abc", None),
    ],
)
def test_a_visitor_whom_the_script_knows_has_its_click(
    site: Site, header: str, click_id: str, partner_key: str | None
) -> None:
    at = site.clock.now().timestamp()
    assert site.click_seen(cookie=header) == [click_id, partner_key, [], None, at]


@pytest.mark.parametrize(
    "header",
    [
        "ps_xid=",
        "ps_xid",
        "ps_xid=a b",
        "ps_xid=a%00b",
        "ps_xid=<script>",
        "ps_xid=" + "a" * 513,
        "ps_xid=a,b",
        "PS_XID=abc",
        "xps_xid=abc",
        "ps_partner_key=ada42",
    ],
)
def test_a_click_id_that_none_would_send_is_no_click(site: Site, header: str) -> None:
    assert site.click_seen(cookie=header) is None


def test_what_is_wrong_with_one_cookie_does_not_spoil_the_other(site: Site) -> None:
    header = "ps_xid=<b>; ps_xid=good; ps_partner_key=<b>; ps_partner_key=ada42"
    assert site.click_seen(cookie=header)[:2] == ["good", "ada42"]
    assert site.click_seen(cookie="ps_xid=good; growSumoPartnerKey=a%20b")[:2] == ["good", None]


@pytest.mark.parametrize("comma", [",", ", "])
def test_a_header_that_came_in_parts_may_be_joined_with_commas(site: Site, comma: str) -> None:
    parts = ("a=1", "ps_xid=abc", "b=2; c=3", "ps_partner_key=ada42", "d=4")
    assert site.click_seen(cookie=comma.join(parts))[:2] == ["abc", "ada42"]


def test_every_click_of_ours_goes_before_it(site: Site) -> None:
    kept = cookie_of(site.visit("ps_xid=ours"))
    assert site.click_seen(cookie=f"ps_xid=script; {kept}")[0] == "ours"
    assert site.click_seen("ps_xid=landed", cookie="ps_xid=script")[0] == "landed"


def test_it_does_not_hide_why_there_is_no_click_of_ours(site: Site) -> None:
    environ = create_environ("/", headers={"Cookie": "s2s=1forged.x; ps_xid=script"})
    found = site.services.visitors.attribution_of(environ)
    assert (found.click, found.reason) == (None, Reason.BAD_SIGNATURE)
    assert found.fallback is not None
    assert found.fallback.click_id == "script"


def test_a_setting_leaves_the_scripts_cookies_unread(make_site: MakeSite) -> None:
    site = make_site(S2S_SCRIPT_COOKIES=False)
    assert site.click_seen(cookie="ps_xid=abc") is None


def test_any_wsgi_app_sees_it(site: Site) -> None:
    seen: list[Click | None] = []

    def app(environ: dict[str, object], start_response: object) -> list[bytes]:
        click = environ["flask_s2s.click"]
        assert click is None or isinstance(click, Click)
        seen.append(click)
        assert callable(start_response)
        start_response("200 OK", [])
        return []

    wrapped = S2SMiddleware(app, site.services)
    run_wsgi_app(wrapped, create_environ("/", headers={"Cookie": "ps_xid=abc"}))
    run_wsgi_app(wrapped, create_environ("/", headers={"Cookie": "other=abc"}))
    assert [click and click.click_id for click in seen] == ["abc", None]


@given(st.text(st.characters(max_codepoint=255)), st.text(st.characters(max_codepoint=255)))
@settings(max_examples=300, deadline=None)
def test_no_cookie_makes_it_fail(click_id: str, rest: str) -> None:
    click = _from_script(f"ps_xid={click_id}; growSumoPartnerKey={rest}; gsxid={rest}")
    assert click is None or click.click_id


def _from_script(header: str) -> Click | None:
    return PartnerStackClicks().read_cookies(header, lambda name: read_cookies(header, name), NOW)
