"""A log-in whose answer another site posts: browsers send no cookie of ours with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from flask import Flask, redirect, request, url_for
from playwright.sync_api import Playwright

from flask_s2s import S2S
from flask_s2s.testing import ScriptedTransport
from tests.browsers.chromium import BLOCKED, Chromium
from tests.browsers.web import PARTNER, SHOP, Door
from tests.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow]


class Site:
    """A shop with the recipes of `docs/posted-back.md`, and another site that posts its answer at once."""

    def __init__(self) -> None:
        self._doors, self._folder = (Door(), Door()), TemporaryDirectory()
        self.shop, self.provider = self._doors[0].at(SHOP), self._doors[1].at(PARTNER)
        self.app = app = Flask(__name__, instance_path=self._folder.name)
        app.config.update(SECRET_KEY="a key that is for tests", TESTING=True)
        self._s2s = S2S(app, transport=ScriptedTransport())
        self.services = app.extensions["s2s"]
        self.services.storage.create()
        self._cache: dict[str, str] = {}
        #: Whether our cookie came with the answer, and why the sign-up has its click.
        self.came: list[tuple[bool, str]] = []
        links = "".join(f'<a href="/login/{name}">{name}</a> ' for name in RECIPES)
        app.add_url_rule("/", view_func=lambda: f"<title>Landing</title>{links}")
        app.add_url_rule("/login/<recipe>", view_func=self._leave, endpoint="leave")
        app.add_url_rule("/back/<recipe>", view_func=self._back, methods=["POST"], endpoint="back")
        self._doors[0].open(app)
        self._doors[1].open(self._provide)

    def close(self) -> None:
        for door in self._doors:
            door.close()
        self.services.close()
        self._folder.cleanup()

    def _leave(self, recipe: str) -> Any:
        """Go, or let the page's button go, to the other site, which is told where to post what."""
        told: dict[str, str] = {}
        to: dict[str, Any] = {"recipe": recipe}
        match recipe:
            case "apple":
                told = {"state": self._s2s.state("nonce"), "code": "c"}
            case "saml":
                # `RelayState` is too short: it stays here, under what comes back as InResponseTo.
                self._cache["saml:id-1"] = self._s2s.state("nonce")
                told = {"SAMLResponse": "id-1"}
            case "google":
                told = {"state": self._s2s.state("nonce"), "credential": "c"}
            case "3-D Secure":
                to["state"] = self._s2s.state("nonce")
                told = {"PaRes": "p"}
        there = {"to": self.shop + url_for("back", **to), **told}
        address = f"{self.provider}/authorize?{urlencode(there)}"
        if recipe == "google":
            return f'<title>Log in</title><a href="{escape(address)}">Button</a>'
        return redirect(address)

    def _back(self, recipe: str) -> str:
        match recipe:
            case "saml":
                state = self._cache.get(f"saml:{request.form['SAMLResponse']}")
            case "3-D Secure":
                state = request.args.get("state")
            case _:
                state = request.form.get("state")
        assert self._s2s.from_state(state) == "nonce"
        delivery = self._s2s.track_signup(customer_key=recipe)
        assert delivery
        self.came.append(("s2s" in request.cookies, delivery.reason))
        return "<title>Welcome</title>"

    def _provide(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        told = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
        start_response("200 OK", [("Content-Type", "text/html")])
        to = escape(told.pop("to"))
        fields = (f'<input name="{n}" value="{escape(v)}">' for n, v in told.items())
        form = f'<form method="post" action="{to}">{"".join(fields)}</form>'
        return [f"<!doctype html>{form}<script>document.forms[0].submit()</script>".encode()]


RECIPES = ("apple", "saml", "google", "3-D Secure")


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.mark.parametrize(
    ("recipe", "cookies"),
    [*((recipe, None) for recipe in RECIPES), ("apple", BLOCKED)],
    ids=[*RECIPES, "no cookies"],
)
def test_a_sign_up_that_is_posted_back_is_credited(
    playwright: Playwright,
    chromium_path: str,
    tmp_path: Path,
    site: Site,
    recipe: str,
    cookies: int | None,
) -> None:
    browser = Chromium(playwright, chromium_path, tmp_path, cookies=cookies)
    browser.start()
    browser.type(f"{site.shop}/?ps_xid=anFVmvcPPYWCsS")
    browser.page.get_by_role("link", name=recipe).click()
    if recipe == "google":
        browser.page.get_by_role("link", name="Button").click()
    wait_until(lambda: browser.title == "Welcome", what="the sign-up")
    browser.stop()
    assert site.came == [(False, "state")]
