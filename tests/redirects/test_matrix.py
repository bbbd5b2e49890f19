"""A landing's parameters survive the site's own redirects, and make no loop of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from flask import Flask, jsonify, redirect, request
from werkzeug.test import Client, TestResponse

from flask_s2s import S2S, S2SMiddleware, Services, Settings
from flask_s2s.testing import ManualClock, ScriptedTransport
from tests.capture.sites import SECRET

LANDING = "ps_xid=aBc&ps_partner_key=MTIz&sid=a%20b&utm_source=x"
Redirect = Callable[[], Any]


def secured() -> Any:
    if request.scheme == "http":
        return redirect(f"https://{request.host}{request.path}", 301)
    return None


def hosted() -> Any:
    if not request.host.startswith("www."):
        return redirect(f"{request.scheme}://www.{request.host}{request.path}", 301)
    return None


def located() -> Any:
    if not request.path.startswith("/en"):
        return redirect(f"/en{request.path}")
    return None


def slashed() -> Any:
    if not request.path.endswith("/"):
        return redirect(f"{request.path}/", 308)
    return None


def relative() -> Any:
    if request.path.endswith("/old/page"):
        return redirect("../new?kept=1#there", 303)
    return None


def cleaned() -> Any:
    """The site stores the parameters itself, and shows none of them."""
    if "ps_xid" in request.args:
        return redirect(request.base_url)
    return None


def cleaned_relative() -> Any:
    return redirect("?kept=1") if "ps_xid" in request.args else None


def cleaned_without_slash() -> Any:
    """The clean address has no slash, and the site wants one."""
    if "ps_xid" in request.args:
        return redirect(request.path.rstrip("/") or "/home")
    return slashed()


def bounced() -> Any:
    """A visitor who brings parameters is sent to and fro."""
    if "ps_xid" in request.args:
        return redirect("/b" if request.path == "/a" else "/a")
    return None


def make_client(folder: Path, steps: list[Redirect], cookies: bool, **config: Any) -> Client:
    app = Flask(__name__, instance_path=str(folder))
    app.config.from_mapping(SECRET_KEY=SECRET, TESTING=True, **config)

    @app.before_request
    def go() -> Any:
        return next((answer for step in steps if (answer := step()) is not None), None)

    @app.route("/")
    @app.route("/<path:path>")
    def page(path: str = "") -> Any:
        click = s2s.current_click()
        return jsonify(click and [click.click_id, click.partner_key, list(click.sub_ids)])

    s2s = S2S(transport=ScriptedTransport(), clock=ManualClock())
    s2s.init_app(app)
    return Client(app, use_cookies=cookies)


def ask(client: Client, url: str) -> TestResponse:
    parts = urlsplit(url)
    return client.get(
        parts.path, base_url=f"{parts.scheme}://{parts.netloc}", query_string=parts.query
    )


def follow(client: Client, url: str) -> tuple[list[str], Any]:
    """Go where a browser would; return the URLs, and what the last page says of the click."""
    seen = [url]
    while True:
        assert len(seen) <= 20, "ERR_TOO_MANY_REDIRECTS"
        answer = ask(client, url)
        if answer.status_code == 200:
            return seen, answer.get_json()
        # As browsers do: a fragment is not sent.
        url = urljoin(url, answer.headers["Location"])
        seen.append(url)
        url = url.partition("#")[0]


#: What a site does -> where a landing begins, and the page at which it ends.
SITES: dict[str, tuple[list[Redirect], str, str]] = {
    "slash": ([slashed], "http://shop.example/a", "http://shop.example/a/"),
    "https": ([secured], "http://shop.example/a", "https://shop.example/a"),
    "www": ([hosted], "http://shop.example/a", "http://www.shop.example/a"),
    "locale": ([located], "http://shop.example/", "http://shop.example/en/"),
    "relative": ([relative], "http://shop.example/old/page", "http://shop.example/new?kept=1"),
    "all": (
        [secured, hosted, located, slashed],
        "http://shop.example/a",
        "https://www.shop.example/en/a/",
    ),
    "ports": ([hosted], "http://shop.example:8000/a", "http://www.shop.example:8000/a"),
    "encoded": ([slashed], "http://shop.example/%C3%BC%20a", "http://shop.example/%C3%BC%20a/"),
}


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("cookies", [True, False], ids=["cookies", "blocked"])
@pytest.mark.parametrize("domain", ["auto", None])
def test_the_click_survives_the_sites_own_redirects(
    tmp_path: Path, name: str, cookies: bool, domain: str | None
) -> None:
    steps, begin, end = SITES[name]
    client = make_client(tmp_path, steps, cookies, S2S_COOKIE_DOMAIN=domain)
    seen, click = follow(client, f"{begin}?{LANDING}")
    assert click == ["aBc", "123", ["a b"]]
    assert len(seen) == (5 if name == "all" else 2)
    assert seen[-1].startswith(end)
    if name == "relative":
        assert seen[-1].endswith("#there")


@pytest.mark.parametrize(
    "steps", [[cleaned], [cleaned_relative], [secured, cleaned], [hosted, cleaned]]
)
@pytest.mark.parametrize("cookies", [True, False], ids=["cookies", "blocked"])
def test_a_site_that_cleans_its_address_has_it_clean(
    tmp_path: Path, steps: list[Redirect], cookies: bool
) -> None:
    client = make_client(tmp_path, steps, cookies)
    seen, click = follow(client, f"http://shop.example/a?{LANDING}")
    assert "ps_xid" not in seen[-1]
    assert "s2s_hop" not in seen[-1]
    assert len(seen) == len(steps) + 1
    # Without a cookie nothing is left of it, and that is what such a site does.
    assert click == (["aBc", "123", ["a b"]] if cookies else None)


@pytest.mark.parametrize("steps", [[cleaned_without_slash], [bounced]])
@pytest.mark.parametrize("cookies", [True, False], ids=["cookies", "blocked"])
def test_parameters_that_a_site_takes_off_make_no_loop(
    tmp_path: Path, steps: list[Redirect], cookies: bool
) -> None:
    client = make_client(tmp_path, steps, cookies)
    seen, _ = follow(client, f"http://shop.example/a/?{LANDING}")
    assert len(seen) <= 8
    assert "ps_xid" not in seen[-1]


ELSEWHERE = [
    "https://partner.example/a",
    "//partner.example/a",
    "https://accounts.idp.example/oauth/authorize?client_id=1&redirect_uri=https://shop.example/cb",
    "https://auth.shop.example/authorize?client_id=1&redirect_uri=https://www.shop.example/cb",
    "/oauth/authorize?response_type=code",
    "https://auth.shop.example/saml?SAMLRequest=x",
    "https://shop.example@partner.example/a",
    "https://user@www.shop.example/a",
    "/\\partner.example/a",
    "https:\\\\partner.example/a",
    "https://shop.example.partner.example/",
    "https://notshop.example/",
    "mailto:a@shop.example",
    "app://shop.example/a",
    "http://[shop.example/",
]


@pytest.mark.parametrize("location", ELSEWHERE)
@pytest.mark.parametrize("carry", ["auto", "off"])
def test_no_redirect_to_others_gets_anything(tmp_path: Path, location: str, carry: str) -> None:
    """Byte for byte what the site said."""

    def away(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("302 Found", [("Location", location)])
        return []

    settings = Settings.from_mapping(
        {"SECRET_KEY": SECRET, "TESTING": True, "S2S_CARRY": carry, "S2S_COOKIE_NAME": "kept"}
    )
    client = Client(S2SMiddleware(away, Services.build(settings, folder=tmp_path)))
    answer = ask(client, f"http://www.shop.example/a?{LANDING}")
    assert answer.headers["Location"] == location
    assert answer.headers["Set-Cookie"].startswith("kept=1")


def test_a_site_with_tenants_tells_other_hosts_nothing(tmp_path: Path) -> None:
    def to_tenant() -> Any:
        return redirect("http://tenant.shop.example/")

    for domain, brings in (("auto", True), (None, False)):
        folder = tmp_path / str(domain)
        client = make_client(folder, [to_tenant], False, S2S_COOKIE_DOMAIN=domain)
        location = ask(client, f"http://shop.example/a?{LANDING}").headers["Location"]
        assert ("ps_xid" in location) is brings


@pytest.mark.parametrize("host", ["localhost:5000", "127.0.0.1:5000", "github.io", "intranet"])
def test_a_host_without_a_domain_has_only_itself(tmp_path: Path, host: str) -> None:
    targets = {f"http://{host}/b": True, "http://ada.github.io/": False, "http://other/": False}

    def go() -> Any:
        return redirect(request.args["to"])

    client = make_client(tmp_path, [go], False)
    for target, brings in targets.items():
        answer = ask(client, f"http://{host}/a?ps_xid=aBc&to={target}")
        assert ("ps_xid" in answer.headers["Location"]) is brings, target


def test_what_the_site_says_itself_counts(tmp_path: Path) -> None:
    said = "/b?sid=of-the-site&ps_partner_key=MTIz"

    def go() -> Any:
        return redirect(said)

    client = make_client(tmp_path, [go], False)
    answer = ask(client, f"http://shop.example/a?{LANDING}&sid1=more")
    assert answer.headers["Location"] == f"{said}&ps_xid=aBc&sid1=more&s2s_hop=1"
    said = "/b?gsxid=other"
    assert ask(client, f"http://shop.example/a?{LANDING}").headers["Location"] == said


def test_no_parameter_brings_a_header_of_its_own(tmp_path: Path) -> None:
    client = make_client(tmp_path, [slashed], False)
    for query in ("ps_xid=abc&sid=a\r\nX-Bad:1", "ps_xid=abc&sid=\xff", "ps_xid=abc&sid=a b"):
        environ = {"PATH_INFO": "/a", "QUERY_STRING": query, "HTTP_HOST": "shop.example"}
        answer = client.open("/a", environ_overrides=environ)
        wanted = "/a/?ps_xid=abc&sid=a b&s2s_hop=1" if query.endswith("a b") else ""
        assert answer.headers["Location"] == (wanted or "/a/?ps_xid=abc&s2s_hop=1")


def test_a_long_landing_leaves_its_sub_ids_behind(tmp_path: Path) -> None:
    client = make_client(tmp_path, [slashed], False)
    answer = ask(client, f"http://shop.example/a?ps_xid=abc&sid={'x' * 5000}")
    assert answer.headers["Location"] == "/a/?ps_xid=abc&s2s_hop=1"
