"""A visitor without a browser, who says what browsers say of a form: that a page of ours sent it."""

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

ADA = {"name": "Ada Rowe", "email": "ada.rowe@example.com", "password": "a quiet garden"}


def send(client: FlaskClient, path: str, fields: dict[str, str]) -> TestResponse:
    """Post a form as a browser would."""
    return client.post(path, data=fields, headers={"Sec-Fetch-Site": "same-origin"})
