"""A click that goes along to another site of the same owner, under another domain."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Blueprint, redirect, render_template_string, request

from flask_s2s.signals import click_captured
from tests.capture.sites import MakeSite, Site, cookie_of

HERE, THERE = "www.shop.example", "app.other.example"
OVER = f"https://{THERE}/welcome"
FOLLOWED = {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_DEST": "document"}
KEY = {"S2S_SECRET_KEY": "shared by both sites"}


def leaving(site: Site, *, blueprint: bool = True, nested: bool = False) -> Site:
    """Let the site have pages that lead elsewhere."""

    @site.app.get("/leave")
    def leave() -> Any:
        return redirect(site.s2s.hand_over(request.args["to"]))

    @site.app.get("/links")
    def links() -> str:
        source = '<a href="{{ s2s_hand_over(to) }}">over</a>'
        return render_template_string(source, to=request.args["to"])

    if nested:
        outer = Blueprint("outer", __name__)
        outer.register_blueprint(site.s2s.capture_blueprint(), url_prefix="/_s2s")
        site.app.register_blueprint(outer)
    elif blueprint:
        site.app.register_blueprint(site.s2s.capture_blueprint(), url_prefix="/_s2s")
    return site


@pytest.fixture
def here(make_site: MakeSite) -> Site:
    return leaving(make_site(**KEY))


@pytest.fixture
def there(make_site: MakeSite) -> Site:
    return make_site(**KEY)


def handed(here: Site, url: str = OVER, click: str = "aBc") -> str:
    """The query string with which a visitor of ours arrives there."""
    cookie = cookie_of(here.visit(f"ps_xid={click}&sid=x"))
    answer = here.visit(f"to={url}", path="/leave", cookie=cookie)
    assert answer.values("Cache-Control") == ["private, no-store"]
    [location] = answer.values("Location")
    assert location.startswith(url.partition("?")[0])
    return urlsplit(location).query


def test_the_other_site_has_the_click_in_its_cookie_and_a_row(here: Site, there: Site) -> None:
    query = handed(here)
    assert query.startswith("s2s_xid=")
    captured: list[str] = []
    with click_captured.connected_to(lambda _app, click: captured.append(click.click_id)):
        answer = there.visit(query, path="/welcome", host=THERE, **FOLLOWED)
    click = there.load(answer)
    assert click is not None
    assert (click.click_id, click.sub_ids) == ("aBc", ("x",))
    assert answer.attributes["domain"] == "other.example"
    assert answer.values("Cache-Control") == ["private, no-store"]
    assert answer.values("Referrer-Policy") == ["same-origin"]
    assert [row["click_id"] for row in there.rows()] == ["aBc"]
    assert captured == ["aBc"]


def test_what_goes_on_from_there_is_one_token_for_one_customer(here: Site, there: Site) -> None:
    there.app.add_url_rule("/page", view_func=lambda: "here")
    query = handed(here)
    arrived = there.visit(query, path="/page", host=THERE, **FOLLOWED)
    assert (arrived.status, arrived.body) == ("200 OK", b"here")
    # A page on, it is in that one's address, for which the page before speaks.
    own = {"HTTP_SEC_FETCH_SITE": "same-origin", "HTTP_SEC_FETCH_DEST": "document"}
    own["HTTP_REFERER"] = f"https://{THERE}/page?{query}"
    sent = there.visit(path="/click", host=THERE, **own)
    assert (sent.status, sent.values("Location")) == ("302 Found", [f"?{query}"])
    there.clock.advance(minutes=11)
    assert there.click_seen(query, host=THERE, **own)[0] == "aBc"
    # By itself it is good for ten minutes, and nobody can go on with it after them.
    assert there.click_seen(query, host=THERE, **FOLLOWED) is None
    assert there.visit(query, path="/click", host=THERE, **FOLLOWED).status == "302 Found"


REFUSED: dict[str, dict[str, Any]] = {
    "another-host": {"host": "app.third.example"},
    "a-host-beside-it": {"host": "other.example"},
    "a-port-of-it": {"host": f"{THERE}:8443"},
    "opened-by-hand": {"HTTP_SEC_FETCH_SITE": "none"},
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_good_where_it_leads_to_and_by_following_it(
    here: Site, there: Site, name: str
) -> None:
    request = {"host": THERE, **FOLLOWED}
    query = handed(here)
    assert there.click_seen(query, **request) is not None
    assert there.click_seen(query, **{**request, **REFUSED[name]}) is None


def test_a_site_with_another_key_makes_nothing_of_it(here: Site, make_site: MakeSite) -> None:
    stranger = make_site(S2S_SECRET_KEY="a key of their own")
    assert stranger.click_seen(handed(here), host=THERE, **FOLLOWED) is None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (f"https://{THERE}:443/a?x=1&s2s_xid=old#part", THERE),
        (f"http://{THERE}:80", THERE),
        (f"https://{THERE}:8443/", f"{THERE}:8443"),
        (f"HTTPS://{THERE.upper()}/", THERE),
        ("https://münchen.example/", "xn--mnchen-3ya.example"),
    ],
)
def test_the_host_is_what_a_browser_will_say(here: Site, there: Site, url: str, host: str) -> None:
    cookie = cookie_of(here.visit("ps_xid=aBc"))
    with here.app.test_request_context("/", base_url=f"https://{HERE}", headers={"Cookie": cookie}):
        over = here.s2s.hand_over(url)
    assert "s2s_xid=old" not in over
    assert over.endswith("#part") is url.endswith("#part")
    assert there.click_seen(urlsplit(over).query, host=host, **FOLLOWED)[0] == "aBc"


@pytest.mark.parametrize(
    "url",
    [
        "/local",
        "?x=1",
        "",
        f"https://{HERE}/page",
        f"https://user@{THERE}/",
        f"https://{THERE}\\@evil.example/",
        "mailto:a@b.example",
        "javascript:alert(1)",
        f"//{THERE}/",
        "https://[bad/",
        "https:///nowhere",
    ],
)
def test_an_address_that_is_no_other_site_stays(here: Site, url: str) -> None:
    cookie = cookie_of(here.visit("ps_xid=aBc"))
    with here.app.test_request_context("/", base_url=f"https://{HERE}", headers={"Cookie": cookie}):
        assert here.s2s.hand_over(url) == url


def test_without_a_click_the_link_is_as_it_was(here: Site) -> None:
    answer = here.visit(f"to={OVER}", path="/leave")
    assert answer.values("Location") == [OVER]
    assert answer.values("Cache-Control") == []


@pytest.mark.parametrize("nested", [False, True])
def test_a_template_links_the_same_for_everybody(
    make_site: MakeSite, there: Site, nested: bool
) -> None:
    here = leaving(make_site(**KEY), nested=nested)
    cookie = cookie_of(here.visit("ps_xid=aBc"))
    pages = [here.visit(f"to={OVER}", path="/links", cookie=one) for one in (None, cookie)]
    assert pages[0] == pages[1]
    link = pages[0].body.decode().split('"')[1]
    assert link.startswith("/_s2s/to/")
    path, _, query = link.partition("?")
    # An hour later it is followed: the token is made now.
    here.clock.advance(hours=1)
    there.clock.advance(hours=1)
    answer = here.visit(query, path=path, cookie=cookie)
    assert answer.values("Cache-Control") == ["private, no-store"]
    [location] = answer.values("Location")
    assert there.click_seen(urlsplit(location).query, host=THERE, **FOLLOWED)[0] == "aBc"
    assert here.visit(query, path=path).values("Location") == [OVER]


def test_a_visitor_without_cookies_is_handed_over_too(here: Site, there: Site) -> None:
    landing = f"ps_xid=aBc&to={OVER}"
    link = here.visit(landing, path="/links").body.decode().split('"')[1]
    own = {"HTTP_SEC_FETCH_SITE": "same-origin", "HTTP_SEC_FETCH_DEST": "document"}
    own["HTTP_REFERER"] = f"https://{HERE}/links?{landing}"
    [itself] = here.visit(path=link, **own).values("Location")
    [location] = here.visit(itself[1:], path=link, **own).values("Location")
    assert there.click_seen(urlsplit(location).query, host=THERE, **FOLLOWED)[0] == "aBc"


def test_nobody_elses_link_is_redirected_from_here(here: Site) -> None:
    page = here.visit(f"to={OVER}", path="/links").body.decode()
    path = page.split('"')[1].partition("?")[0]
    assert here.visit(path=path).status == "302 FOUND"
    for forged in (
        f"{path[:-1]}x/",
        f"{path[:-2]}/",
        "/_s2s/to/evil.example/",
        f"/_s2s/to/{OVER}/",
    ):
        assert not here.visit(path=forged).values("Location")


def test_a_template_without_the_blueprint_makes_the_link_at_once(
    make_site: MakeSite, there: Site
) -> None:
    here = leaving(make_site(**KEY), blueprint=False)
    cookie = cookie_of(here.visit("ps_xid=aBc"))
    answer = here.visit(f"to={OVER}", path="/links", cookie=cookie)
    assert answer.values("Cache-Control") == ["private, no-store"]
    query = urlsplit(answer.body.decode().split('"')[1]).query
    assert there.click_seen(query, host=THERE, **FOLLOWED)[0] == "aBc"


def test_the_way_there_is_good_for_nothing_here(here: Site) -> None:
    """Nor is a link that was made for a host which an attacker chose."""
    query = handed(here, "https://evil.example/")
    assert here.click_seen(query, host=HERE, **FOLLOWED) is None
    own = {"HTTP_SEC_FETCH_SITE": "same-origin", "HTTP_REFERER": f"https://{HERE}/?{query}"}
    assert here.click_seen(query, host=HERE, **own) is None
