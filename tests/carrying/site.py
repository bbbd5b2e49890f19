"""A site whose visitors keep no cookies, and a browser that says which page led where."""

from __future__ import annotations

from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from flask import Flask, redirect, render_template_string, request, url_for
from sqlalchemy import select
from werkzeug.test import TestResponse

from flask_s2s import S2S
from flask_s2s.testing import ManualClock, ScriptedTransport

ORIGIN = "http://www.shop.example"
NAVIGATION = """
<a id="pricing" href="/pricing">Prices</a>
<a id="about" href="about?x=1&amp;y=2#team">About us</a>
<a id="partner" href="https://other.example/">A friend</a>
<a id="style" href="{{ url_for('static', filename='style.css') }}">Style</a>
<a id="file" href="/guide.pdf">Guide</a>
<form id="search" action="/search"><input name="q"></form>
<form id="signup" method="post" action="/signup"><input name="customer"></form>
<form id="here" method="post"><input name="customer"></form>
"""
#: Policies by which a browser tells a site's own page no more than the origin.
_ORIGIN_ONLY = ("origin", "strict-origin")


class Site:
    """An app, and what its visitors did."""

    def __init__(self, folder: str, **config: Any) -> None:
        self.clock = ManualClock()
        self.s2s = S2S(transport=ScriptedTransport(), clock=self.clock)
        self.app = Flask(__name__, instance_path=folder, static_folder=folder)
        self.app.config.from_mapping(SECRET_KEY="k" * 32, TESTING=True)
        self.app.config.update(config)
        #: What the app was asked for, as it sees it.
        self.asked: list[tuple[str, str | None]] = []
        self.app.before_request(lambda: self.asked.append((request.url, request.referrer)))
        self.app.add_url_rule("/", view_func=self.page, defaults={"name": "home"})
        self.app.add_url_rule("/<name>", view_func=self.page)
        self.app.add_url_rule("/signup", view_func=self.signup, methods=["GET", "POST"])
        self.app.add_url_rule("/moved", view_func=self.moved)
        self.app.add_url_rule("/out", view_func=self.out)

    def start(self) -> Site:
        self.s2s.init_app(self.app)
        return self

    def page(self, name: str) -> str:
        return render_template_string(NAVIGATION)

    def moved(self) -> Any:
        return redirect(url_for("page", name="pricing"))

    def out(self) -> Any:
        return redirect("https://other.example/x")

    def signup(self) -> Any:
        customer = request.form.get("customer")
        if not customer:
            return render_template_string(NAVIGATION), 422 if request.form else 200
        delivery = self.s2s.track_signup(customer_key=customer)
        assert delivery is not None
        return redirect(url_for("page", name="welcome"))

    def reason(self, customer: str) -> str:
        with self.app.app_context():
            return self.s2s.services.ledger.find(customer=customer)[0].reason

    def credited_to(self, customer: str) -> str | None:
        """Return the click ID that a customer's sign-up has."""
        with self.app.app_context():
            click = self.s2s.services.ledger.find(customer=customer)[0].click
        return None if click is None else click.click_id

    def rows(self) -> list[str]:
        """Return the click IDs that have a row."""
        storage = self.app.extensions["s2s"].storage
        clicks = storage.tables.click
        with storage.engine().connect() as connection:
            return list(connection.scalars(select(clicks.c.click_id).order_by(clicks.c.id)))


class Browser:
    """It blocks all cookies, and tells a page's address as browsers do."""

    def __init__(self, app: Any, *, keeps_cookies: bool = False, **headers: Any) -> None:
        self._client = app.test_client(use_cookies=keeps_cookies)
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.url = ""
        self.answer: TestResponse | None = None
        #: How often a page was sent on, and where to.
        self.redirects: list[str] = []
        self._policy = ""

    def type(self, path: str, site: str = "none", referer: str = "") -> Browser:
        """Open an address that no page of the site led to."""
        self.redirects = []
        return self._go("GET", urljoin(ORIGIN, path), site, referer)

    def reload(self) -> Browser:
        """Load the page again, with what was sent the first time."""
        method, url, site, referer = self._last
        return self._go(method, url, site, referer)

    def click(self, name: str) -> Browser:
        """Follow the link with this id."""
        return self.open(self.target(name))

    def open(self, path: str, **headers: str) -> Browser:
        """Go from this page to an address of the site, as its own links and scripts do."""
        self.redirects = []
        return self._go("GET", urljoin(self.url, path), "same-origin", self._told(), **headers)

    def target(self, name: str) -> str:
        """Return where the link or form with this id leads."""
        attributes = self.elements[name]
        return urljoin(self.url, attributes.get("href") or attributes.get("action") or self.url)

    def submit(self, name: str, **fields: str) -> Browser:
        """Send the form with this id."""
        self.redirects = []
        form, told = self.elements[name], self._told()
        if form.get("method") == "post":
            return self._go("POST", self.target(name), "same-origin", told, body=fields)
        target = self.target(name).partition("?")[0]
        return self._go("GET", f"{target}?{urlencode(fields)}", "same-origin", told)

    @property
    def page(self) -> str:
        assert self.answer is not None
        return self.answer.get_data(as_text=True)

    @property
    def elements(self) -> dict[str, dict[str, str]]:
        reader = _Reader()
        reader.feed(self.page)
        return reader.elements

    def _told(self) -> str:
        """Return what this page's policy lets its next page know."""
        if self._policy == "no-referrer":
            return ""
        return f"{ORIGIN}/" if self._policy in _ORIGIN_ONLY else self.url.partition("#")[0]

    def _go(
        self,
        method: str,
        url: str,
        site: str,
        referer: str,
        body: Any = None,
        **headers: Any,
    ) -> Browser:
        said = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "document", "Referer": referer}
        said |= self._headers | {name.replace("_", "-"): text for name, text in headers.items()}
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        self.url, self._last = url, (method, url, site, referer)
        self.answer = answer = self._client.open(
            path,
            f"{parts.scheme}://{parts.netloc}",
            method=method,
            data=body,
            headers={name: text for name, text in said.items() if text},
        )
        policy = answer.headers.getlist("Referrer-Policy")
        self._policy = policy[-1] if policy else ""
        if answer.status_code not in (301, 302, 303):
            return self
        # Over a redirect the page before stays what it was, as far as the answer's policy lets it.
        if self._policy == "no-referrer":
            referer = ""
        elif self._policy in _ORIGIN_ONLY and referer:
            referer = f"{ORIGIN}/"
        self.redirects.append(answer.headers["Location"])
        return self._go("GET", urljoin(url, self.redirects[-1]), site, referer, **headers)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.elements: dict[str, dict[str, str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: unescape(value or "") for name, value in attrs}
        if "id" in found:
            self.elements[found["id"]] = found
