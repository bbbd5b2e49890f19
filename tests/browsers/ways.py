"""A site whose pages lead to a sign-up by every way that there is, under every Referrer-Policy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from flask import Flask, Response, redirect, render_template_string, request
from sqlalchemy import select

from flask_s2s import S2S
from flask_s2s.testing import ScriptedTransport
from tests.browsers.browser import Browser
from tests.browsers.web import SHOP, Door
from tests.waiting import wait_until

#: What a Referrer-Policy may be.
POLICIES = (
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
)
#: What hides a page's address from the site's own pages: a header is overridden, markup is not read.
HIDING = ("no-referrer", "origin", "strict-origin")
#: From the landing to the sign-up form, and what loses the click.
WAYS = (
    "form on the landing",
    "link",
    "relative link with parameters",
    "full address",
    "script",
    "three pages",
    "redirect",
    "GET form",
    "fetch",
    "reload",
    "back",
    "base element",
    "meta refresh",
    "noreferrer",
)
LOSING = ("noreferrer",)
PAGE = """<!doctype html>
<title>{{ page }}</title>
{% if how == 'meta' %}<meta name="referrer" content="{{ policy }}">{% endif %}
{% if page == 'base-element' %}<base href="{{ root }}">{% endif %}
{% if page == 'refreshing' %}<meta http-equiv="refresh" content="0;url={{ root }}signup">{% endif %}
<a href="{{ root }}signup">Link</a>
<a href="signup?plan=2&amp;currency=2#form">Relative</a>
<a href="{{ request.host_url[:-1] }}{{ root }}signup">Full</a>
<a href="#" onclick="location.href = '{{ root }}signup'; return false">Script</a>
<a href="{{ root }}one">One</a>
<a href="{{ root }}two">Two</a>
<a href="{{ root }}moved">Moved</a>
<a href="{{ root }}base-element">Base</a>
<a href="{{ root }}refreshing">Refreshing</a>
<a rel="noreferrer" href="{{ root }}signup">Noreferrer</a>
<a href="#" onclick="fetch('{{ root }}signup', {method: 'POST'}); return false">Fetch</a>
<main>{% if page == 'getting' %}<form action="{{ root }}signup"><input name="q" value="x">
<button>Go</button></form>{% else %}<form method="post" action="{{ root }}signup">
<button>Sign up</button></form>{% endif %}</main>
<a href="{{ root }}getting">Getting</a>
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """One way under one policy, by a header, by markup, or by none."""

    way: str
    how: str
    policy: str

    @property
    def loses(self) -> bool:
        """Whether a visitor without a cookie is a documented loss."""
        return self.way in LOSING or (self.how == "meta" and self.policy in HIDING)

    def __str__(self) -> str:
        return f"{self.way}, {self.how} {self.policy}".rstrip()


def cells() -> list[Cell]:
    """Return the whole matrix."""
    policies = [("none", "")] + [(how, one) for how in ("header", "meta") for one in POLICIES]
    return [Cell(way, how, policy) for way in WAYS for how, policy in policies]


def sample(number: int, of: int) -> list[Cell]:
    """Return the part `number` of a sample: each way under each kind of policy, the values in turn."""
    kinds = [
        [("none", "")],
        [("header", one) for one in HIDING],
        [("header", one) for one in POLICIES if one not in HIDING],
        [("meta", one) for one in HIDING],
        [("meta", one) for one in POLICIES if one not in HIDING],
    ]
    chosen = [
        Cell(way, *kind[(row + column) % len(kind)])
        for row, way in enumerate(WAYS)
        for column, kind in enumerate(kinds)
    ]
    return chosen[number::of]


class Ways:
    """The site, how often it sent a page to itself, and what came of each visitor."""

    def __init__(self) -> None:
        self.redirects = 0
        self._door, self._folder = Door(), TemporaryDirectory()
        self.app = app = Flask(__name__, instance_path=self._folder.name)
        app.config.update(SECRET_KEY="for tests", TESTING=True)
        app.add_url_rule("/<how>/<policy>/<name>/<page>", view_func=self._page, endpoint="page")
        app.add_url_rule("/<how>/<policy>/<name>/signup", view_func=self._join, methods=["POST"])
        self._s2s = S2S(app, transport=ScriptedTransport())
        self._services = app.extensions["s2s"]
        self._services.storage.create()
        self._door.open(self._counting)
        self.site = self._door.at(SHOP)

    def close(self) -> None:
        """Stop serving."""
        self._door.close()
        self._services.close()
        self._folder.cleanup()

    def go(self, browser: Browser, cell: Cell, name: str, *, forgets: bool) -> str:
        """Let a visitor land and sign up; return the recorded reason."""
        browser.type(f"{self.site}/{cell.how}/{cell.policy or '-'}/{name}/land?ps_xid={name}")
        if forgets:
            browser.forget()
        self._walk(browser, cell.way)
        return str(wait_until(lambda: self._reason(name), what=f"the sign-up of {name} ({cell})"))

    def _walk(self, browser: Browser, way: str) -> None:
        steps: dict[str, tuple[str, ...]] = {
            "form on the landing": (),
            "link": ("Link",),
            "relative link with parameters": ("Relative",),
            "full address": ("Full",),
            "script": ("Script",),
            "three pages": ("One", "Two", "Link"),
            "redirect": ("Moved",),
            "GET form": ("Getting", ""),
            "fetch": ("Fetch",),
            "reload": ("One", "<reload>", "Link"),
            "back": ("One", "Two", "<back>", "Link"),
            "base element": ("Base", "Relative"),
            "meta refresh": ("Refreshing",),
            "noreferrer": ("Noreferrer",),
        }
        pages = {"One": "one", "Two": "two", "Getting": "getting", "Base": "base-element"}
        for step in steps[way]:
            if step == "<reload>":
                browser.reload()
            elif step == "<back>":
                browser.back()
                self._expect(browser, "one")
            elif step:
                browser.follow(step)
                if step != "Fetch":
                    self._expect(browser, pages.get(step, "signup"))
            else:
                browser.send()
                self._expect(browser, "signup")
        if way != "fetch":
            browser.send()

    def _expect(self, browser: Browser, page: str) -> None:
        # Not by the address: Playwright does not follow it over a refresh and a redirect.
        wait_until(lambda: browser.title == page, what=f"the page {page}")
        browser.settle()

    def _page(self, how: str, policy: str, name: str, page: str) -> Any:
        root = f"/{how}/{policy}/{name}/"
        if page == "moved":
            return redirect(f"{root}signup")
        assert "s2s_xid" not in request.url
        said = {"page": page, "how": how, "policy": policy, "root": root}
        answer = Response(render_template_string(PAGE, **said))
        if how == "header":
            answer.headers["Referrer-Policy"] = policy
        return answer

    def _join(self, how: str, policy: str, name: str) -> str:
        delivery = self._s2s.track_signup(customer_key=name)
        assert delivery
        assert delivery.click is None or delivery.click.click_id == name
        return "welcome"

    def _reason(self, name: str) -> str | None:
        rows = self._services.storage.tables.delivery
        with self._services.storage.engine().connect() as connection:
            found: str | None = connection.scalar(
                select(rows.c.reason).where(rows.c.customer_key == name)
            )
            return found

    def _counting(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        def counted(status: str, headers: Any, *rest: Any) -> Any:
            self.redirects += any(n == "Location" and "s2s_xid=" in v for n, v in headers)
            return start_response(status, headers, *rest)

        return self.app(environ, counted)
