"""Every page: no script, nothing from elsewhere, landmarks, errors in our own dress."""

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

FORMS = ["/signup", "/trial", "/studio", "/letter", "/login"]
PUBLIC = ["/", "/pricing", "/letter/thanks", "/welcome", *FORMS, "/no-such-page"]


@pytest.mark.parametrize("path", PUBLIC)
def test_pages_need_no_script_and_no_other_host(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert "<script" not in answer.text
    assert not re.search(r'(?:src|href)="(?:https?:)?//', answer.text)
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("path", PUBLIC)
def test_pages_have_landmarks_and_one_heading(client: FlaskClient, path: str) -> None:
    page = client.get(path).text
    assert '<html lang="en">' in page
    for once in ("<h1", "<main", "<header", "<footer", 'class="skip" href="#content"'):
        assert page.count(once) == 1, once


@pytest.mark.parametrize("path", FORMS)
def test_every_field_has_a_label_and_tells_what_may_fill_it(client: FlaskClient, path: str) -> None:
    page = client.get(path).text
    fields = re.findall(r'<input (?![^>]*type="hidden")[^>]*>', page)
    assert fields
    for field in fields:
        name = re.search(r' id="(\w+)"', field)
        assert name
        assert f'<label for="{name[1]}">' in page
        assert "autocomplete=" in field
        assert "aria-invalid" not in field


def test_a_page_that_does_not_exist_says_so_in_the_sites_own_dress(client: FlaskClient) -> None:
    answer = client.get("/no-such-page")
    assert answer.status_code == 404
    assert "This page does not exist" in answer.text
    assert "Tallyfern" in answer.text


def test_a_redirect_of_the_framework_is_left_alone(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/tidy/", "tidy", lambda: "tidy")
    answer = client.get("/tidy")
    assert (answer.status_code, answer.headers["Location"]) == (308, "http://localhost/tidy/")
