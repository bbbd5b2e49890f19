"""Where a visitor landed is kept with the click: bounded, nothing personal, and off by a setting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flask_s2s.cli import s2s as commands
from tests.capture.sites import MakeSite, Site, cookie_of

LANDING = "utm_source=partnerstack&ps_xid=aBc&utm_campaign=Spring%20%C3%A4&email=ann%40example.com"


def landing(site: Site) -> Any:
    return site.rows()[-1]["landing"]


def test_the_page_its_utm_and_the_host_before_are_kept(site: Site) -> None:
    site.visit(LANDING, path="/pricing", HTTP_REFERER="https://Blog.Example/post/7?session=secret")
    assert landing(site) == {
        "page": "www.shop.example/pricing",
        "utm": {"utm_source": "partnerstack", "utm_campaign": "Spring \u00e4"},
        "referrer": "blog.example",
    }


def test_a_setting_keeps_nothing(make_site: MakeSite) -> None:
    site = make_site(S2S_KEEP_LANDING=False)
    site.visit(LANDING, HTTP_REFERER="https://blog.example/")
    assert landing(site) is None


@pytest.mark.parametrize(
    ("referer", "kept"),
    [
        ("", None),
        ("https://www.shop.example/", None),
        ("https://user:password@blog.example/", None),
        ("https://[", None),
        ("android-app://com.example", "com.example"),
        ("https://" + "a" * 300 + ".example/", None),
        ("https://evil<script>/", None),
    ],
)
def test_a_referrer_is_a_host_or_nothing(site: Site, referer: str, kept: str | None) -> None:
    site.visit("ps_xid=aBc", HTTP_REFERER=referer)
    assert landing(site)["referrer"] == kept


def test_what_a_stranger_sends_is_bounded(site: Site) -> None:
    much = "&".join(f"utm_{n}={'%F0%9F%98%80' * 400}" for n in range(50))
    site.visit(f"ps_xid=aBc&utm_x=a%00b%ff&utm_{'y' * 40}=long&{much}", path="/" + "ä" * 2000)
    kept = landing(site)
    assert kept["utm"]["utm_x"] == "ab\ufffd"
    assert len(kept["utm"]) <= 10
    assert len(kept["page"]) <= 512
    assert len(json.dumps(kept)) < 3000


def test_what_is_too_long_takes_no_other_along(site: Site) -> None:
    much = "&".join(f"utm_{n}={'%F0%9F%98%80' * 100}" for n in range(3))
    site.visit(f"ps_xid=aBc&{much}&utm_source=news")
    assert landing(site)["utm"]["utm_source"] == "news"


def test_a_later_page_changes_nothing(site: Site) -> None:
    cookie = cookie_of(site.visit("ps_xid=aBc&utm_source=first"))
    site.visit("ps_xid=aBc&utm_source=second", cookie=cookie)
    assert landing(site)["utm"] == {"utm_source": "first"}


def test_explain_shows_it(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site()
    site.visit(LANDING, path="/pricing", HTTP_REFERER="https://blog.example/")
    click = site.services.touches.find("aBc")
    with site.app.app_context():
        site.s2s.track_signup(customer_key="42", click=click)
    run = site.app.test_cli_runner().invoke
    told = run(commands, ["explain", "42"]).output
    assert (
        "Landed on www.shop.example/pricing from blog.example with utm_source=partnerstack" in told
    )
    [row] = json.loads(run(commands, ["explain", "42", "--json"]).output)
    assert row["clicks"][0]["landing"]["referrer"] == "blog.example"


# -- told by a page's own script ------------------------------------------------------------------

APP, CMS = "app.shop.example", "https://www.shop.example"


def told(site: Site, referer: str | None, origin: str | None = CMS) -> Any:
    """The page that is kept where a script tells the app, as a browser sends it."""
    if "s2s_elsewhere" not in site.app.blueprints:
        site.app.register_blueprint(site.s2s.capture_blueprint(), url_prefix="/s2s")
    said = {"HTTP_SEC_FETCH_SITE": "same-site", "HTTP_ORIGIN": origin, "HTTP_REFERER": referer}
    if origin is None:
        said["HTTP_SEC_FETCH_SITE"] = "same-origin"
    said = {name: value for name, value in said.items() if value is not None}
    told = {"path": "/s2s/click", "host": APP, "scheme": "https", "HTTP_SEC_FETCH_DEST": "empty"}
    site.visit(LANDING, **told, **said)
    kept = landing(site)
    assert kept["utm"] == {"utm_source": "partnerstack", "utm_campaign": "Spring \u00e4"}
    assert kept["referrer"] is None
    return kept["page"]


@pytest.mark.parametrize(
    ("referer", "page"),
    [
        ("https://www.shop.example/pricing?ps_xid=aBc", "www.shop.example/pricing"),
        ("https://www.shop.example/preis%C3%BC/%7Ex", "www.shop.example/preis%C3%BC/~x"),
        ("https://www.shop.example/?ps_xid=aBc", "www.shop.example/"),
        # A browser's own policy: another host is told the origin alone.
        ("https://www.shop.example/", "www.shop.example"),
        ("https://elsewhere.example/pricing", None),
        ("https://www.shop.example@elsewhere.example/pricing", None),
        ("https://[", None),
        ("", None),
        (None, None),
    ],
)
def test_a_click_that_a_script_tells_of_landed_on_the_scripts_page(
    site: Site, referer: str | None, page: str | None
) -> None:
    assert told(site, referer) == page


@pytest.mark.parametrize(
    ("referer", "page"),
    [
        (f"https://{APP}/pricing", f"{APP}/pricing"),
        (f"https://{APP}/", f"{APP}/"),
        ("https://www.shop.example/pricing", None),
        (None, None),
    ],
)
def test_a_script_of_the_apps_own_page_has_no_origin_to_say(
    site: Site, referer: str | None, page: str | None
) -> None:
    assert told(site, referer, origin=None) == page


def test_where_consent_is_asked_for_the_page_is_the_scripts_too(make_site: MakeSite) -> None:
    site = make_site(S2S_CONSENT=lambda _environ: "granted")
    assert told(site, "https://www.shop.example/pricing") == "www.shop.example/pricing"
