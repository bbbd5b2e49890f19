"""The filters of the list of conversions: each narrows, is kept, and can be taken off."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from flask_s2s.cli import s2s
from flask_s2s.store.queries import Wanted
from tests.cli.runner import cli_runner
from tests.dashboard.programme import Programme
from tests.dashboard.test_numbers import fill, queries


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("lane=partnerstack/tracking", 10),
        ("lane=partnerstack/api", 6),
        ("network=partnerstack", 16),
        ("network=other", 0),
        ("currency=usd", 5),
        ("currency=usd&least=49.00", 2),
        ("currency=usd&least=5&most=49", 3),
        ("currency=usd&most=-1", 1),
        ("currency=eur&least=19", 1),
        ("lane=partnerstack/api&partner=ada", 4),
    ],
)
def test_a_filter_shows_and_counts_what_it_says(
    programme: Programme, query: str, shown: int
) -> None:
    fill(programme)
    assert f"All {shown} Confirmed" in programme.read(f"/conversions?{query}")
    rows = programme.client().get(f"/partners/conversions.csv?{query}").text.splitlines()
    assert len(rows) - 1 == shown


def test_each_database_narrows_alike(any_programme: Programme) -> None:
    fill(any_programme)
    asked = queries(any_programme)
    for wanted, number in (
        (Wanted(lane="partnerstack/api"), 6),
        (Wanted(network="partnerstack", currency="EUR"), 1),
        (Wanted(currency="USD", least=4900), 2),
        (Wanted(currency="USD", most=-1), 1),
    ):
        assert len(asked.page(wanted, 100)) == sum(asked.by_status(wanted).values()) == number


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("least=5", "least= and most= are amounts of one currency"),
        ("currency=E&most=5", "currency= is a code of three letters"),
        ("currency=EUR&most=many", "most= is an amount in EUR, such as 49.00"),
        ("currency=JPY&least=1.5", "least= is an amount in JPY"),
        ("status=refused,gone", "status= is one of"),
    ],
)
def test_a_filter_that_cannot_be_is_named(programme: Programme, query: str, says: str) -> None:
    assert says in programme.read(f"/conversions?{query}", status=400)


def test_a_list_of_one_status_says_how_many_there_are_of_it(programme: Programme) -> None:
    fill(programme)
    assert "3 shown of 3." in programme.read("/conversions?status=unattributed")


def test_a_currency_takes_its_amounts_along(programme: Programme) -> None:
    fill(programme)
    page = programme.client().get(
        "/partners/conversions?currency=USD&least=5&lane=partnerstack/api"
    )
    removing = re.findall(r'href="/partners/conversions\?([^"]*)">Remove', page.text)
    without = [one for one in removing if "currency" not in one]
    assert without == ["lane=partnerstack/api"]


def test_a_period_of_any_days_keeps_the_filters_and_the_filters_keep_it(
    programme: Programme,
) -> None:
    fill(programme)
    page = (
        programme.client()
        .get("/partners/conversions?from=2025-12-30&to=2026-01-02&state=none&partner=ada")
        .text
    )
    dates, _, rest = page.partition("</form>")
    assert 'name="partner" value="ada"' in dates
    assert 'name="state" value="none"' in dates
    assert 'type="date" required value="2025-12-30"' in dates
    assert 'type="hidden" name="from" value="2025-12-30"' in rest


def test_the_command_line_narrows_alike(programme: Programme) -> None:
    fill(programme)
    for options, number in (
        (["--lane", "partnerstack/api"], 6),
        (["--network", "partnerstack", "--sub-id", "newsletter"], 13),
    ):
        said = cli_runner(programme.app).invoke(s2s, ["list", *options]).stdout
        assert len(said.splitlines()) - 1 == number


def test_an_empty_list_says_whether_there_is_something_at_another_time(
    programme: Programme,
) -> None:
    assert "Nothing was recorded from" in programme.read("/conversions")
    programme.signs_up("1", "ada")
    programme.clock.advance(timedelta(days=40))
    found = "The newest that matches was recorded 1 Jan, 00:00 : Sign-up, number 1"
    for query in ("", "?partner=ada", "?kind=signup&period=7d", "?state=open"):
        assert found in programme.read(f"/conversions{query}")
    for query in ("?partner=fern", "?sub_id=newsletter", "?partner=ada&kind=signup"):
        said = programme.read(f"/conversions{query}")
        assert ("Nothing matches from" in said, found in said) == (True, False)
