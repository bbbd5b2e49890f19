"""A visitor who keeps no cookie: the click goes along in the address of the page before."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Response, redirect, request
from flask_caching import Cache

from tests.carrying.site import ORIGIN, Browser, Site

LANDING = "/?ps_xid=Click1&utm_source=x"
MakeSite = Callable[..., Site]


def land(browser: Browser, click: str = "Click1") -> Browser:
    return browser.type(LANDING.replace("Click1", click), "cross-site")


def under(make_site: MakeSite, policy: str, **config: Any) -> Site:
    """Return a site that has a Referrer-Policy of its own."""
    site = make_site(**config)

    @site.app.after_request
    def refer(response: Response) -> Response:
        if policy:
            response.headers["Referrer-Policy"] = policy
        return response

    return site.start()


POLICIES = {
    "": ["", "same-origin"],
    "no-referrer": ["same-origin"] * 2,
    "origin": ["same-origin"] * 2,
    "strict-origin": ["same-origin"] * 2,
    "unsafe-url": ["same-origin"] * 2,
    "no-referrer-when-downgrade": ["same-origin"] * 2,
    "sam-origin": ["sam-origin", "same-origin"],
    "same-origin": ["same-origin"] * 2,
    "no-referrer, strict-origin-when-cross-origin": ["no-referrer, strict-origin-when-cross-origin"]
    * 2,
}


# -- the way --------------------------------------------------------------------------------------


def test_three_pages_and_a_sign_up_without_any_cookie_are_credited(
    site: Site, browser: Browser
) -> None:
    land(browser).click("about").click("pricing").open("/signup").submit("here", customer="42")
    assert (site.reason("42"), site.credited_to("42")) == ("carried", "Click1")
    assert browser.url == f"{ORIGIN}/welcome"


def test_a_form_on_the_landing_itself_is_credited_without_any_redirect(
    site: Site, browser: Browser
) -> None:
    for form, customer in (("signup", "42"), ("search", "")):
        land(browser).submit(form, **({"customer": customer} if customer else {"q": "shoes"}))
        assert ("s2s_xid=" in "".join(browser.redirects)) is (form == "search")
    assert site.reason("42") == "carried"


def test_a_search_and_a_redirect_in_between_lose_nothing(site: Site, browser: Browser) -> None:
    land(browser).submit("search", q="shoes").open("/moved")
    assert urlsplit(browser.url).path == "/pricing"
    browser.open("/signup").submit("signup", customer="42")
    assert site.reason("42") == "carried"


def test_a_page_is_redirected_once_to_itself_and_the_app_sees_nothing_of_it(
    site: Site, browser: Browser
) -> None:
    land(browser).click("about").click("pricing")
    assert len(browser.redirects) == 1
    assert "s2s_xid=" in browser.url
    assert site.asked[1:] == [
        (f"{ORIGIN}/about?x=1&y=2", f"{ORIGIN}{LANDING}"),
        (f"{ORIGIN}/pricing", f"{ORIGIN}/about?x=1&y=2"),
    ]


def test_servers_that_write_the_target_down_too_show_the_app_no_token(site: Site) -> None:
    # gunicorn, uWSGI, Apache, IIS, and proxies that send it along.
    targets = (
        "RAW_URI",
        "REQUEST_URI",
        "HTTP_X_ORIGINAL_URL",
        "HTTP_X_FORWARDED_URI",
        "UNENCODED_URL",
    )
    names = (*targets, "REDIRECT_QUERY_STRING")
    seen: list[tuple[str, ...]] = []
    site.app.before_request(lambda: seen.append(tuple(request.environ[name] for name in names)))
    for query in ("s2s_xid=abc", "a=?&s2s_xid=abc"):
        written = dict.fromkeys(targets, f"/pricing?{query}") | {"REDIRECT_QUERY_STRING": query}
        site.app.test_client().get(f"/pricing?{query}", environ_overrides=written)
    assert seen == [("/pricing",) * 5 + ("",), ("/pricing?a=?",) * 5 + ("a=?",)]


def test_reload_back_and_a_form_that_is_shown_again_keep_the_click(
    site: Site, browser: Browser
) -> None:
    land(browser).open("/signup").reload().submit("here", customer="")
    assert browser.answer is not None
    assert browser.answer.status_code == 422
    site.clock.advance(minutes=5)
    browser.submit("here", customer="42")
    assert site.reason("42") == "carried"


@pytest.mark.parametrize("policy", POLICIES)
def test_the_site_is_told_its_own_address_and_no_other_site_is(
    make_site: MakeSite, policy: str
) -> None:
    site = under(make_site, policy)
    browser = Browser(site.app)
    for page, expected in enumerate(POLICIES[policy]):
        browser.click("pricing") if page else land(browser)
        assert browser.answer is not None
        assert browser.answer.headers.getlist("Referrer-Policy") == ([expected] if expected else [])
        assert browser.answer.headers["Cache-Control"] == "private, no-store"
    browser.submit("signup", customer="42")
    assert site.reason("42") == "carried"


def test_no_collector_of_reports_is_told_a_token(make_site: MakeSite) -> None:
    """A browser names the page's whole address in its reports, and the page before it."""
    site = make_site()
    collector = "https://reports.example/r"
    policy = f"default-src 'self';report-uri {collector} ; img-src *, sandbox; Report-To main"
    reporting = {"Reporting-Endpoints": f'main="{collector}"', "Report-To": "{}", "NEL": "{}"}
    policies = {"Content-Security-Policy": policy}
    policies["Content-Security-Policy-Report-Only"] = f"report-uri {collector}"
    # Not in the answer itself: a browser may remember where "main" is from one of before.
    policies["Cross-Origin-Opener-Policy"] = 'same-origin; report-to="main"'
    policies["Cross-Origin-Embedder-Policy-Report-Only"] = "require-corp;report-to=main;odd"
    policies["Document-Policy"] = "force-load-at-top;report-to=main, odd"

    @site.app.after_request
    def report(response: Response) -> Response:
        response.headers.update(reporting | policies)
        return response

    browser = Browser(site.start().app)

    def told() -> dict[str, str]:
        assert browser.answer is not None
        return {name: browser.answer.headers.get(name, "") for name in reporting | policies}

    land(browser)
    assert told() == reporting | policies, "what is no token's is the site's own"
    browser.click("pricing")
    kept = {
        "Content-Security-Policy": "default-src 'self'; img-src *, sandbox;",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy-Report-Only": "require-corp;odd",
        "Document-Policy": "force-load-at-top, odd",
    }
    assert told() == dict.fromkeys(reporting | policies, "") | kept
    browser.open("/signup").submit("here", customer="")
    assert browser.answer is not None
    assert browser.answer.status_code == 422
    assert told() == dict.fromkeys(reporting | policies, "") | kept


def test_a_landing_that_a_cache_answered_is_found_on_the_next_page(site: Site) -> None:
    browser = Browser(site.app, keeps_cookies=True)
    browser.url = f"{ORIGIN}{LANDING}"
    browser.open("/pricing").click("about").submit("signup", customer="42")
    assert (site.reason("42"), site.credited_to("42")) == ("cookie", "Click1")
    assert site.rows() == ["Click1"]


@pytest.mark.parametrize("policy", ["", "no-referrer", "same-origin"])
def test_after_a_credited_sign_up_no_page_is_told_of_the_click(
    make_site: MakeSite, policy: str
) -> None:
    site = under(make_site, policy)
    browser = land(Browser(site.app)).open("/signup").submit("here", customer="42")
    assert browser.redirects == ["/welcome"]
    assert site.asked[-1][1] == (f"{ORIGIN}/" if not policy else None)
    browser.click("pricing").open("/signup").submit("here", customer="43")
    assert (site.reason("42"), site.reason("43")) == ("carried", "no_click")


def test_a_sign_up_that_fails_ends_nothing(make_site: MakeSite) -> None:
    site = make_site()

    @site.app.post("/fails")
    def fails() -> Any:
        site.s2s.track_signup(customer_key="41")
        return "no", 500

    browser = land(Browser(site.start().app)).click("pricing")
    page = browser.url, browser.answer
    browser._go("POST", f"{ORIGIN}/fails", "same-origin", browser._told())
    assert browser.answer is not None
    assert "Referrer-Policy" not in browser.answer.headers
    browser.url, browser.answer = page
    assert browser.click("about").redirects != []


# -- who is not redirected ------------------------------------------------------------------------


def test_whoever_sends_a_cookie_is_never_redirected(site: Site) -> None:
    browser = Browser(site.app, keeps_cookies=True)
    organic = Browser(site.app).type("/pricing").answer
    land(browser)
    site.clock.advance(minutes=1)
    browser.click("pricing")
    assert browser.answer is not None
    assert organic is not None
    assert (browser.answer.data, browser.answer.headers) == (organic.data, organic.headers)
    browser.click("about").open("/signup").submit("here", customer="42")
    assert (browser.redirects, site.reason("42")) == (["/welcome"], "cookie")
    assert all("s2s_xid" not in url for url, _ in site.asked)


@pytest.mark.parametrize("cookie", ["kept", "junk"])
def test_a_cookie_outranks_the_page_before_whatever_it_has(site: Site, cookie: str) -> None:
    landing = site.app.test_client(use_cookies=False).get("/?ps_xid=Mine", base_url=ORIGIN)
    kept = landing.headers["Set-Cookie"].partition(";")[0]
    site.clock.advance(minutes=1)
    # A landing of another click that only a cache has seen.
    said = {"Sec-Fetch-Site": "same-origin", "Referer": f"{ORIGIN}{LANDING}"}
    said["Cookie"] = kept if cookie == "kept" else "s2s=junk"
    client = site.app.test_client(use_cookies=False)
    page = client.get("/pricing", base_url=ORIGIN, headers=said | {"Sec-Fetch-Dest": "document"})
    assert page.status_code == 200
    client.post("/signup", base_url=ORIGIN, headers=said, data={"customer": "42"})
    assert site.reason("42") == ("cookie" if cookie == "kept" else "bad_signature")
    assert site.credited_to("42") == ("Mine" if cookie == "kept" else None)


NOT_PAGES: dict[str, dict[str, Any]] = {
    "/guide.pdf": {},
    "/static/style.css": {},
    "/pricing": {"Sec_Fetch_Dest": "iframe"},
    "/pricing?image": {"Sec_Fetch_Dest": "image"},
    "/pricing?fetched": {"Sec_Fetch_Dest": "empty"},
    "/pricing?prefetched": {"Sec_Purpose": "prefetch"},
    "/pricing?prerendered": {"Sec_Purpose": "prefetch;prerender"},
    "/pricing?robot": {"User_Agent": "Googlebot/2.1"},
    "/pricing?socket": {"Upgrade": "websocket"},
    "/pricing?worker": {"Service_Worker": "script"},
    "/pricing?json": {"Sec_Fetch_Dest": "", "Accept": "application/json"},
}


@pytest.mark.parametrize("path", NOT_PAGES)
def test_what_is_no_page_that_somebody_opens_is_left_alone(site: Site, path: str) -> None:
    browser = land(Browser(site.app)).open(path, **NOT_PAGES[path])
    assert browser.redirects == []
    assert browser.answer is not None
    assert "Set-Cookie" not in browser.answer.headers
    assert site.rows() == ["Click1"]


def test_without_fetch_metadata_a_page_is_what_asks_for_html(site: Site) -> None:
    html: dict[str, Any] = {
        "Sec_Fetch_Site": "",
        "Sec_Fetch_Dest": "",
        "Accept": "text/html,*/*;q=0.8",
    }
    for referer, redirected in (
        (f"{ORIGIN}{LANDING}", True),
        (f"https{ORIGIN[4:]}{LANDING}", True),
        (f"https://other.example{LANDING}", False),
        (f"http://shop.example{LANDING}", False),
        ("http://[?ps_xid=a", False),
        ("?ps_xid=a", False),
    ):
        browser = Browser(site.app, **html).type("/pricing", "", referer)
        assert bool(browser.redirects) is redirected, referer


@pytest.mark.parametrize("came_from", ["cross-site", "same-site", "none"])
def test_a_page_of_another_origin_counts_for_nothing(site: Site, came_from: str) -> None:
    browser = Browser(site.app).type("/pricing", came_from, f"{ORIGIN}{LANDING}")
    assert browser.redirects == []
    site.app.test_client().post(
        "/signup",
        data={"customer": "42"},
        headers={"Sec-Fetch-Site": came_from, "Referer": f"{ORIGIN}{LANDING}"},
    )
    assert site.reason("42") == "no_click"


@pytest.mark.parametrize("dest", ["iframe", "frame", "image", "style", "script", "font", "video"])
def test_a_form_or_request_of_a_frame_credits_nobody(site: Site, dest: str) -> None:
    headers = {
        "Sec-Fetch-Site": "same-origin",
        "Sec-Fetch-Dest": dest,
        "Referer": ORIGIN + LANDING,
    }
    site.app.test_client().post("/signup", data={"customer": "42"}, headers=headers)
    assert site.reason("42") == "no_click"


def test_carrying_can_be_switched_off(make_site: MakeSite) -> None:
    site = under(make_site, "unsafe-url", S2S_CARRY="off")
    browser = land(Browser(site.app))
    assert browser.answer is not None
    assert browser.answer.headers["Referrer-Policy"] == "unsafe-url"
    browser.click("pricing").open("/signup").submit("here", customer="42")
    assert (browser.redirects, site.reason("42")) == (["/welcome"], "no_click")
    organic = Browser(site.app).type("/pricing?s2s_xid=whatever")
    assert organic.redirects == []


def test_an_address_that_no_browser_would_tell_stays(site: Site, browser: Browser) -> None:
    for query in ("x=" + "y" * 4000, "x=\xff", "x=a\tb"):
        land(browser)
        environ = {"QUERY_STRING": query, "HTTP_HOST": "www.shop.example"}
        answer = site.app.test_client(use_cookies=False).get(
            "/pricing",
            environ_overrides=environ,
            headers={
                "Sec-Fetch-Site": "same-origin",
                "Referer": browser.url,
                "Accept": "text/html",
            },
        )
        assert answer.status_code == 200
        assert answer.headers.getlist("Set-Cookie") != []


# -- copied and planted tokens --------------------------------------------------------------------


@pytest.mark.parametrize("came_from", ["none", "cross-site"])
@pytest.mark.parametrize("keeps_cookies", [True, False], ids=["cookies", "blocked"])
def test_a_copied_address_hands_nothing_to_whoever_opens_it(
    site: Site, browser: Browser, came_from: str, keeps_cookies: bool
) -> None:
    copied = land(browser).open("/signup?plan=solo").url
    assert "s2s_xid=" in copied
    other = Browser(site.app, keeps_cookies=keeps_cookies)
    other.type(copied.removeprefix(ORIGIN), came_from)
    assert other.url == f"{ORIGIN}/signup?plan=solo"
    assert other.answer is not None
    assert "Set-Cookie" not in other.answer.headers
    other.submit("here", customer="someone else")
    assert site.reason("someone else") == "no_click"
    browser.submit("here", customer="42")
    assert site.reason("42") == "carried"


def test_a_planted_token_moves_nobodys_credit(site: Site, browser: Browser) -> None:
    planted = urlsplit(land(browser, "EVIL").click("pricing").url).query
    organic = Browser(site.app).type("/").open(f"/pricing?{planted}")
    assert organic.url.rstrip("?") == f"{ORIGIN}/pricing"
    organic.open("/signup").submit("here", customer="organic")
    assert site.reason("organic") == "no_click"
    mine = land(Browser(site.app), "MINE").open(f"/signup?{planted}")
    mine.submit("here", customer="mine")
    assert site.credited_to("mine") == "MINE"
    posted = land(Browser(site.app), "MINE")
    posted._go(
        "POST",
        f"{ORIGIN}/signup?{planted}",
        "same-origin",
        posted.url,
        body={"customer": "p"},
    )
    assert site.credited_to("p") == "MINE"


def test_one_token_serves_one_customer(site: Site, browser: Browser) -> None:
    land(browser).open("/signup")
    page = browser.url, browser.answer
    for customer, reason in [("42", "carried"), ("42", "carried"), ("43", "token_used")]:
        browser.url, browser.answer = page
        browser._policy = ""
        browser.submit("here", customer=customer)
        assert site.reason(customer) == reason


def test_a_token_is_good_for_two_hours(site: Site, browser: Browser) -> None:
    land(browser).click("about")
    site.clock.advance(minutes=119)
    browser.open("/signup")
    page = browser.url, browser.answer
    browser.submit("here", customer="42")
    assert site.reason("42") == "carried"
    browser.url, browser.answer, browser._policy = *page, ""
    site.clock.advance(minutes=2)
    browser.submit("here", customer="43")
    assert site.reason("43") == "no_click"


def test_a_click_outlives_the_session_but_not_its_window(make_site: MakeSite) -> None:
    site = make_site(S2S_WINDOW=timedelta(hours=1)).start()
    browser = land(Browser(site.app)).click("pricing")
    site.clock.advance(minutes=61)
    browser.submit("signup", customer="42")
    assert site.reason("42") == "no_click"


# -- what stands in front -------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, 4])
def test_a_layer_in_front_that_takes_parameters_away_makes_no_loop(
    make_site: MakeSite, processes: int
) -> None:
    apps = [make_site().start().app for _ in range(processes)]
    asked: list[str] = []

    def stripping(environ: dict[str, Any], start_response: Any) -> Any:
        environ["QUERY_STRING"] = ""
        asked.append(environ["PATH_INFO"])
        return apps[len(asked) % processes](environ, start_response)

    site = make_site().start()
    browser = Browser(site.app)
    land(browser)
    site.app.wsgi_app = stripping  # type: ignore[method-assign]
    browser.open("/pricing")
    assert browser.answer is not None
    assert browser.answer.status_code == 200
    assert 1 <= len(browser.redirects) <= 4


def test_a_page_that_came_through_is_redirected_again(site: Site, browser: Browser) -> None:
    landing = land(browser).url
    for _ in range(3):
        browser.url = landing
        assert len(browser.open("/pricing").redirects) == 1


@pytest.mark.parametrize("first", [LANDING, "/"])
def test_a_page_kept_by_flask_caching_is_byte_equal_for_everybody(
    make_site: MakeSite, first: str
) -> None:
    site = make_site(CACHE_TYPE="SimpleCache", CACHE_DEFAULT_TIMEOUT=600)
    cache, rendered = Cache(site.app), []

    def page(name: str) -> str:
        rendered.append(name)
        return f'<link rel="canonical" href="{request.url}">{Site.page(site, name)}'

    site.app.view_functions["page"] = cache.cached(query_string=True)(page)
    site.start()
    Browser(site.app).type(first)
    organic = Browser(site.app).type("/pricing").page
    mine = land(Browser(site.app)).open("/pricing")
    assert "s2s_xid=" in mine.url
    assert mine.page == organic
    # By its query string, as the app sees it: without a token.
    assert rendered.count("pricing") == 1
    mine.submit("signup", customer="42")
    assert site.reason("42") == "carried"


def test_no_address_that_the_app_makes_has_the_token(make_site: MakeSite) -> None:
    site = make_site()

    @site.app.get("/login")
    def login() -> Any:
        back = request.args.get("next", request.full_path)
        return redirect(f"https://idp.example/authorize?client_id=1&redirect_uri={back}")

    @site.app.get("/back")
    def back() -> Any:
        return redirect(request.referrer or "/")

    site.start()
    landing = site.app.test_client().get(LANDING, headers={"Sec-Fetch-Site": "cross-site"})
    assert landing.status_code == 200
    own = {"Sec-Fetch-Site": "same-origin", "Referer": f"{ORIGIN}{LANDING}", "Accept": "text/html"}
    for path in ("/login?a=1", "/login", "/back"):
        client = site.app.test_client(use_cookies=False)
        sent = client.get(path, base_url=ORIGIN, headers=own).headers["Location"]
        assert sent.startswith("?")
        path = path.partition("?")[0] + sent
        location = client.get(path, base_url=ORIGIN, headers=own).headers["Location"]
        assert "s2s_xid" not in location
