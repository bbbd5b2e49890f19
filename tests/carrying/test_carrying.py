"""A visitor who keeps no cookie: the click goes along in the site's own links and forms."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Response, request, stream_with_context
from flask_caching import Cache

from tests.carrying.site import ORIGIN, Browser, Site

LANDING = "/?ps_xid=Click1&utm_source=x"
STAYING = ("partner", "login", "style", "file", "within", "mail", "saved")


def test_three_pages_and_a_sign_up_without_any_cookie_are_credited(
    site: Site, browser: Browser
) -> None:
    browser.type(LANDING, "cross-site").click("about").click("pricing").click("absolute")
    browser.submit("signup", customer="42")
    assert site.reason("42") == "carried"
    assert urlsplit(browser.url).path == "/welcome"


def test_a_search_and_a_redirect_in_between_lose_nothing(site: Site, browser: Browser) -> None:
    browser.type(LANDING, "cross-site").submit("search", q="shoes").click("pricing")
    browser._go("GET", browser.target("pricing").replace("/pricing", "/moved"), "same-origin")
    browser.submit("signup", customer="42")
    assert site.reason("42") == "carried"


def test_a_form_that_is_shown_again_keeps_the_click(site: Site, browser: Browser) -> None:
    browser.type(LANDING, "cross-site").submit("signup").submit("signup", customer="42")
    assert site.reason("42") == "carried"


def test_links_that_are_no_pages_of_the_site_stay_as_they_are(site: Site, browser: Browser) -> None:
    organic = Browser(site.app).type("/").elements
    carried = browser.type(LANDING, "cross-site").elements
    for name in STAYING:
        assert carried[name] == organic[name], name
    assert "s2s_xid" not in browser.page[browser.page.index("<script>") : browser.page.index("-->")]
    assert browser.elements["about"]["href"].startswith("about?x=1&y=2&s2s_xid=")
    assert browser.elements["about"]["href"].endswith("#team")


def test_a_redirect_out_of_the_site_takes_nothing_along(site: Site) -> None:
    for query in ("ps_xid=Click1", "s2s_xid=whatever"):
        answer = site.app.test_client().get(f"/out?{query}", headers={"Sec-Fetch-Site": "none"})
        assert answer.headers["Location"] == "https://other.example/x"


def test_a_visitor_whose_cookie_came_back_gets_pages_untouched(site: Site) -> None:
    client = site.app.test_client()
    organic = client.get("/pricing").data
    landing = client.get(LANDING, headers={"Sec-Fetch-Dest": "document"})
    assert b"s2s_xid" in landing.data
    followed = client.get("/pricing", headers={"Sec-Fetch-Site": "same-origin"})
    assert followed.data == organic
    again = client.get(LANDING.replace("Click1", "Click2"))
    assert again.data == site.app.test_client().get("/?utm_source=x").data


@pytest.mark.parametrize("came_from", ["none", "cross-site"])
def test_a_copied_link_hands_nothing_to_whoever_opens_it(
    site: Site, browser: Browser, came_from: str
) -> None:
    copied = browser.type(LANDING, "cross-site").click("pricing").url
    assert "s2s_xid=" in copied
    other = Browser(site.app).type(copied.removeprefix(ORIGIN), came_from)
    assert "s2s_xid" not in other.page
    other.click("about").submit("signup", customer="someone else")
    assert site.reason("someone else") == "no_click"
    browser.submit("signup", customer="42")
    assert site.reason("42") == "carried"


@pytest.mark.parametrize("came_from", ["none", "cross-site"])
def test_a_copied_address_of_a_form_is_cleaned_before_the_form_is_sent_to_it(
    site: Site, browser: Browser, came_from: str
) -> None:
    site.template = """
        <a id="join" href="/signup?plan=solo">Join</a>
        <form id="here" method="post"><input name="customer"></form>
    """
    copied = browser.type(LANDING, "cross-site").click("join").url
    assert "s2s_xid=" in copied
    other = Browser(site.app).type(copied.removeprefix(ORIGIN), came_from)
    assert other.url == f"{ORIGIN}/signup?plan=solo"
    other.submit("here", customer="someone else")
    assert site.reason("someone else") == "no_click"
    browser.submit("here", customer="42")
    assert site.reason("42") == "carried"


def test_one_handle_serves_one_customer(site: Site, browser: Browser) -> None:
    browser.type(LANDING, "cross-site")
    page = browser.url, browser.answer
    for customer, reason in [("42", "carried"), ("42", "carried"), ("43", "handle_used")]:
        browser.url, browser.answer = page
        browser.submit("signup", customer=customer)
        assert site.reason(customer) == reason


def test_a_handle_is_good_for_two_hours(site: Site, browser: Browser) -> None:
    browser.type(LANDING, "cross-site").click("about")
    site.clock.advance(minutes=119)
    browser.click("pricing")
    page = browser.url, browser.answer
    browser.submit("signup", customer="42")
    assert site.reason("42") == "carried"
    browser.url, browser.answer = page
    site.clock.advance(minutes=2)
    browser.submit("signup", customer="43")
    assert site.reason("43") == "no_click"


@pytest.mark.parametrize(
    ("referer", "reason"),
    [
        (f"{ORIGIN}/pricing", "carried"),
        ("https://other.example/", "no_click"),
        ("http://[", "no_click"),
        ("", "no_click"),
    ],
)
def test_an_old_browser_is_believed_by_its_referer(
    site: Site, browser: Browser, referer: str, reason: str
) -> None:
    target = browser.type(LANDING, "cross-site").target("signup")
    data, headers = {"customer": "42"}, {"Referer": referer}
    site.app.test_client().post(target, ORIGIN, data=data, headers=headers)
    assert site.reason("42") == reason


def test_another_origin_of_the_site_counts_only_where_its_cookies_would(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(S2S_COOKIE_DOMAIN=None).start()
    target = Browser(site.app).type(LANDING, "cross-site").target("signup")
    browser = Browser(site.app)
    browser._go("POST", target, "same-site", data={"customer": "a tenant's"})
    assert site.reason("a tenant's") == "no_click"
    browser._go("POST", target, "same-origin", data={"customer": "42"})
    assert site.reason("42") == "carried"


@pytest.mark.parametrize("policy", [None, "unsafe-url", "no-referrer-when-downgrade", "sam-origin"])
def test_no_other_site_is_told_the_address(
    make_site: Callable[..., Site], policy: str | None
) -> None:
    site = make_site()

    @site.app.after_request
    def refer(response: Response) -> Response:
        if policy:
            response.headers["Referrer-Policy"] = policy
        return response

    browser = Browser(site.start().app).type(LANDING, "cross-site")
    for _ in range(2):
        assert browser.answer is not None
        assert browser.answer.headers.getlist("Referrer-Policy") == ["same-origin"]
        assert browser.answer.headers.getlist("Cache-Control") == ["private, no-store"]
        browser.click("pricing")


def test_a_discreet_policy_of_the_site_stays(make_site: Callable[..., Site]) -> None:
    site = make_site()

    @site.app.after_request
    def refer(response: Response) -> Response:
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    browser = Browser(site.start().app).type(LANDING, "cross-site")
    assert browser.answer is not None
    assert browser.answer.headers.getlist("Referrer-Policy") == ["no-referrer"]


@pytest.mark.parametrize("first", [LANDING, "/"])
def test_a_page_kept_by_flask_caching_hands_nothing_on(
    make_site: Callable[..., Site], first: str
) -> None:
    site = make_site(CACHE_TYPE="SimpleCache", CACHE_DEFAULT_TIMEOUT=600)
    cache, rendered = Cache(site.app), []

    def page(name: str) -> str:
        rendered.append(name)
        return Site.page(site, name)

    site.app.view_functions["page"] = cache.cached()(page)
    site.start()
    organic = Browser(make_site().start().app).type("/").page
    Browser(site.app).type(first)
    assert Browser(site.app).type("/").page == organic
    mine = Browser(site.app).type(LANDING, "cross-site")
    others = Browser(site.app).type(LANDING.replace("Click1", "Click2"), "cross-site")
    assert len(rendered) == 1
    assert mine.target("signup") != others.target("signup")
    mine.submit("signup", customer="42")
    assert site.reason("42") == "carried"


def test_a_page_says_its_new_length(site: Site) -> None:
    client = site.app.test_client(use_cookies=False)
    plain = client.get("/pricing")
    filled = client.get("/pricing?ps_xid=Click1")
    assert len(filled.data) > len(plain.data)
    assert filled.headers.getlist("Content-Length") == [str(len(filled.data))]
    assert client.head("/pricing?ps_xid=Click1").content_length == len(plain.data)


def test_a_page_that_streams_is_filled_as_it_streams(make_site: Callable[..., Site]) -> None:
    site = make_site()
    happened: list[str] = []

    @site.app.get("/stream")
    def stream() -> Response:
        def pieces() -> Iterator[str]:
            for piece in ("<p>one</p><a id='x' hr", "ef='/pric", "ing'>two</a>", "<p>three"):
                happened.append(piece)
                yield piece

        return Response(stream_with_context(pieces()))

    answer = site.start().app.test_client().get("/stream?ps_xid=Click1", buffered=False)
    body = answer.iter_encoded()
    assert next(body) == b"<p>one</p>"
    assert len(happened) == 1
    rest = b"".join(body)
    assert rest.startswith(b"<a id='x' href=\"/pricing?s2s_xid=")
    assert rest.endswith(b'">two</a><p>three')
    assert answer.content_length is None


def test_only_pages_are_filled(make_site: Callable[..., Site]) -> None:
    site = make_site()
    text = '<a href="/pricing">'

    @site.app.get("/as/<path:kind>")
    def as_kind(kind: str) -> Response:
        return Response(text, mimetype=kind)

    client = site.start().app.test_client(use_cookies=False)
    for kind in ("application/json", "text/plain", "image/svg+xml", "text/csv"):
        assert client.get(f"/as/{kind}?ps_xid=Click1").text == text
    assert client.get("/as/application/xhtml+xml?ps_xid=Click1").text != text


def test_a_page_is_not_compressed_where_it_is_to_be_filled(make_site: Callable[..., Site]) -> None:
    site = make_site()
    asked: list[Any] = []

    @site.app.get("/asked")
    def asking() -> str:
        asked.append(request.headers.get("Accept-Encoding"))
        return "ok"

    client = site.start().app.test_client(use_cookies=False)
    for query in ("?ps_xid=Click1", ""):
        client.get(f"/asked{query}", headers={"Accept-Encoding": "gzip"})
    assert asked == [None, "gzip"]


def test_carrying_can_be_switched_off(make_site: Callable[..., Site]) -> None:
    site = make_site()
    site.app.config["S2S_CARRY"] = "off"
    browser = Browser(site.start().app).type(LANDING, "cross-site")
    assert "s2s_xid" not in browser.page
    browser.submit("signup", customer="42")
    assert site.reason("42") == "no_click"


def test_a_click_outlives_the_session_but_not_its_window(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(S2S_WINDOW=timedelta(hours=1)).start()
    browser = Browser(site.app).type(LANDING, "cross-site")
    site.clock.advance(minutes=61)
    browser.submit("signup", customer="42")
    assert site.reason("42") == "no_click"
