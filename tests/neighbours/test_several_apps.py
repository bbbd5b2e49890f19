"""Two apps in one process, factories, and apps that are mounted below others."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from flask_s2s import S2S
from flask_s2s.testing import ManualClock, ScriptedTransport
from tests.neighbours.shop import CLICK

LANDING = f"?ps_xid={CLICK}"


class Factory:
    """One `S2S` for as many apps as are made, as a package's `extensions.py` has it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.transport = ScriptedTransport()
        self.s2s = S2S(transport=self.transport, clock=ManualClock())
        self.made: list[Flask] = []

    def create_app(self, name: str, **config: Any) -> Flask:
        app = Flask(name, instance_path=str(self.folder / name))
        app.config.update(SECRET_KEY=f"of {name}", S2S_TOKEN=f"token-{name}", TESTING=True)
        app.config.update(config)
        self.s2s.init_app(app)
        self.made.append(app)

        @app.get("/")
        def landing() -> str:
            click = self.s2s.current_click()
            return click.click_id if click else "nobody"

        @app.post("/signup")
        def sign_up() -> str:
            self.s2s.track_signup(customer_key=f"{name}-1")
            return "done"

        return app

    def recorded(self, app: Flask) -> list[tuple[str | None, str]]:
        found = app.extensions["s2s"].ledger.find(limit=9)
        return [(delivery.customer_key, delivery.reason) for delivery in found]

    def sent(self, app: Flask) -> list[tuple[str, str]]:
        """Send what is due at one app; return customer key and token of each request."""
        self.transport.requests.clear()
        with app.app_context():
            self.s2s.drain()
        return [
            (str((sent.body or {})["customer_key"]), sent.headers["Authorization"])
            for sent in self.transport.requests
        ]


@pytest.fixture
def factory(tmp_path: pathlib.Path) -> Iterator[Factory]:
    factory = Factory(tmp_path)
    yield factory
    for app in factory.made:
        app.extensions["s2s"].close()


def test_apps_of_one_factory_have_their_own_clicks_customers_and_tokens(factory: Factory) -> None:
    one, two = factory.create_app("one"), factory.create_app("two")
    visitors = {app: app.test_client() for app in (one, two)}
    visitors[one].get(f"/{LANDING}")
    assert visitors[one].get("/").text == CLICK
    assert visitors[two].get("/").text == "nobody"
    for visitor in visitors.values():
        visitor.post("/signup")
    assert factory.recorded(one) == [("one-1", "cookie")]
    assert factory.recorded(two) == [("two-1", "no_click")]
    assert factory.sent(two) == []
    assert factory.sent(one) == [("one-1", "Bearer token-one")]


def test_a_request_to_one_app_within_a_request_to_another_is_its_own(factory: Factory) -> None:
    one, two = factory.create_app("one"), factory.create_app("two")
    two.add_url_rule(
        "/ask", endpoint="ask", view_func=lambda: one.test_client().get(f"/{LANDING}").text
    )
    visitor = two.test_client()
    assert visitor.get("/ask").text == CLICK
    assert visitor.get("/").text == "nobody"


def side_by_side(shop: Flask, blog: Flask) -> Client:
    return Client(DispatcherMiddleware(shop, {"/blog": blog}))


def test_mounted_apps_that_share_their_key_share_the_visitors_click(factory: Factory) -> None:
    shop = factory.create_app("shop", S2S_SECRET_KEY="of both")
    blog = factory.create_app("blog", S2S_SECRET_KEY="of both")
    visitor = side_by_side(shop, blog)
    assert visitor.get(f"/blog/{LANDING}").text == CLICK
    assert visitor.get("/").text == CLICK
    visitor.post("/signup")
    assert factory.recorded(shop) == [("shop-1", "cookie")]
    assert factory.recorded(blog) == []


def test_mounted_apps_with_keys_of_their_own_say_why_they_do_not(factory: Factory) -> None:
    shop = factory.create_app("shop")
    visitor = side_by_side(shop, factory.create_app("blog"))
    visitor.get(f"/blog/{LANDING}")
    assert visitor.get("/").text == "nobody"
    visitor.post("/signup")
    assert factory.recorded(shop) == [("shop-1", "bad_signature")]


def test_mounted_apps_with_cookies_of_their_own_do_not_disturb_each_other(factory: Factory) -> None:
    shop = factory.create_app("shop")
    blog = factory.create_app("blog", S2S_COOKIE_NAME="s2s_blog")
    visitor = side_by_side(shop, blog)
    visitor.get(f"/{LANDING}")
    visitor.get("/blog/?ps_xid=Another4567890")
    assert visitor.get("/").text == CLICK
    assert visitor.get("/blog/").text == "Another4567890"


@pytest.mark.parametrize("order", ["mounted-first", "mounted-last"])
def test_an_app_within_another_is_credited_once(factory: Factory, order: str) -> None:
    """`app.wsgi_app = DispatcherMiddleware(...)` before or after `init_app`, which wraps it too."""
    shop = factory.create_app("shop", S2S_SECRET_KEY="of both")
    outer = Flask("outer", instance_path=str(factory.folder / "outer"))
    outer.config.update(SECRET_KEY="outer", S2S_SECRET_KEY="of both", TESTING=True)
    factory.made.append(outer)

    if order == "mounted-last":
        factory.s2s.init_app(outer)
    outer.wsgi_app = DispatcherMiddleware(outer.wsgi_app, {"/shop": shop})  # type: ignore[method-assign]
    if order == "mounted-first":
        factory.s2s.init_app(outer)
    visitor = Client(outer)
    landed = visitor.get(f"/shop/{LANDING}")
    assert landed.text == CLICK
    assert len(landed.headers.getlist("Set-Cookie")) == 1
    assert "; Path=/;" in landed.headers["Set-Cookie"]
    assert visitor.get("/shop/").text == CLICK
    visitor.post("/shop/signup")
    assert factory.recorded(shop) == [("shop-1", "cookie")]
    assert factory.sent(shop) == [("shop-1", "Bearer token-shop")]


def test_an_app_within_another_with_a_cookie_of_its_own_has_its_own_click(factory: Factory) -> None:
    blog = factory.create_app("blog", S2S_COOKIE_NAME="s2s_blog")
    outer = Flask("outer", instance_path=str(factory.folder / "outer"))
    outer.config.update(SECRET_KEY="outer", TESTING=True)
    factory.made.append(outer)
    outer.wsgi_app = DispatcherMiddleware(outer.wsgi_app, {"/blog": blog})  # type: ignore[method-assign]
    factory.s2s.init_app(outer)
    visitor = Client(outer)
    landed = visitor.get(f"/blog/{LANDING}")
    assert [one.partition("=")[0] for one in landed.headers.getlist("Set-Cookie")] == [
        "s2s_blog",
        "s2s",
    ]
    visitor.post("/blog/signup")
    assert factory.recorded(blog) == [("blog-1", "cookie")]


def test_an_app_within_another_has_no_collector_told_of_its_token(factory: Factory) -> None:
    """The outer one has another key: it takes the token out of the request, and leaves the response."""
    shop = factory.create_app("shop", S2S_SECRET_KEY="of two sites")
    own = {"S2S_SECRET_KEY": "of two sites", "S2S_COOKIE_NAME": "s2s_blog"}
    blog = factory.create_app("blog", S2S_CONSENT=lambda environ: True, **own)
    outer = Flask("outer", instance_path=str(factory.folder / "outer"))
    outer.config.update(SECRET_KEY="outer", TESTING=True)
    factory.made.append(outer)
    outer.wsgi_app = DispatcherMiddleware(outer.wsgi_app, {"/blog": blog})  # type: ignore[method-assign]
    factory.s2s.init_app(outer)

    @blog.after_request
    def collect(answer: Response) -> Response:
        answer.headers["NEL"] = "{}"
        return answer

    shop.add_url_rule("/over", view_func=lambda: factory.s2s.hand_over("http://blog.example/blog/"))
    visitor = shop.test_client()
    visitor.get(f"/{LANDING}")
    landed = Client(outer).get(visitor.get("/over").text, base_url="http://blog.example")
    assert landed.text == CLICK
    assert "NEL" not in landed.headers
