"""A visitor without a browser: fetches a form, keeps its CSRF token, sends it."""

import re

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

TOKEN = re.compile(r'name="csrf_token"[^>]* value="([^"]+)"')

ADA = {"name": "Ada Rowe", "email": "ada.rowe@example.com", "password": "a quiet garden"}


def token_in(page: str) -> str:
    """Return the CSRF token of the first form on a page that has one."""
    found = TOKEN.search(page)
    assert found, "the page has no form with a CSRF token"
    return found[1]


def send(client: FlaskClient, path: str, fields: dict[str, str], page: str = "") -> TestResponse:
    """Post a form as a browser would: the page that has it (`path` itself) first, then the form."""
    token = token_in(client.get(page or path).text)
    return client.post(path, data={"csrf_token": token, **fields})
