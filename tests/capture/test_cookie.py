"""The cookie: its attributes, its domain, and finding it among a visitor's others."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import create_environ, run_wsgi_app

from flask_s2s import ConfigError, S2SMiddleware, Settings
from tests.capture.sites import MakeSite, Site, cookie_of, visit


def test_attributes(site: Site) -> None:
    attributes = site.visit("ps_xid=abc").attributes
    assert parsedate_to_datetime(attributes.pop("expires")) == site.clock.now() + timedelta(days=90)
    assert attributes == {
        "max-age": str(90 * 24 * 3600),
        "path": "/",
        "httponly": "",
        "samesite": "Lax",
        "domain": "shop.example",
    }


def test_the_window_is_the_cookies_life(make_site: MakeSite) -> None:
    site = make_site(S2S_WINDOW=30)
    answer = site.visit("ps_xid=abc")
    assert answer.attributes["max-age"] == str(30 * 24 * 3600)
    site.clock.advance(days=30)
    assert site.click_seen(cookie=cookie_of(answer)) is not None
    site.clock.advance(seconds=1)
    assert site.click_seen(cookie=cookie_of(answer)) is None


def test_secure_on_https_only(site: Site) -> None:
    assert "secure" in site.visit("ps_xid=abc", scheme="https").attributes
    assert "secure" not in site.visit("ps_xid=abc", scheme="http").attributes


FORWARDED = {
    "host": "10.0.0.7:8000",
    "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_HOST": "www.shop.example",
}


def test_proxy_fix_outside_of_the_middleware(site: Site) -> None:
    site.app.wsgi_app = ProxyFix(site.app.wsgi_app, x_host=1)  # type: ignore[method-assign]
    attributes = site.visit("ps_xid=abc", **FORWARDED).attributes
    assert "secure" in attributes
    assert attributes["domain"] == "shop.example"


def test_proxy_fix_inside_of_the_middleware(site: Site) -> None:
    middleware = site.app.wsgi_app.__self__  # type: ignore[attr-defined]
    assert isinstance(middleware, S2SMiddleware)
    middleware.app = ProxyFix(middleware.app, x_host=1)
    attributes = visit(middleware, "ps_xid=abc", **FORWARDED).attributes
    assert "secure" in attributes
    assert attributes["domain"] == "shop.example"


def test_forwarded_headers_are_not_believed_by_themselves(site: Site) -> None:
    attributes = site.visit("ps_xid=abc", **FORWARDED).attributes
    assert "secure" not in attributes
    assert "domain" not in attributes


HOSTS = {
    # The registrable domain.
    "shop.com": "shop.com",
    "www.shop.com": "shop.com",
    "a.b.c.shop.com": "shop.com",
    "WWW.Shop.COM": "shop.com",
    "www.shop.com:8443": "shop.com",
    "www.shop.com:": "shop.com",
    "shop.co.uk": "shop.co.uk",
    "www.shop.co.uk": "shop.co.uk",
    "www.city.kawasaki.jp": "city.kawasaki.jp",
    "www.xn--mnchen-3ya.de": "xn--mnchen-3ya.de",
    "www.xn--85x722f.xn--55qx5d.cn": "xn--85x722f.xn--55qx5d.cn",
    "my_site.shop.com": "shop.com",
    # The private section: one tenant is nobody else's.
    "ada.github.io": "ada.github.io",
    "www.ada.github.io": "ada.github.io",
    "ada.herokuapp.com": "ada.herokuapp.com",
    # Host-only: public suffixes, one label, addresses.
    "com": None,
    "co.uk": None,
    "github.io": None,
    "www.ck": "www.ck",  # an exception of the list
    "foo.ck": None,
    "localhost": None,
    "localhost:5000": None,
    "intranet": None,
    "127.0.0.1": None,
    "127.0.0.1:5000": None,
    "[::1]": None,
    "[::1]:5000": None,
    "[2001:db8::1]:443": None,
    "[::ffff:192.0.2.1]:80": None,
    "::1": None,
    # Other spellings of an IPv4 address, as browsers read them.
    "127.1": None,
    "0x7f.1": None,
    "2130706433": None,
    "1.2.3.0x4": None,
    # For a name with the root's dot, browsers refuse a domain without it.
    "www.shop.com.": None,
    # No host at all, or none that a browser sends.
    "": None,
    ".": None,
    ".com": None,
    "a..com": None,
    "-a.com": None,
    "a b.com": None,
    "shop.com;Secure": None,
    "evil;Domain=shop.com": None,
    "evil.com, shop.com": None,
    "user@shop.com": None,
    "shop.com/x": None,
    "shop.com:80:90": None,
    "shop.com:x": None,
    "münchen.de": None,
    "m\xc3\xbcnchen.de": None,
    "x" * 64 + ".com": None,
    "x." * 130 + "com": None,
    "a" * 100_000: None,
    "%73hop.com": None,
}


def test_domain_of_the_cookie(site: Site) -> None:
    plain = {"expires", "max-age", "path", "httponly", "samesite"}
    for number, (host, domain) in enumerate(HOSTS.items()):
        attributes = site.visit(f"ps_xid=click{number}", host=host).attributes
        assert attributes.get("domain") == domain, host
        assert attributes.keys() == plain | ({"domain"} if domain else set()), host


READS_AT_START = """
import sys
from flask import Flask
from flask_s2s import S2S

read = []
sys.addaudithook(
    lambda event, facts: read.append(when) if event == "open" and "suffix" in str(facts[0]) else None
)
when = "import"
import flask_s2s.services
when = "start"
app = Flask("site", instance_path=sys.argv[1])
app.config.update(SECRET_KEY="a", TESTING=True)
S2S().init_app(app)
when = "visit"
answer = app.test_client().get("https://www.shop.example/?ps_xid=abc")
assert "Domain=shop.example" in answer.headers["Set-Cookie"]
print({when for when in read if "visit" in when or "start" in when})
"""


def test_no_visitor_waits_for_the_list_of_suffixes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", READS_AT_START, str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout == "{'start'}\n"


def test_a_request_without_a_host_gets_a_host_only_cookie(site: Site) -> None:
    environ = create_environ("/?ps_xid=abc")
    environ.pop("HTTP_HOST")
    environ["SERVER_NAME"] = "www.shop.example"
    _, _, headers = run_wsgi_app(site.app, environ)
    assert "Domain" not in headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("setting", "domain"),
    [(None, None), ("shop.example", "shop.example"), (".Shop.Example", "shop.example")],
)
def test_domain_by_setting(make_site: MakeSite, setting: str | None, domain: str | None) -> None:
    site = make_site(S2S_COOKIE_DOMAIN=setting)
    for host in ("www.shop.example", "127.0.0.1", "other.test", "a;b"):
        assert site.visit("ps_xid=abc", host=host).attributes.get("domain") == domain


@pytest.mark.parametrize(
    "config",
    [
        {"S2S_COOKIE_DOMAIN": "https://shop.com"},
        {"S2S_COOKIE_DOMAIN": "shop.com:80"},
        {"S2S_COOKIE_DOMAIN": "shop.com; Secure"},
        {"S2S_COOKIE_DOMAIN": "127.0.0.1"},
        {"S2S_COOKIE_DOMAIN": "localhost"},
        {"S2S_COOKIE_DOMAIN": "münchen.de"},
        {"S2S_COOKIE_DOMAIN": ""},
        {"S2S_COOKIE_NAME": "s2s; Path=/x"},
        {"S2S_COOKIE_NAME": "s 2 s"},
        {"S2S_COOKIE_NAME": ""},
        {"S2S_COOKIE_NAME": "__Host-s2s"},
        {"S2S_COOKIE_NAME": "__Host-s2s", "S2S_COOKIE_DOMAIN": "shop.com"},
    ],
)
def test_settings_that_would_make_no_cookie_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="S2S_COOKIE"):
        Settings.from_mapping({"SECRET_KEY": "a", **config})


def test_another_name(make_site: MakeSite) -> None:
    site = make_site(S2S_COOKIE_NAME="__Host-partner", S2S_COOKIE_DOMAIN=None)
    [header] = site.visit("ps_xid=abc", scheme="https").values("Set-Cookie")
    assert header.startswith("__Host-partner=1")
    pair = header.partition(";")[0]
    assert site.click_seen(cookie=pair)[0] == "abc"
    assert site.click_seen(cookie=pair.replace("__Host-partner", "s2s")) is None


def test_the_newest_valid_click_of_several_cookies_wins(site: Site) -> None:
    old = cookie_of(site.visit("ps_xid=old"))
    site.clock.advance(days=1)
    new = cookie_of(site.visit("ps_xid=new"))
    for header in (f"{old}; {new}", f"{new}; {old}", f"{old}; s2s=junk; {new}x; {new}; s2s="):
        assert site.click_seen(cookie=header)[0] == "new"
    assert site.click_seen(cookie=f"{old}; {new}x")[0] == "old"


def test_a_record_under_another_name_is_not_ours(site: Site) -> None:
    record = site.visit("ps_xid=abc").record
    for name in ("s2s2", "xs2s", "S2S", "s2", ""):
        assert site.click_seen(cookie=f"{name}={record}") is None


@pytest.mark.parametrize(
    "others",
    [
        "a=b; [bad]=1; {json}={}; (x)=y",
        "é=ü; \x01=\x02; \xff",
        "=; ;; = ; a",
        'q="a; b"; "quoted"=1',
        "s2s; s2s2=x; xs2s=y; S2S=z",
        "a=" + "b" * 30_000,
    ],
)
def test_other_cookies_do_not_matter(site: Site, others: str) -> None:
    cookie = cookie_of(site.visit("ps_xid=kept"))
    name, _, record = cookie.partition("=")
    for header in (
        f"{others}; {cookie}",
        f"{cookie}; {others}",
        f"{others};{cookie};{others}",
        f'{others}; {name}="{record}"',
        f"{others} ;  {name} = {record} ",
    ):
        assert site.click_seen(cookie=header)[0] == "kept"


@pytest.mark.parametrize("comma", [",", ", "])
def test_a_header_that_came_in_parts_may_be_joined_with_commas(site: Site, comma: str) -> None:
    """A proxy may pass HTTP/2's on as they came: gunicorn joins by the one, uWSGI by the other."""
    cookie = cookie_of(site.visit("ps_xid=kept"))
    for cookies in ([cookie, "a=1"], ["a=1", cookie], ["a=1; b=2", cookie, "c=3; d=4"]):
        assert site.click_seen(cookie=comma.join(cookies))[0] == "kept"


def test_thousands_of_cookies_of_our_name_cost_no_thousands_of_signatures(site: Site) -> None:
    kept = cookie_of(site.visit("ps_xid=kept"))
    assert site.click_seen(cookie="; ".join(["s2s=1x.y"] * 199 + [kept]))[0] == "kept"
    assert site.click_seen(cookie="; ".join(["s2s=1x.y"] * 9_999 + [kept])) is None
    assert site.click_seen(cookie="; ".join(["s2s=1x.y"] * 200 + [kept])) is None
