"""The filters of the list of conversions: each narrows, is kept, and can be taken off."""

from __future__ import annotations

import re
import shlex
from datetime import timedelta
from pathlib import Path

import pytest

from flask_s2s.cli import s2s
from flask_s2s.store.queries import Wanted
from tests.cli.runner import cli_runner
from tests.dashboard.programme import Programme, without_names, words_of
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
        ("least=5", "Amount from is an amount of one currency: say which"),
        ("currency=E&most=5", "Currency must be a three-letter code such as USD"),
        ("currency=EUR&most=many", "Amount to is an amount in EUR, such as 49.00"),
        ("currency=JPY&least=1.5", "Amount from is an amount in JPY"),
        ("status=refused,gone", "status= is one of"),
    ],
)
def test_a_filter_that_cannot_be_is_named(programme: Programme, query: str, says: str) -> None:
    assert says in programme.read(f"/conversions?{query}", status=400)


def test_what_cannot_be_is_left_out_and_the_rest_is_kept(programme: Programme) -> None:
    fill(programme)
    page = programme.client().get(
        "/partners/conversions?partner=ada&currency=EUR&least=19,00&state=odd&from=2025-12-30"
        "&to=2026-01-02"
    )
    assert page.status_code == 400
    said = words_of(page.text)
    assert "Amount from is an amount in EUR, such as 49.00" in said
    assert "state= is one of confirmed," in said
    assert "All 1 Confirmed" in said
    # As it was written, so that it can be mended; and no link goes on with it.
    assert re.search(r'id="least" name="least" value="19,00" aria-invalid="true"', page.text)
    assert 'value="ada" selected' in page.text
    assert "least=" not in "".join(re.findall(r'href="([^"]*)"', page.text))


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/partner?key=ada&from=2026-02-01&to=2026-01-01", "/partners/partner?key=ada"),
        (
            "/conversions?partner=ada&kind=signup&before=x",
            "/partners/conversions?kind=signup&amp;partner=ada",
        ),
        ("/conversions.csv?partner=ada&state=odd&page=2", "/partners/conversions.csv?partner=ada"),
        ("/partners?period=ever&sort=net&_anchor=x", "/partners/partners?sort=net"),
        ("/failed/retry?status=odd&kind=signup", "/partners/"),
    ],
    ids=["dates", "place", "file", "sorted", "act"],
)
def test_a_page_that_cannot_be_leads_to_itself_without_what_is_wrong(
    programme: Programme, path: str, kept: str
) -> None:
    """An act is never led to with less said than before: it would be meant for more."""
    page = programme.client().get(f"/partners{path}")
    assert page.status_code == 400
    main = page.text.partition("<main")[2].partition("</main>")[0]
    assert re.findall(r'href="([^"]*)"', main) == [kept]


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


@pytest.mark.parametrize(
    "query",
    [
        "lane=partnerstack/api",
        "network=partnerstack&sub_id=newsletter",
        "currency=usd&least=5&most=49",
        "state=none",
        "kind=refund",
        "status=unattributed,delivered&network=partnerstack",
        "from=2025-12-01&to=2025-12-31",
        "detail=taken+by+the+network%3B+sent+again+once",
    ],
)
def test_the_command_line_narrows_alike(programme: Programme, query: str) -> None:
    """The command that a page shows prints the page's own file."""
    fill(programme)
    page = programme.read(f"/conversions?{query}")
    [line] = re.findall(r"On the command line: flask s2s (.*) , as a file", page)
    run = cli_runner(programme.app).invoke(s2s, [*shlex.split(line), "--csv", "-"])
    assert run.exit_code == 0, run.output
    file = programme.client().get(f"/partners/conversions.csv?{query}").text
    rows = without_names(file).splitlines()
    assert run.stdout.splitlines() == rows
    assert (len(rows) > 1) is ("from=" not in query)


def test_a_list_as_a_file_is_whole_unless_a_number_is_said(
    programme: Programme, tmp_path: Path
) -> None:
    fill(programme)
    place = tmp_path / "all.csv"
    cli_runner(programme.app).invoke(s2s, ["list", "--csv", str(place)])
    rows = place.read_text().splitlines()
    assert len(rows) == 17
    few = cli_runner(programme.app).invoke(s2s, ["list", "--limit", "3", "--csv", "-"])
    assert few.stdout.splitlines() == rows[:4]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--least", "5"], "--least: is an amount of one currency: say which"),
        (["--currency", "EUR", "--most", "many"], "--most: is an amount in EUR, such as 49.00"),
        (["--currency", "E"], "--currency: must be a three-letter code"),
        (["--state", "open", "--status", "held"], "--state stands for its statuses"),
        (["--group", "error", "--csv", "-"], "--csv has deliveries, and --group counts them"),
    ],
)
def test_a_list_that_cannot_be_is_a_wrong_command(
    programme: Programme, options: list[str], says: str
) -> None:
    run = cli_runner(programme.app).invoke(s2s, ["list", *options])
    assert run.exit_code == 2
    assert says in " ".join(run.stderr.split())


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
