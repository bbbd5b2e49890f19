"""Flask-Talisman: the redirect to https keeps the click, and the policy's headers stay."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from flask_talisman import Talisman
from werkzeug.datastructures import Headers
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import TestResponse

from flask_s2s.dashboard import View
from tests.neighbours.conftest import MakeShop
from tests.neighbours.shop import CLICK, LANDING, Shop

HOST = "www.shop.example"
POLICY = {"default-src": "'self'"}


@pytest.fixture
def shop(make_shop: MakeShop) -> Shop:
    shop = make_shop()
    Talisman(shop.app, content_security_policy=POLICY)
    shop.start()

    def sign_up() -> str:
        shop.add_user()
        shop.db.session.commit()
        return "done"

    shop.app.add_url_rule("/signup", view_func=sign_up, methods=["POST"])
    return shop


def our_cookie(answer: TestResponse) -> str | None:
    found = [value for value in answer.headers.getlist("Set-Cookie") if value.startswith("s2s=")]
    assert len(found) <= 1
    return found[0] if found else None


def test_parameters_survive_the_redirect_to_https(shop: Shop) -> None:
    client = shop.app.test_client()
    answer = client.get(LANDING, base_url=f"http://{HOST}")
    assert answer.status_code == 302
    target = urlsplit(answer.headers["Location"])
    assert (target.scheme, target.netloc) == ("https", HOST)
    assert parse_qs(target.query) == {"ps_xid": [CLICK], "sid": ["letter"]}
    # Set by http it would be without Secure, and stay so: the click that lands next is the same.
    assert our_cookie(answer) is None
    landed = client.get(answer.headers["Location"])
    assert (our_cookie(landed) or "").endswith("; Secure")
    assert client.post("/signup", base_url=f"https://{HOST}").text == "done"
    assert shop.credited() == [("1", CLICK)]


def test_on_https_the_cookie_is_secure_and_the_policy_stays(shop: Shop) -> None:
    plain = shop.app.test_client().get("/", base_url=f"https://{HOST}")
    answer = shop.app.test_client().get(LANDING, base_url=f"https://{HOST}")
    assert (our_cookie(answer) or "").endswith("; Domain=shop.example; Secure")
    assert answer.headers["Content-Security-Policy"] == "default-src 'self'"
    ours = {"Set-Cookie", "Cache-Control"}
    kept = [(name, value) for name, value in answer.headers if name not in ours]
    assert kept == [(name, value) for name, value in plain.headers if name not in ours]


def test_behind_a_proxy_that_ends_tls_the_cookie_is_secure(shop: Shop) -> None:
    shop.app.wsgi_app = ProxyFix(shop.app.wsgi_app, x_host=1)  # type: ignore[method-assign]
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": HOST}
    answer = shop.app.test_client().get(LANDING, headers=forwarded)
    assert answer.text == "welcome"
    assert (our_cookie(answer) or "").endswith("; Domain=shop.example; Secure")


def test_the_dashboard_keeps_a_policy_of_its_own(make_shop: MakeShop) -> None:
    """Talisman's would take away its style, its script, and that no page may frame it."""
    alone, beside = make_shop(), make_shop()
    Talisman(beside.app, content_security_policy={"default-src": "https://cdn.example"})

    def headers(shop: Shop, path: str) -> Headers:
        client = shop.app.test_client()
        with client.get(f"/partners{path}", base_url=f"https://{HOST}") as answer:
            return answer.headers

    for shop in (alone, beside):
        shop.start()
        pages = shop.s2s.dashboard(access=lambda request: View("ann"))
        shop.app.register_blueprint(pages, url_prefix="/partners")
    for path in ("/", "/conversions/999", "/static/live.js"):
        assert "Strict-Transport-Security" in headers(beside, path)
        for name in ("Content-Security-Policy", "X-Frame-Options", "Cache-Control"):
            assert headers(beside, path).getlist(name) == headers(alone, path).getlist(name)
