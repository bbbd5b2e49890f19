"""`flask s2s explain` answers of everything that a customer has, and of what was emptied since."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site.make(tmp_path)
    yield site
    site.close()


def pay(site: Site, customer: str, key: str) -> None:
    with site.app.app_context():
        site.s2s.track_transaction(customer_key=customer, amount=100, currency="EUR", key=key)


def test_the_sign_up_is_told_behind_any_number_of_payments(site: Site) -> None:
    site.sign_up("42", click=None)
    for number in range(60):
        pay(site, "42", f"invoice-{number}")

    told = json.loads(site.run("explain", "42", "--json").output)
    assert [row["kind"] for row in told] == [*["transaction"] * 60, "signup"]
    lines = site.run("explain", "42").output.splitlines()
    assert sum(" UTC  1.00 EUR invoice-" in line for line in lines) == 60
    assert "no visitor brought a click" in " ".join(lines)


def test_what_was_pruned_is_still_known_to_have_been(site: Site) -> None:
    site.sign_up("42")
    site.drain()
    pay(site, "42", "invoice-1")
    site.clock.advance(days=401)
    site.run("prune", "--yes")

    result = site.run("explain", "42")
    assert result.exit_code == 0, result.output
    assert "2026-03-01 00:00:00 UTC  signup" in result.output
    assert "emptied since" in result.output
    told = json.loads(site.run("explain", "42", "--json").output)
    assert [(row["kind"], row["status"], row["emptied"]) for row in told] == [
        ("transaction", "pending", False),
        ("signup", "delivered", True),
    ]


def test_what_was_forgotten_is_still_known_to_have_been(site: Site) -> None:
    site.sign_up("42")
    site.drain()
    site.run("forget", "42", "--yes")

    result = site.run("explain", "42")
    assert result.exit_code == 0, result.output
    assert "delivered: the network took it" in result.output
    assert "emptied since" in result.output


def test_nobody_is_not_said_to_have_been_nowhere_ever(site: Site) -> None:
    result = site.run("explain", "nobody")
    assert result.exit_code == 1
    assert "ever" not in result.output.replace("never", "")
    assert "rolled back" in result.output
    assert "forgotten" in result.output
