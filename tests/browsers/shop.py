"""A site with links to others, which would tell them every address if it were left to itself."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Response, redirect, render_template_string, request, url_for

from flask_s2s import S2S
from flask_s2s.testing import ScriptedTransport
from tests.browsers.web import SHOP, Door

CLICK = "ps_xid=Ab3dEf6hIj9kLm&gspk=YWRh"
PAGE = """<!doctype html>
<title>Shop</title>
<link rel="stylesheet" href="{{ url_for('static', filename='site.css') }}">
<a href="{{ url_for('page', name='prices') }}">Prices</a>
<a href="{{ other }}/friend">A friend</a>
<a href="{{ authorize }}">Log in</a>
<a href="{{ url_for('out') }}">Out by a redirect</a>
<a href="{{ url_for('log_in') }}">In by a redirect</a>
<a href="{{ url_for('static', filename='terms.html') }}">Terms</a>
<a href="/guide.txt">The guide</a>
<img alt="" src="{{ other }}/picture">
"""


class Shop:
    """The site, and what it was asked for: paths with their query strings."""

    def __init__(self, other: str) -> None:
        self.asked: list[str] = []
        self._other = other
        self._door = Door()
        self._folder = TemporaryDirectory()
        folder = self._folder.name
        app = Flask(__name__, instance_path=folder, static_folder=folder, static_url_path="/static")
        app.config.update(SECRET_KEY="for tests", TESTING=True, S2S_CARRY="auto")
        app.before_request(lambda: self.asked.append(request.full_path))
        app.after_request(_tell_everybody)
        app.add_url_rule("/", view_func=self._page, defaults={"name": "home"}, endpoint="page")
        app.add_url_rule("/<name>", view_func=self._page, endpoint="page")
        app.add_url_rule("/out", view_func=self._out, endpoint="out")
        app.add_url_rule("/log-in", view_func=self._log_in, endpoint="log_in")
        S2S(app, transport=ScriptedTransport())
        self._door.open(app)
        self.landing = f"{self._door.at(SHOP)}/?{CLICK}"

    def close(self) -> None:
        """Stop serving."""
        self._door.close()
        self._folder.cleanup()

    def _page(self, name: str) -> str:
        return render_template_string(PAGE, other=self._other, authorize=self._authorize())

    def _out(self) -> Any:
        return redirect(f"{self._other}/friend")

    def _log_in(self) -> Any:
        return redirect(self._authorize())

    def _authorize(self) -> str:
        back = url_for("page", name="callback", _external=True)
        return f"{self._other}/authorize?{urlencode({'client_id': 'shop', 'redirect_uri': back})}"


def _tell_everybody(response: Response) -> Response:
    response.headers["Referrer-Policy"] = "unsafe-url"
    return response
