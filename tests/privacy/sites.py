"""A shop that asks its visitors for consent, and visitors with and without cookies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import Result
from flask import Flask, Response, jsonify, request, session
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import inspect, select
from werkzeug.test import TestResponse

from flask_s2s import S2S, Click, Services
from flask_s2s.capture.token import NONCE, TokenSigner
from flask_s2s.cli import s2s as s2s_commands
from flask_s2s.testing import ManualClock, ScriptedTransport
from tests.cli.runner import cli_runner
from tests.waiting import wait_until

LANDING = "/?ps_xid=Click123456789&sid=newsletter"
EMAIL = "visitor@example.com"
IP = "203.0.113.77"
AGENT = "Mozilla/5.0 (X11; Linux x86_64) Visitors-Own-Browser/1.0"
PAGE = '<a href="/next">on</a><form method="post" action="/signup"></form>'
ORIGIN = "http://localhost"


def consent(environ: dict[str, Any]) -> Any:
    """Return the banner's stored answer, or this very form's; needs the request's context."""
    if "consent" in request.form:
        return request.form["consent"]
    return session.get("consent", "pending")


class Shop:
    """An app that asks, its clock and its network."""

    def __init__(
        self,
        folder: Path,
        database: SQLAlchemy | None = None,
        *,
        prepared: bool = True,
        **config: Any,
    ) -> None:
        """`database` is the shop's own, which the extension is to use; `prepared`: it has tables."""
        self.clock = ManualClock()
        self.network = ScriptedTransport()
        self.s2s = S2S(clock=self.clock, transport=self.network)
        self.app = Flask("shop", instance_path=str(folder))
        self.app.config.update(
            SECRET_KEY="k" * 32,
            TESTING=True,
            S2S_TOKEN="token",
            S2S_CONSENT=consent,
        )
        self.app.config.update(config)
        if database is not None:
            database.init_app(self.app)
        self.s2s.init_app(self.app)
        self.services: Services = self.app.extensions["s2s"]
        if prepared:
            self.services.storage.create()
        self._add_views()

    def _add_views(self) -> None:
        app, s2s = self.app, self.s2s

        @app.get("/")
        @app.get("/next")
        def page() -> str:
            return PAGE

        @app.get("/stream")
        def stream() -> Response:
            return Response(iter(["one ", "two"]))

        @app.get("/click")
        def click() -> Response:
            found = s2s.current_click()
            return jsonify(found and found.click_id)

        @app.get("/async-click")
        async def async_click() -> Response:
            found = s2s.current_click()
            return jsonify(found and found.click_id)

        @app.post("/banner")
        def banner() -> str:
            session["consent"] = request.form["answer"]
            return PAGE

        @app.post("/signup")
        def signup() -> str:
            s2s.track_signup(
                customer_key=request.form.get("key", "42"), email=request.form.get("email")
            )
            return "welcome"

        @app.post("/form")
        def lead() -> Response:
            return jsonify(s2s.identify(email=request.form["email"]))

        @app.post("/withdraw")
        def withdraw() -> Response:
            erased = s2s.withdraw()
            return jsonify({name: getattr(erased, name) for name in erased.__slots__})

    def browser(self, *, blocked: bool = False, **headers: str) -> Browser:
        return Browser(self, blocked=blocked, headers=headers)

    def rows(self, table: str) -> list[dict[str, Any]]:
        wanted = getattr(self.services.storage.tables, table)
        with self.services.storage.engine().connect() as connection:
            return [dict(row) for row in connection.execute(select(wanted)).mappings()]

    def everything(self) -> str:
        """Return all that is stored, as text."""
        engine = self.services.storage.engine()
        with engine.connect() as connection:
            there = set(inspect(connection).get_table_names())
            tables = [t for t in self.services.storage.metadata.tables.values() if t.name in there]
            rows = [row for table in tables for row in connection.execute(select(table))]
        assert len(tables) == 11
        return "\n".join(map(repr, rows))

    def delivery(self) -> dict[str, Any]:
        [row] = self.rows("delivery")
        return row

    def run(self, *command: str, **options: Any) -> Result:
        """Run `flask s2s ...` in this process."""
        return cli_runner(self.app).invoke(s2s_commands, list(command), **options)

    def close(self) -> None:
        self.services.close()


class Browser:
    """One visitor, who says which page led to the next one, as browsers do."""

    def __init__(self, shop: Shop, *, blocked: bool, headers: dict[str, str]) -> None:
        self._client = shop.app.test_client(use_cookies=not blocked)
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._page = ""

    def land(self, path: str = LANDING) -> TestResponse:
        return self._went(path, self._client.get(path, **self._as("cross-site")))

    def get(self, path: str) -> TestResponse:
        """Open an address of the shop by a link of this page."""
        return self._went(path, self._client.get(path, **self._as("same-origin")))

    def follow(self) -> TestResponse:
        """Follow the page's link."""
        return self.get("/next")

    def submit(self, **form: str) -> TestResponse:
        """Send the page's form."""
        return self.post("/signup", **form)

    def post(self, path: str, **form: str) -> TestResponse:
        """Send a form, and come back to the page."""
        return self._client.post(path, data=form, **self._as("same-origin"))

    def cookie(self, name: str = "s2s") -> Any:
        return self._client.get_cookie(name)

    def _as(self, came_from: str) -> dict[str, Any]:
        headers = {"Sec-Fetch-Site": came_from, "User-Agent": AGENT, **self._headers}
        if self._page and came_from == "same-origin":
            headers["Referer"] = f"{ORIGIN}{self._page}"
        return {"headers": headers, "environ_base": {"REMOTE_ADDR": IP}}

    def _went(self, path: str, response: TestResponse) -> TestResponse:
        self._page = path
        return response


def customer(shop: Shop, key: str = "42", landing: str = LANDING, email: str = EMAIL) -> Browser:
    """Return a visitor who consented, came by a link, gave an address and signed up."""
    browser = shop.browser()
    browser.post("/banner", answer="granted")
    browser.land(landing)
    browser.post("/form", email=email)
    browser.post("/signup", key=key, email=email)
    return browser


def handed_over(shop: Shop) -> str:
    """Return the address by which a visitor comes from another site of the owner's."""
    click = Click(click_id="Click123456789", at=shop.clock.now())
    tokens = TokenSigner(shop.services.settings.secret_keys, shop.services.settings.window)
    return f"/?s2s_xid={tokens.dumps(click, shop.clock.now(), bytes(NONCE), to='localhost')}"


def deny(browser: Browser) -> None:
    """Answer the banner, and go on until the cookie is gone: erasing may take longer than a page."""
    browser.post("/banner", answer="denied")

    def gone() -> bool:
        if browser.cookie() is not None:
            browser.get("/next")
        return browser.cookie() is None

    wait_until(gone, what="the cookie is gone")


def cookies_of(response: TestResponse) -> list[str]:
    """Return the headers that set or end our cookie."""
    return [one for one in response.headers.getlist("Set-Cookie") if one.startswith("s2s=")]


def open_shops(folder: Path) -> Iterator[Any]:
    """Open shops with settings, and close them."""
    opened: list[Shop] = []

    def open_shop(**config: Any) -> Shop:
        opened.append(Shop(folder / f"shop{len(opened)}", **config))
        return opened[-1]

    yield open_shop
    for shop in opened:
        shop.close()
