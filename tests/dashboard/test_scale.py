"""A large outbox: each page, command and scrape is read by an index, as the database itself tells.

With a small programme in realistic shares, whose database knows how its rows are distributed. How
long it takes with a million is for `tests/benchmarks/pages.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.benchmarks.pages import COUNTS, EXPORTS, FILTERS, LISTS, Act, opened
from tests.benchmarks.plans import Statement, caught, explained, rows_read
from tests.benchmarks.programme import populate
from tests.services import throw_away_database

DELIVERIES, CLICKS = 20_000, 30_000
#: So many rows are read at most for a list of fifty, a search or a story.
MOST = 200
#: The tables that grow with what has happened.
_GROWING = re.compile(r"\bs2s_(?:delivery|attempt|click)\b")
_ASKS = re.compile(r"\(?(?:SELECT|WITH)\b")
#: How each database says that it reads one of them from end to end.
_SCANS = {
    "sqlite": re.compile(r"SCAN (?:s2s_(?:delivery|attempt|click)|parents)\b(?! USING COVERING)"),
    "postgresql": re.compile(r'"Seq Scan",[^{}]*"Relation Name": "s2s_(?:delivery|attempt|click)"'),
    "mariadb": re.compile(
        r'"table": "(?:s2s_(?:delivery|attempt|click)|parents)",\s*"type": "ALL"'
    ),
}


class Large(NamedTuple):
    """A programme with a past: where it is."""

    folder: Path
    url: str


@pytest.fixture(
    scope="module",
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.service),
        pytest.param("mariadb", marks=pytest.mark.service),
    ],
)
def large(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Large]:
    folder: Path = tmp_path_factory.mktemp("large")
    urls = iter([f"sqlite:///{folder / 's2s.sqlite3'}"])
    if request.param != "sqlite":
        urls = throw_away_database(request.param)
    for url in urls:
        with opened(folder, url) as programme:
            populate(programme.services, DELIVERIES, CLICKS)
        yield Large(folder, url)


def look(large: Large, act: Act) -> list[tuple[Statement, str, int]]:
    """Return each statement about a table that grows, with its plan and how many rows it read."""
    with opened(*large) as programme:
        engine = programme.services.storage.engine()
        with caught(engine) as statements:
            act(programme)
        asked = [one for one in statements if _ASKS.match(one[0]) and _GROWING.search(one[0])]
        return [(one, explained(engine, one), rows_read(engine, one)) for one in asked]


@pytest.mark.parametrize("name", LISTS | COUNTS | EXPORTS)
def test_it_is_read_by_an_index_and_a_list_a_search_or_a_story_are_a_few_rows(
    large: Large, name: str
) -> None:
    kind = large.url.partition(":")[0].partition("+")[0]
    looked = look(large, (LISTS | COUNTS | EXPORTS)[name])
    assert looked
    for statement, plan, rows in looked:
        few, counts = rows <= MOST, "count(" in statement[0]
        assert few or counts or name not in LISTS, (statement, plan)
        # A list of everything has no condition, and ends after a page.
        whole = "WHERE" not in statement[0] and few
        assert whole or not _SCANS[kind].search(plan), (statement, plan)


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_that_no_index_has_reads_the_rows_of_the_period(large: Large, name: str) -> None:
    """A lane, a network or a sub ID alone is asked for seldom: an index for each costs every write."""
    kind = large.url.partition(":")[0].partition("+")[0]
    # The page counts the states of the period, whatever it is narrowed to.
    period = max(rows for _, _, rows in look(large, LISTS["conversions"]))
    looked = look(large, FILTERS[name])
    assert looked
    for statement, plan, rows in looked:
        assert not _SCANS[kind].search(plan), (statement, plan)
        assert rows <= period + MOST < DELIVERIES / 2, (statement, plan)


def test_a_scrape_reads_what_is_open(large: Large) -> None:
    for statement, plan, rows in look(large, COUNTS["a scrape"]):
        assert rows <= MOST, (statement, plan)


@pytest.mark.parametrize("name", sorted(COUNTS.keys() - {"status"}))
def test_no_page_counts_what_was_settled_at_any_time(large: Large, name: str) -> None:
    for statement, plan, _ in look(large, COUNTS[name]):
        assert "WHERE" in statement[0], plan


def test_status_counts_an_index_and_reads_what_is_open_or_failed(large: Large) -> None:
    many = [plan for _, plan, rows in look(large, COUNTS["status"]) if rows > MOST]
    (by_status,) = many
    assert re.search("COVERING INDEX|Index Only Scan|Using index", by_status)
