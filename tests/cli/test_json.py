"""`--json` is for programs: one document on standard output, and the same words everywhere."""

from __future__ import annotations

import json

import pytest

from flask_s2s.testing import accepted, answered
from tests.cli.conftest import Site

SCHEMA = '{"message": "\'xid\' is a required property", "status": 400}'


def test_a_question_is_not_part_of_the_json(site: Site) -> None:
    site.sign_up()
    site.drain()
    site.clock.advance(days=401)
    result = site.run("prune", "--json", input="y\n")
    assert result.exit_code == 0
    assert "Empty 1" in result.stderr
    # The runner types the answer where the question was asked; a terminal does not.
    told = json.loads(result.stdout.removeprefix(" y\n"))
    assert told == {"deliveries": 1, "clicks": 0, "bindings": 0}


def test_nobody_exits_alike_in_text_and_json(site: Site) -> None:
    for flags in ((), ("--json",)):
        result = site.run("explain", "nobody", *flags)
        assert result.exit_code == 1
    assert json.loads(result.stdout) == []


def test_attempts_are_a_number_wherever_they_are_told(site: Site) -> None:
    site.network.then(answered(503), accepted())
    site.sign_up()
    site.drain()
    site.clock.advance(hours=1)
    site.drain()
    (listed,) = json.loads(site.run("list", "--json").stdout)
    (explained,) = json.loads(site.run("explain", "42", "--json").stdout)
    shown = json.loads(site.run("show", "1", "--json").stdout)
    assert [one["attempts"] for one in (listed, explained, shown)] == [2, 2, 2]
    assert [one["http_status"] for one in shown["tries"]] == [503, 200]


def test_retry_tells_a_program_how_many_are_due(site: Site) -> None:
    site.network.then(answered(400, SCHEMA))
    for key in "ab":
        site.sign_up(key)
    site.drain()
    result = site.run("retry", "--status", "refused", "--yes", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"due": 2}


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_export_is_json_whether_it_is_asked_for_or_not(site: Site, flags: tuple[str, ...]) -> None:
    site.sign_up()
    result = site.run("export", "42", *flags)
    assert result.exit_code == 0
    assert [row["customer_key"] for row in json.loads(result.stdout)["deliveries"]] == ["42"]
