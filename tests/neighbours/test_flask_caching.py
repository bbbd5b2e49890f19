"""Flask-Caching: a cached page is everybody's, and the cookie beside it one visitor's."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from flask import make_response
from flask.testing import FlaskClient
from flask_caching import Cache

from tests.neighbours.conftest import MakeShop
from tests.neighbours.shop import CLICK, Shop

CACHES: dict[str, dict[str, Any]] = {
    "memory": {"CACHE_TYPE": "SimpleCache"},
    "files": {"CACHE_TYPE": "FileSystemCache"},
}


class CachedShop:
    """A shop whose pages are kept by Flask-Caching; counts how often each is made."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.made: list[str] = []
        cache = Cache(shop.app)
        shop.start()

        @shop.app.get("/page")
        @cache.cached()
        def page() -> str:
            self.made.append("page")
            return "a page"

        @shop.app.get("/by-query")
        @cache.cached(query_string=True)
        def by_query() -> str:
            self.made.append("by-query")
            return "a page"

        @shop.app.get("/response")
        @cache.cached()
        def response() -> Any:
            self.made.append("response")
            return make_response("a page", {"Cache-Control": "public"})

        @shop.app.post("/signup")
        def sign_up() -> str:
            shop.add_user()
            shop.db.session.commit()
            return "done"


PAGES = ["page", "by-query", "response"]


@pytest.fixture(params=CACHES)
def cached(
    request: pytest.FixtureRequest, make_shop: MakeShop, tmp_path: pathlib.Path
) -> CachedShop:
    settings = CACHES[request.param]
    return CachedShop(make_shop(CACHE_DIR=str(tmp_path / "cache"), **settings))


def open_page(visitor: FlaskClient, page: str, click: str | None) -> str | None:
    """Open a page, with a click or without; return the cookie that the answer sets."""
    answer = visitor.get(f"/{page}" + (f"?ps_xid={click}" if click else ""))
    assert answer.text == "a page"
    return answer.headers.get("Set-Cookie")


@pytest.mark.parametrize("page", PAGES)
def test_a_cached_page_hands_nobody_elses_cookie_over(cached: CachedShop, page: str) -> None:
    first, second = cached.shop.app.test_client(), cached.shop.app.test_client()
    assert open_page(first, page, CLICK) is not None
    assert open_page(second, page, None) is None
    # The same address, and so the same entry of the cache, even where the query is a part of it.
    made = len(cached.made)
    theirs = open_page(second, page, CLICK)
    assert len(cached.made) == made
    assert theirs is not None
    assert open_page(cached.shop.app.test_client(), page, None) is None


@pytest.mark.parametrize("page", PAGES)
def test_a_landing_on_a_cached_page_is_captured(cached: CachedShop, page: str) -> None:
    shop = cached.shop
    open_page(shop.app.test_client(), page, None)
    open_page(shop.app.test_client(), page, "Another4567890")
    made = len(cached.made)
    visitor = shop.app.test_client()
    assert open_page(visitor, page, "Another4567890") is not None
    assert len(cached.made) == made
    visitor.post("/signup")
    assert shop.credited() == [("1", "Another4567890")]


@pytest.mark.parametrize("page", PAGES)
def test_a_landing_leaves_the_cached_page_public(cached: CachedShop, page: str) -> None:
    client = cached.shop.app.test_client()
    landed = client.get(f"/{page}?ps_xid={CLICK}")
    assert landed.headers["Cache-Control"] == "private, no-store"
    again = cached.shop.app.test_client().get(f"/{page}")
    assert again.headers.get("Cache-Control") == ("public" if page == "response" else None)
