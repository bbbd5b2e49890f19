"""`s2s_field()` and `s2s_url_for()`: a template says where the click goes along."""

from collections.abc import Callable

import pytest

from flask_s2s.capture.filling import FIELD
from tests.carrying.site import ORIGIN, Browser, Site

TEMPLATE = """
<a id="pricing" href="/pricing">Prices</a>
<a id="carrying" href="{{ s2s_url_for('page', name='pricing') }}">Prices</a>
<a id="away" href="{{ s2s_url_for('page', name='pricing', _external=True) }}">Prices</a>
<a id="style" href="{{ s2s_url_for('static', filename='x') }}">Prices</a>
<form id="signup" method="post" action="/signup" {{ more }}>
{{ s2s_field() }}<input name="customer"></form>
"""


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    site = make_site()
    site.app.config.pop("S2S_CARRY")
    site.template = TEMPLATE
    return site.start()


def test_the_click_goes_where_the_template_says(site: Site, browser: Browser) -> None:
    browser.type("/?ps_xid=Click1", "cross-site").click("carrying").submit("signup", customer="42")
    assert site.reason("42") == "carried"
    browser.type("/?ps_xid=Click1", "cross-site")
    for other in ("pricing", "away", "style"):
        assert "s2s_xid" not in browser.target(other)


def test_a_form_with_files_carries_too(site: Site) -> None:
    browser = Browser(site.app).type("/?ps_xid=Click1", "cross-site")
    fields = {**browser.hidden["signup"], "customer": "42"}
    site.app.test_client().post(
        "/signup",
        data=fields,
        content_type="multipart/form-data",
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    assert site.reason("42") == "carried"


def test_a_form_that_is_shown_again_is_filled_again(site: Site, browser: Browser) -> None:
    browser.type("/?ps_xid=Click1", "cross-site").submit("signup")
    assert browser.answer is not None
    assert browser.answer.status_code == 422
    assert browser.answer.headers["Cache-Control"] == "private, no-store"
    browser.submit("signup").submit("signup", customer="42")
    assert site.reason("42") == "carried"


def test_everybody_else_gets_the_same_page(site: Site) -> None:
    page = site.app.test_client().get("/", base_url=ORIGIN).text
    assert FIELD in page
    assert "/pricing?s2s_xid=&" not in page
    assert 'href="/pricing?s2s_xid="' in page
    browser = Browser(site.app).type("/").click("carrying")
    assert browser.page == page
    browser.submit("signup", customer="42")
    assert site.reason("42") == "no_click"


def test_a_field_from_another_site_counts_for_nothing(site: Site) -> None:
    hidden = Browser(site.app).type("/?ps_xid=Click1", "cross-site").hidden["signup"]
    browser = Browser(site.app)
    data = {**hidden, "customer": "42"}
    browser._go("POST", f"{ORIGIN}/signup", "cross-site", data=data)
    assert site.reason("42") == "no_click"


def test_switched_off_they_leave_nothing(make_site: Callable[..., Site]) -> None:
    site = make_site()
    site.template, site.app.config["S2S_CARRY"] = TEMPLATE, "off"
    page = Browser(site.start().app).type("/?ps_xid=Click1", "cross-site").page
    assert "s2s_xid" not in page
