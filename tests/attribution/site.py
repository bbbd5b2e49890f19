"""A site with pages, a lead form, a log-in and a sign-up; and browsers that are each their own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from flask import Flask, request, session
from sqlalchemy import select
from werkzeug.http import parse_cookie
from werkzeug.test import TestResponse

from flask_s2s import S2S, Services
from flask_s2s.testing import ManualClock, ScriptedTransport

ORIGIN = "http://www.shop.example"
_HANDLE = re.compile(r's2s_xid=([^"&]+)')
#: A page with the site's own form; what carries a click is filled into its address.
_PAGE = '<html><body><form method="post" action="/lead"></form></body></html>'


class Site:
    """One process of a site; another with the same folder is another process of the same site."""

    def __init__(self, folder: Path, url: str | None = None, **config: Any) -> None:
        self.clock = ManualClock()
        self.transport = ScriptedTransport()
        self.s2s = S2S(transport=self.transport, clock=self.clock)
        self.app = app = Flask("site", instance_path=str(folder))
        app.config.update(SECRET_KEY="for-tests-only-0123456789", TESTING=True, S2S_TOKEN="token")
        app.config.update(S2S_CARRY="auto", S2S_CLICK_RATE=1000)
        if url is not None:
            app.config["S2S_DATABASE_URI"] = url
        app.config.update(config)
        app.add_url_rule("/", view_func=lambda: _PAGE, endpoint="page")
        app.add_url_rule("/lead", view_func=self._lead, methods=["POST"])
        app.add_url_rule("/login", view_func=self._login, methods=["POST"])
        app.add_url_rule("/signup", view_func=self._signup, methods=["POST"])
        self.s2s.init_app(app)
        self.services.storage.create()
        self.services.prepare()

    @property
    def services(self) -> Services:
        services = self.app.extensions["s2s"]
        assert isinstance(services, Services)
        return services

    def rows(self, table: str = "delivery") -> list[dict[str, Any]]:
        wanted = getattr(self.services.storage.tables, table)
        with self.services.storage.engine().connect() as connection:
            return [dict(row) for row in connection.execute(select(wanted)).mappings()]

    def row_of(self, customer: str) -> dict[str, Any]:
        """The one row of a customer's sign-up."""
        rows = self.services.storage.tables.delivery
        wanted = select(rows).where(rows.c.customer_key == customer)
        with self.services.storage.engine().connect() as connection:
            return dict(connection.execute(wanted).mappings().one())

    def close(self) -> None:
        self.services.close()

    def _lead(self) -> str:
        bound = self.s2s.identify(
            email=request.form.get("email"), user_id=request.form.get("user_id")
        )
        return json.dumps(bound)

    def _login(self) -> str:
        session.clear()
        session["user"] = request.form["user"]
        return _PAGE

    def _signup(self) -> str:
        delivery = self.s2s.track_signup(
            customer_key=request.form["customer"], email=request.form.get("email")
        )
        assert delivery is not None
        click = None if delivery.click is None else delivery.click.click_id
        return json.dumps([delivery.id, delivery.reason, click])


class Browser:
    """One visitor's device. It sends what a browser sends, and keeps cookies or does not."""

    def __init__(self, site: Site, *, keeps_cookies: bool = True) -> None:
        self.site = site
        self.keeps_cookies = keeps_cookies
        #: By name and domain: a site's cookies may be host-only or the whole domain's.
        self.cookies: dict[tuple[str, str], str] = {}

    def land(self, query: str) -> str | None:
        """Follow a partner's link; return the handle that the page carries on, if any."""
        return self._page(f"/?{query}", "cross-site")

    def browse(self, handle: str | None = None, *, came_from: str = "same-origin") -> str | None:
        """Open the site's page, with the handle that its link carried; return the one in it."""
        return self._page("/" if handle is None else f"/?s2s_xid={handle}", came_from)

    def lead(self, handle: str | None = None, **fields: Any) -> bool:
        """Fill in the lead form; return whether something was bound."""
        bound: bool = json.loads(self._post("/lead", handle, fields).text)
        return bound

    def log_in(self, user: str) -> None:
        self._post("/login", None, {"user": user})

    def sign_up(
        self, customer: str, email: str | None = None, handle: str | None = None
    ) -> tuple[int, str, str | None]:
        """Become a customer; return the row's ID, its reason and its click."""
        fields = {"customer": customer} if email is None else {"customer": customer, "email": email}
        found: tuple[int, str, str | None] = tuple(
            json.loads(self._post("/signup", handle, fields).text)
        )
        return found

    def _page(self, path: str, came_from: str) -> str | None:
        found = _HANDLE.search(self._send("GET", path, came_from).text)
        return found[1] if found else None

    def _post(self, path: str, handle: str | None, fields: dict[str, Any]) -> TestResponse:
        carried = "" if handle is None else f"?s2s_xid={handle}"
        return self._send("POST", path + carried, "same-origin", data=fields)

    def _send(self, method: str, path: str, came_from: str, **more: Any) -> TestResponse:
        headers = {"Sec-Fetch-Site": came_from}
        if self.cookies:
            pairs = (f"{name}={value}" for (name, _), value in self.cookies.items())
            headers["Cookie"] = "; ".join(pairs)
        client = self.site.app.test_client(use_cookies=False)
        answer = client.open(path, method=method, base_url=ORIGIN, headers=headers, **more)
        if answer.status_code == 302:
            assert "s2s_xid=" in path, "only a copied address leads elsewhere"
            return self._send("GET", urljoin(path, answer.headers["Location"]), came_from)
        assert answer.status_code == 200
        if self.keeps_cookies:
            self._keep(answer.headers.getlist("Set-Cookie"))
        return answer

    def _keep(self, headers: Iterable[str]) -> None:
        for header in headers:
            pair, _, attributes = header.partition(";")
            name, _, value = pair.partition("=")
            said = parse_cookie(attributes)
            domain = said.get("Domain", "")
            self.cookies.pop((name, domain), None)
            if said.get("Max-Age") != "0":
                self.cookies[name, domain] = value
