"""A site whose visitors keep no cookies, and a browser that follows its links and forms."""

from __future__ import annotations

from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from flask import Flask, redirect, render_template_string, request, url_for
from werkzeug.test import TestResponse

from flask_s2s import S2S
from flask_s2s.testing import ManualClock, ScriptedTransport

ORIGIN = "http://www.shop.example"
NAVIGATION = """
<a id="pricing" href="/pricing">Prices</a>
<a id="about" href="about?x=1&amp;y=2#team">About us</a>
<a id="absolute" href="{{ url_for('page', name='absolute', _external=True) }}">Here</a>
<a id="partner" href="https://other.example/">A friend</a>
<a id="login" href="https://accounts.other.example/auth?redirect_uri={{ callback|urlencode }}">In</a>
<a id="style" href="{{ url_for('static', filename='style.css') }}">Style</a>
<a id="file" href="/guide.pdf">Guide</a>
<a id="within" href="#below">Below</a>
<a id="mail" href="mailto:us@shop.example">Mail</a>
<a id="saved" href="/pricing" download>Save</a>
<script>var link = '<a href="/in-script">'</script>
<!-- <a href="/in-comment"> -->
<form id="search" action="/search"><input name="q"></form>
<form id="signup" method="post" action="/signup"><input name="customer"></form>
"""


class Site:
    """An app with `S2S_CARRY`, and what its visitors did."""

    def __init__(self, folder: str, **config: Any) -> None:
        self.clock = ManualClock()
        self.s2s = S2S(transport=ScriptedTransport(), clock=self.clock)
        self.app = Flask(__name__, instance_path=folder, static_folder=folder)
        self.app.config.from_mapping(SECRET_KEY="for tests", TESTING=True)
        self.app.config.update(config)
        self.template = NAVIGATION
        self.app.add_url_rule("/", view_func=self.page, defaults={"name": "home"})
        self.app.add_url_rule("/<name>", view_func=self.page)
        self.app.add_url_rule("/signup", view_func=self.signup, methods=["GET", "POST"])
        self.app.add_url_rule("/moved", view_func=self.moved)
        self.app.add_url_rule("/out", view_func=self.out)

    def start(self) -> Site:
        self.s2s.init_app(self.app)
        return self

    def page(self, name: str) -> str:
        callback = url_for("page", name="callback", _external=True)
        return render_template_string(self.template, callback=callback)

    def moved(self) -> Any:
        return redirect(url_for("page", name="pricing"))

    def out(self) -> Any:
        return redirect("https://other.example/x")

    def signup(self) -> Any:
        customer = request.form.get("customer")
        if not customer:
            return render_template_string(self.template), 422
        delivery = self.s2s.track_signup(customer_key=customer)
        assert delivery is not None
        return redirect(url_for("page", name="welcome"))

    def reason(self, customer: str) -> str:
        with self.app.app_context():
            return self.s2s.services.ledger.find(customer=customer)[0].reason


class Browser:
    """It blocks all cookies, and says where each request comes from, as browsers do."""

    def __init__(self, app: Flask, **headers: str) -> None:
        self._client = app.test_client(use_cookies=False)
        self._headers = headers
        self.url = ""
        self.answer: TestResponse | None = None

    def type(self, path: str, site: str = "none") -> Browser:
        """Open an address that no page of the site led to."""
        return self._go("GET", urljoin(ORIGIN, path), site)

    def click(self, name: str) -> Browser:
        """Follow the link with this id."""
        return self._go("GET", self.target(name), "same-origin")

    def target(self, name: str) -> str:
        """Return where the link or form with this id leads."""
        attributes = self.elements[name]
        return urljoin(self.url, attributes.get("href") or attributes.get("action") or self.url)

    def submit(self, name: str, **fields: str) -> Browser:
        """Send the form with this id."""
        form = self.elements[name]
        fields = {**self.hidden.get(name, {}), **fields}
        if form.get("method") == "post":
            return self._go("POST", self.target(name), "same-origin", data=fields)
        target = self.target(name).partition("?")[0]
        return self._go("GET", f"{target}?{urlencode(fields)}", "same-origin")

    @property
    def page(self) -> str:
        assert self.answer is not None
        return self.answer.get_data(as_text=True)

    @property
    def elements(self) -> dict[str, dict[str, str]]:
        return _read(self.page).elements

    @property
    def hidden(self) -> dict[str, dict[str, str]]:
        return _read(self.page).hidden

    def _go(self, method: str, url: str, site: str, **body: Any) -> Browser:
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "document", **self._headers}
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        base = f"{parts.scheme}://{parts.netloc}"
        self.url = url
        self.answer = self._client.open(path, base, method=method, headers=headers, **body)
        if self.answer.status_code in (301, 302, 303):
            return self._go("GET", urljoin(url, self.answer.headers["Location"]), site)
        return self


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.elements: dict[str, dict[str, str]] = {}
        self.hidden: dict[str, dict[str, str]] = {}
        self._form = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: unescape(value or "") for name, value in attrs}
        if tag == "form":
            self._form = found.get("id", "")
        if found.get("type") == "hidden":
            self.hidden.setdefault(self._form, {})[found["name"]] = found.get("value", "")
        if "id" in found:
            self.elements[found["id"]] = found


def _read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    return reader
