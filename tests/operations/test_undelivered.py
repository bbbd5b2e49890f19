"""`status` and `check` fail while nothing gets through, and quote what the network says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_s2s.testing import answered
from tests.operations.site import Site

_SCHEMA = '{"message": "\'xid\' is a required property", "status": 400}'


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site.make(tmp_path)
    yield site
    site.close()


def told(site: Site) -> str:
    """Return what both say; they exit alike."""
    status, check = site.run("status"), site.run("check")
    assert status.exit_code == check.exit_code
    for command in (status, check):
        assert ("error" in command.output) == bool(command.exit_code)
    return f"{status.exit_code}\n{status.output}\n{check.output}"


def try_for(site: Site, hours: int) -> None:
    for _ in range(hours):
        site.drain()
        site.clock.advance(hours=1)
    site.drain()


def test_what_was_tried_often_is_told_with_the_networks_last_word(site: Site) -> None:
    site.transport.then(answered(200, "<html>moved</html>"))
    site.sign_up("42")
    site.sign_up("43")
    site.drain()
    assert told(site).startswith("0")

    try_for(site, 24)

    said = told(site)
    assert said.startswith("1")
    assert said.count("2 undelivered after 5 tries or more") == 2
    (row, _) = site.rows()
    assert said.count(f"'{row['detail']}'") == 2
    assert "flask s2s list --status pending" in said
    told_json = json.loads(site.run("status", "--json").output)
    assert (told_json["stuck"], told_json["last_word"]) == (2, row["detail"])


def test_it_is_over_when_the_network_answers_again(site: Site) -> None:
    site.transport.then(answered(503))
    site.sign_up("42")
    try_for(site, 24)
    assert told(site).startswith("1")

    site.transport.then(answered(200))
    site.clock.advance(hours=12)
    site.drain()

    assert told(site).startswith("0")


def test_what_a_network_says_cannot_steer_the_terminal(site: Site) -> None:
    site.transport.then(answered(503))
    site.sign_up("42")
    try_for(site, 24)
    storage = site.app.extensions["s2s"].storage
    with site.app.app_context(), storage.engine().begin() as connection:
        connection.execute(storage.tables.delivery.update().values(detail="\x1b[2J\u202eexe"))

    for command in ("status", "check"):
        shown = site.run(command, "--json").output + site.run(command).output
        assert not {"\x1b", "\u202e"} & set(shown)


def test_a_refusal_is_told_for_a_week(site: Site) -> None:
    site.transport.then(answered(400, _SCHEMA))
    site.sign_up("42")
    site.drain()

    said = told(site)
    assert said.startswith("1")
    assert said.count("1 refused in the last 7 days") == 2
    assert said.count("flask s2s list --status refused") == 2

    site.clock.advance(days=8)
    later = told(site)
    assert later.startswith("0")
    assert "1 refused more than 7 days ago" in later


def test_what_expired_is_told_for_a_week_and_where_to_look(site: Site) -> None:
    site.transport.then(answered(503))
    site.sign_up("42")
    site.clock.advance(days=91)
    site.drain()

    said = told(site)
    assert said.startswith("1")
    assert said.count("1 expired in the last 7 days") == 2
    assert said.count("flask s2s list --status expired") == 2
    assert "--status refused" not in said
