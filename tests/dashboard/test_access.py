"""Access to the dashboard: who may look, who may act, and what every answer forbids the browser."""

from __future__ import annotations

import html
import re
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from flask import Flask, Request, Response
from sqlalchemy.exc import OperationalError

from flask_s2s import S2S
from flask_s2s.dashboard import Act, View
from flask_s2s.dashboard.safety import Forms
from flask_s2s.errors import UsageError
from flask_s2s.rules.attribution import Reason
from tests.dashboard.programme import HOSTILE, Programme, token_in

GETS = {
    "/": "Overview",
    "/conversions": "Conversions",
    "/conversions/1": "Sign-up",
    "/customers": "Customers",
    "/customer?key=41": "Customer 41",
    "/partners": "Partners",
    "/partner?key=ada": "Ada & Co",
    "/fraud": "Fraud",
    "/reconciliation": "Reconciliation",
    "/failed": "Failed",
    "/failed/retry?status=refused": "Nothing to send again",
    "/failed/ack?status=refused": "Nothing to acknowledge",
    "/failed/discard?id=1": "Never send 1?",
    "/delivery": "Lanes and workers",
    "/delivery/pause?lane=partnerstack/tracking": "1 will wait in it",
    "/acts": "Audit log",
    "/acts/1": "0 of 1 settled",
    "/settings": "Settings",
    "/counted": "What is counted",
}


def addresses(app: Flask) -> list[tuple[str, str]]:
    """Return every address and method of the dashboard."""
    return [
        (method, rule.rule.replace("<int:number>", "1").replace("<path:filename>", "live.js"))
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("s2s_dashboard.")
        for method in sorted((rule.methods or set()) - {"OPTIONS"})
    ]


def test_a_dashboard_without_a_word_on_access_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="access"):
        S2S().dashboard()  # type: ignore[call-arg]


@pytest.mark.parametrize("who", [Act(7), View(None), Act(""), "ann"])  # type: ignore[arg-type]
def test_who_has_no_name_is_a_mistake_that_is_told(tmp_path: Path, who: object) -> None:
    app = Flask(__name__, instance_path=str(tmp_path))
    app.config.update(TESTING=True, SECRET_KEY="k" * 32)
    app.register_blueprint(S2S(app).dashboard(access=lambda request: who), url_prefix="/partners")
    with pytest.raises(UsageError, match=r"View\(name\), Act\(name\) or None, with a name of text"):
        app.test_client().get("/partners/")


def test_a_log_in_that_cannot_read_its_database_is_the_hosts_error(tmp_path: Path) -> None:
    away = OperationalError("SELECT", {}, Exception("away"))

    def access(request: Request) -> View:
        raise away

    app = Flask(__name__, instance_path=str(tmp_path))
    app.config.update(TESTING=True, SECRET_KEY="k" * 32)
    app.register_blueprint(S2S(app).dashboard(access=access), url_prefix="/partners")
    with pytest.raises(OperationalError) as told:
        app.test_client().get("/partners/")
    assert told.value is away


def test_nobody_finds_any_of_it_without_access(programme: Programme) -> None:
    client = programme.client("nobody")
    found = addresses(programme.app)
    assert len(found) > 30
    answers = {one: client.open(one[1], method=one[0]).status_code for one in found}
    assert set(answers.values()) == {404}


def test_who_may_look_changes_nothing(programme: Programme) -> None:
    client = programme.client("looks")
    posts = [path for method, path in addresses(programme.app) if method == "POST"]
    assert len(posts) == 13
    for path in posts:
        answer = client.post(path)
        assert answer.status_code == 403
        assert "You may look, not act" in answer.text


@pytest.mark.parametrize("path", GETS)
def test_each_page_obeys_a_policy_that_allows_its_own_files_only(
    programme: Programme, path: str
) -> None:
    programme.signs_up("41", "ada", email="maya@example.com")
    programme.acts_on("41")
    programme.signs_up(HOSTILE, reason=Reason.NO_CLICK)
    programme.pays(HOSTILE, 100, HOSTILE)
    answer = programme.client().get(f"/partners{path}")
    assert answer.status_code == 200
    assert GETS[path] in re.sub("&amp;", "&", answer.text)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert answer.headers["Cache-Control"] == "private, no-store"
    # What the policy would refuse is not there: a page is whole under it.
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?! src=)|javascript:", answer.text)
    assert "<script>alert" not in answer.text
    assert "\u202e" not in answer.text


def test_who_may_look_sees_no_address_in_full(programme: Programme) -> None:
    programme.signs_up("41", "ada", email="maya@example.com")
    for path in ("/conversions", "/conversions/1"):
        assert "maya@example.com" in programme.read(path)
        assert "maya@example.com" not in programme.read(path, "looks")
        assert "m...@example.com" in programme.read(path, "looks")


def test_a_form_of_another_site_or_of_another_person_changes_nothing(programme: Programme) -> None:
    programme.signs_up("41", "ada")
    client = programme.client()
    token = token_in(client.get("/partners/settings").text, "/settings/check")
    path = "/partners/settings/check"
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://localhost@evil.example"},
    ):
        assert client.post(path, data={"token": token}, headers=headers).status_code == 409
    assert client.post(path, data={"token": "forged"}).status_code == 409
    # A token is for one person: this is a colleague's, who may do the same.
    colleagues = Forms(programme.services.settings.secret_keys).token("Ann", "check")
    assert client.post(path, data={"token": colleagues}).status_code == 409
    # A token is for one purpose.
    data = {"token": token, "key": "41", "click": "x"}
    assert client.post("/partners/customer/credit", data=data).status_code == 409
    assert client.post(path, data={"token": token}).status_code == 303


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (
            "/failed/retry?status=refused&kind=signup&period=7d",
            "/failed/retry?period=7d&kind=signup&status=refused",
        ),
        ("/reconciliation/compare?period=7d", "/reconciliation?period=7d"),
        ("/fraud/block?period=90d", "/fraud?period=90d"),
        ("/conversions/1/retry", "/conversions/1"),
        (
            "/delivery/pause?lane=partnerstack/tracking",
            "/delivery/pause?lane=partnerstack/tracking",
        ),
    ],
)
def test_an_old_form_leads_to_the_new_one(programme: Programme, path: str, new: str) -> None:
    programme.signs_up("41", "ada")
    answer = programme.client().post(f"/partners{path}", data={"token": "old"})
    assert answer.status_code == 409
    [link] = re.findall(r'href="([^"]*)">Here is the new one', answer.text)
    split = urlsplit(html.unescape(link))
    expected = urlsplit(f"/partners{new}")
    assert split.path == expected.path
    assert parse_qs(split.query) == parse_qs(expected.query)


def test_a_form_with_a_forged_token_changes_nothing_anywhere(programme: Programme) -> None:
    programme.signs_up("41", "ada")
    client = programme.client()
    posts = [path for method, path in addresses(programme.app) if method == "POST"]
    form = {"token": "forged", "why": "x", "until": "1h"}
    for path in posts:
        answer = client.post(f"{path}?lane=partnerstack/tracking", data=form)
        assert (path, answer.status_code) == (path, 409)
    assert programme.services.audit.newest(1) == []


@pytest.mark.parametrize(
    "query",
    [
        *("period=ever", "from=2026-13-01&to=x", "state=odd", "kind=odd", "before=1.x"),
        *("from=9999-12-31&to=9999-12-31", "from=0001-01-01&to=0001-01-01"),
    ],
)
def test_a_filter_that_cannot_be_is_named(programme: Programme, query: str) -> None:
    said = programme.read(f"/conversions?{query}", status=400)
    assert "This address cannot be read" in said


def test_a_database_that_is_away_is_said_with_when_to_come_again(programme: Programme) -> None:
    with programme.services.storage.engine().begin() as connection:
        connection.exec_driver_sql("DROP TABLE s2s_attempt")
    answer = programme.client().get("/partners/conversions/1")
    assert answer.status_code in (404, 503)
    with programme.services.storage.engine().begin() as connection:
        connection.exec_driver_sql("DROP TABLE s2s_delivery")
    answer = programme.client().get("/partners/conversions")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "10"
    assert "The outbox cannot be read" in answer.text


def test_numbers_that_no_database_has_are_not_found(programme: Programme) -> None:
    assert "There is no conversion" in programme.read(f"/conversions/{10**30}", status=404)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/partner", "/partners"),
        ("/partner?key=%20&period=7d", "/partners?period=7d"),
        ("/customer", "/customers"),
        ("/customer?key=", "/customers"),
        ("/reconciliation/compare?period=7d", "/reconciliation?period=7d"),
        ("/conversions/1/retry", "/conversions/1"),
        ("/customer/credit", "/customer"),
        ("/settings/check", "/settings"),
    ],
)
def test_an_address_that_is_no_page_leads_to_one(
    programme: Programme, path: str, place: str
) -> None:
    """A page of one thing without its key, and the address of a form, which somebody opens again."""
    answer = programme.client("looks").get(f"/partners{path}")
    assert (answer.status_code, answer.location) == (302, f"/partners{place}")


@pytest.mark.parametrize("key", ["nobody", "a/b?c", HOSTILE, "'\"", "%FF", "\U0001f600"])
def test_a_key_that_nobody_has_is_a_page_that_names_it(programme: Programme, key: str) -> None:
    shown = key.replace("\u202e", "U+202E")
    for path, status in (("/partner", 200), ("/customer", 404)):
        assert shown in programme.read(f"{path}?{urlencode({'key': key})}", status=status)


def test_an_address_without_measure_is_not_repeated(programme: Programme) -> None:
    """A page has its filters in each of its links: a megabyte of them was answered with sixteen."""
    for path in ("/conversions?partner", "/partner?key", "/customer?key", "/customers?q"):
        said = programme.read(f"{path}={'x' * 1_000_000}", status=400)
        assert "a part of this address has more than 4,096 characters" in said
        assert len(said) < 1000


@pytest.mark.parametrize("path", ["/", "/conversions", "/customers", "/partners.csv", "/failed"])
def test_an_address_that_is_no_text_is_told(programme: Programme, path: str) -> None:
    raw = {"QUERY_STRING": "q=\xff"}
    answer = programme.client().get(f"/partners{path}", environ_overrides=raw)
    assert (answer.status_code, answer.mimetype) == (400, "text/plain")
    stranger = programme.client("nobody").get(f"/partners{path}", environ_overrides=raw)
    assert stranger.status_code == 404


def test_a_file_that_was_refused_is_asked_for_again(programme: Programme) -> None:
    """Else somebody who was logged out would see the pages without their style for a day."""
    path = "/partners/static/dashboard.css"
    refused = programme.client("nobody").get(path)
    assert (refused.status_code, refused.headers["Cache-Control"]) == (404, "private, no-store")
    missing = programme.client().get("/partners/static/none.css")
    assert (missing.status_code, missing.headers["Cache-Control"]) == (404, "private, no-store")
    with programme.client().get(path) as kept:
        assert (kept.status_code, kept.headers["Cache-Control"]) == (200, "private, max-age=86400")


@pytest.mark.parametrize(
    "added", ["page=2", "endpoint=x", "_method=BAD", "_external=1&_scheme=http", "_anchor=x"]
)
def test_an_address_adds_nothing_to_where_a_form_is_sent(programme: Programme, added: str) -> None:
    programme.signs_up("1", "ada")
    answer = programme.client().get(f"/partners/failed/discard?kind=signup&{added}")
    assert answer.status_code == 200
    [action] = re.findall(r'<form method="post" action="([^"]*)"', answer.text)
    assert action == "/partners/failed/discard?kind=signup"


def test_a_hosts_own_class_of_answers_has_its_methods_on_the_pages(programme: Programme) -> None:
    class Timed(Response):
        def timed(self) -> Response:
            self.headers["Server-Timing"] = "app"
            self.headers["X-Frame-Options"] = "SAMEORIGIN"
            return self

    programme.app.response_class = Timed
    programme.app.after_request(lambda response: response.timed())
    for path, status in (("/", 200), ("/conversions/999", 404), ("/static/live.js", 200)):
        with programme.client().get(f"/partners{path}") as answer:
            assert answer.status_code == status
            assert answer.headers["Server-Timing"] == "app"
            assert answer.headers["X-Frame-Options"] == "DENY"
