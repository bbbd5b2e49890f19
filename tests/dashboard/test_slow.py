"""A database that counts for longer than somebody waits: what is not there is said, the rest is."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import OperationalError

from flask_s2s import Signup
from tests.dashboard.programme import Programme
from tests.dashboard.test_numbers import fill

_ENDLESS = "WITH RECURSIVE n(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n)"
_MARIADB = "seq_1_to_1000000000000"
_GREATEST = "SELECT max(seq + 0) FROM"


def let_no_click_be_counted(engine: Engine) -> None:
    """Put clicks without an end in the place of those that landed."""
    seen = "seq AS id, 'c' AS click_id, 'ada' AS partner_key, '[]' AS sub_ids, {at} + seq AS at"
    with engine.begin() as connection:
        (at,) = connection.exec_driver_sql("SELECT max(at) FROM s2s_click").one()
        connection.exec_driver_sql("ALTER TABLE s2s_click RENAME TO kept_click")
        read = f"SELECT {seen.format(at=at)} FROM"
        whole = f"{read} {_MARIADB}"
        if engine.dialect.name != "mariadb":
            whole = f"{_ENDLESS} {read} n"
        connection.exec_driver_sql(f"CREATE VIEW s2s_click AS {whole}")


def test_what_is_not_counted_in_time_is_left_out_and_the_rest_is_there(
    any_programme: Programme,
) -> None:
    fill(any_programme)
    let_no_click_be_counted(any_programme.services.storage.engine())
    said = any_programme.read("/")
    assert "30 days are not counted within 2 seconds." in said
    assert "Show fewer days" in said
    # What the engineer on call came for.
    assert "partnerstack/tracking Open" in said
    # The connection that was used has no limit left, and takes writes.
    assert any_programme.services.track(Signup(customer_key="later"))
    assert "later" in any_programme.read("/conversions")


def test_a_page_of_nothing_but_counts_says_so_and_how_to_ask_for_less(programme: Programme) -> None:
    fill(programme)
    let_no_click_be_counted(programme.services.storage.engine())
    answer = programme.client().get("/partners/partner?key=ada&period=90d")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert "This is not counted within 2 seconds." in answer.text
    assert "key=ada&amp;period=today" in answer.text


def let_deliveries_not_end(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE s2s_delivery RENAME TO kept_delivery")
        every = "SELECT kept_delivery.* FROM kept_delivery, n"
        connection.exec_driver_sql(f"CREATE VIEW s2s_delivery AS {_ENDLESS} {every}")


@pytest.mark.parametrize(
    "path", ["/customers", "/customers?q=1", "/conversions?q=1", "/partner?key=ada&period=today"]
)
def test_where_there_are_no_fewer_days_to_choose_nobody_is_told_to(
    programme: Programme, path: str
) -> None:
    fill(programme)
    let_deliveries_not_end(programme.services.storage.engine())
    said = programme.read(path, status=503)
    assert "Try again, or ask on the command line, which waits for it." in said
    assert "fewer days" not in said
    assert "Show today" not in said


def test_of_a_single_day_that_is_not_counted_no_fewer_are_offered(programme: Programme) -> None:
    fill(programme)
    let_no_click_be_counted(programme.services.storage.engine())
    said = programme.read("/?period=today")
    assert "This day is not counted within 2 seconds." in said
    assert "Show fewer days" not in said


def test_a_limit_of_the_hosts_own_ends_its_statement_as_ever(any_programme: Programme) -> None:
    """A dialect tells of errors, and it is the host's as well."""
    fill(any_programme)
    assert "Everything moves" in any_programme.read("/")
    engine = any_programme.services.storage.engine()
    endless = f"{_ENDLESS} {_GREATEST} n"
    with engine.connect() as hosts:
        if engine.dialect.name == "postgresql":
            hosts.exec_driver_sql("SET LOCAL statement_timeout = 20")
        elif engine.dialect.name == "mariadb":
            endless = f"SET STATEMENT max_statement_time = 0.02 FOR {_GREATEST} {_MARIADB}"
        else:
            driver: Any = hosts.connection.dbapi_connection
            driver.set_progress_handler(lambda: True, 1000)
        with pytest.raises(OperationalError):
            hosts.exec_driver_sql(endless)
        hosts.invalidate()


def test_a_file_whose_rows_are_not_found_in_time_is_no_file(programme: Programme) -> None:
    """What has begun with its head and ends there would pass for one of nothing."""
    fill(programme)
    let_deliveries_not_end(programme.services.storage.engine())
    answer = programme.client().get("/partners/conversions.csv")
    assert (answer.status_code, answer.mimetype) == (503, "text/html")
    assert "This is not counted within 2 seconds." in answer.text


def test_a_file_is_whole_before_it_is_sent(any_programme: Programme) -> None:
    """A database that goes away in the middle of it would leave a file that looks like one of less."""
    fill(any_programme)
    storage = any_programme.services.storage
    engine, deliveries = storage.engine(), storage.tables.delivery
    with engine.begin() as connection:
        one = dict(connection.execute(select(deliveries)).mappings().first() or {})
        del one["id"]
        more = [{**one, "dedupe": f"{number:064}"} for number in range(1_500)]
        connection.execute(insert(deliveries), more)
    answer = any_programme.client().get("/partners/conversions.csv", buffered=False)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE s2s_delivery RENAME TO kept_delivery")
    assert len(answer.text.splitlines()) == 1 + 16 + 1_500
    # A browser calls a transfer that ends before this a failed download.
    assert answer.content_length == len(answer.data)
