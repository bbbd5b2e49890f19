"""A cookie for the domain ends an older one for the host alone, so that one name is one cookie."""

from __future__ import annotations

import pytest
from werkzeug.test import Client

from tests.capture.sites import HOST, MakeSite, Site, cookie_of

ENDED = "s2s=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"


def test_a_new_visitor_gets_one_cookie(site: Site) -> None:
    [only] = site.visit("ps_xid=abc").values("Set-Cookie")
    assert "Domain=shop.example" in only


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_cookie_that_came_may_be_one_for_the_host_alone(site: Site, scheme: str) -> None:
    old = cookie_of(site.visit("ps_xid=old", scheme=scheme))
    site.clock.advance(days=1)
    for header in (old, f"{old}; {old}", "s2s=junk", f"s2s=; other=1; {old}"):
        ended, kept = site.visit("ps_xid=new", cookie=header, scheme=scheme).values("Set-Cookie")
        assert ended == ENDED + ("; Secure" if scheme == "https" else "")
        # By RFC 6265 the two are one at the domain's own host: the later header must be this one.
        assert kept.startswith("s2s=1")
        assert "Domain=shop.example" in kept


def test_without_a_domain_there_is_none_to_end(make_site: MakeSite) -> None:
    site = make_site(S2S_COOKIE_DOMAIN=None)
    old = cookie_of(site.visit("ps_xid=old"))
    site.clock.advance(days=1)
    [only] = site.visit("ps_xid=new", cookie=old).values("Set-Cookie")
    assert only.startswith("s2s=1")


def test_a_site_that_moves_to_its_domain_ends_with_one_cookie(make_site: MakeSite) -> None:
    """A browser's own store of cookies."""
    before, after = make_site(S2S_COOKIE_DOMAIN=None), make_site()
    browser = Client(before.app)
    browser.get("/?ps_xid=old", base_url=f"https://{HOST}")
    browser.application = after.app
    after.clock.advance(days=1)
    browser.get("/?ps_xid=new", base_url=f"https://{HOST}")
    assert browser.get_cookie("s2s", HOST) is None
    kept = browser.get_cookie("s2s", "shop.example")
    assert kept is not None
    assert after.click_seen(cookie=f"s2s={kept.value}")[0] == "new"
