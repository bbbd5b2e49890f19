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
    assert sum(line.endswith("  transaction") for line in lines) == 60
    assert "no visitor brought a click" in " ".join(lines)
