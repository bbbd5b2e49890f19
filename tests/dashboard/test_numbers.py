"""Every number of a page is the query's, and parts add up to the whole that they split."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta

from sqlalchemy import update

from flask_s2s import Click, Signup
from flask_s2s.cli import s2s
from flask_s2s.operations.causes import ALIKE
from flask_s2s.operations.period import Period
from flask_s2s.operations.report import overview, partners, sub_ids, total
from flask_s2s.operations.words import CREDITED, Group
from flask_s2s.rules.attribution import Attribution, Reason
from flask_s2s.store.queries import Queries, Wanted
from flask_s2s.store.sums import Sums, haste
from tests.cli.runner import cli_runner
from tests.dashboard.programme import Programme


def queries(programme: Programme) -> Queries:
    services = programme.services
    return Queries(services.storage, services.outbox)


def sums(programme: Programme) -> Sums:
    return Sums(programme.services.storage)


def fill(programme: Programme) -> None:
    """Let two partners and an unnamed one bring customers, of whom some pay and one is refused."""
    for number in range(6):
        programme.signs_up(f"a{number}", "ada")
    programme.signs_up("f1", "fern")
    programme.signs_up("n1", None)
    programme.signs_up("x1", reason=Reason.EXPIRED)
    programme.signs_up("x2", reason=Reason.NO_CLICK)
    programme.services.drain()
    programme.after(minutes=16)
    programme.pays("a1", 4900, "in_1")
    programme.pays("a1", 1900, "in_2", "EUR")
    programme.pays("a2", 9900, "in_3")
    programme.pays("f1", 500, "in_4")
    programme.pays("x1", 700, "in_5")
    programme.after(minutes=1)
    programme.undoes("a2", "in_3")
    programme.after(hours=1)


def test_an_overview_adds_up(any_programme: Programme) -> None:
    programme = any_programme
    fill(programme)
    asked = sums(programme)
    period = Period.named("7d", programme.clock.now())
    found = overview(asked, period)
    assert found.recorded == 10
    assert found.credited == 8
    assert found.clicks == 8
    assert dict(found.reasons) == {"expired": 1, "no_click": 1}
    assert found.credited + sum(number for _, number in found.reasons) == found.recorded
    by_day = sum(number for _, split in found.days for number in split.values())
    assert by_day == found.credited
    assert sum(line.signups for line in found.partners) == found.credited
    assert [(line.name, sum(line.days)) for line in found.top] == [("ada", 6), ("fern", 1)]
    days = [sum(line.days) for line in partners(asked, period)]
    assert sum(days) == found.credited
    money = {one.currency: one for one in found.money}
    assert (money["USD"].payments, money["USD"].paid, money["USD"].refunded) == (3, 15300, -9900)
    assert money["USD"].net == money["USD"].accepted + money["USD"].open + money["USD"].failed
    whole = total(found.partners)
    assert (whole.paid("USD"), whole.refunded("USD")) == (15300, -9900)
    ada = next(line for line in found.partners if line.name == "ada")
    assert (ada.signups, ada.paying, ada.net("USD"), ada.net("EUR")) == (6, 2, 4900, 1900)
    parts = total(sub_ids(asked, "ada", period))
    assert (parts.clicks, parts.signups, parts.money) == (ada.clicks, ada.signups, ada.money)


def test_a_partner_is_split_by_the_sub_id_in_each_place(any_programme: Programme) -> None:
    programme = any_programme
    programme.signs_up("1", "ada", sub_ids=("newsletter", "march", "top"))
    programme.signs_up("2", "ada", sub_ids=("newsletter", "march"))
    programme.signs_up("3", "ada", sub_ids=("blog", "april"))
    programme.signs_up("4", "ada", sub_ids=())
    programme.signs_up("5", "fern", sub_ids=("newsletter", "march"))
    programme.services.drain()
    period = Period.named("today", programme.clock.now())
    (whole,) = partners(sums(programme), period, "ada")
    for place, names in enumerate(
        (
            {"newsletter": 2, "blog": 1, None: 1},
            {"march": 2, "april": 1, None: 1},
            {"top": 1, None: 3},
        )
    ):
        lines = sub_ids(sums(programme), "ada", period, place)
        assert {line.name: line.signups for line in lines} == names
        assert {line.name: line.clicks for line in lines} == names
        parts = total(lines)
        assert (parts.signups, parts.clicks) == (whole.signups, whole.clicks) == (4, 4)
        assert parts.confirmed == whole.confirmed
    second = programme.read("/partner?key=ada&place=second&period=today")
    assert (
        "march 2 2 100.0 % 0 april 1 1 100.0 % 0 No second sub ID 1 1 100.0 % 0 All 4 4" in second
    )
    assert "Paying" in programme.read("/partner?key=ada")
    assert "place= is one of" in programme.read("/partner?key=ada&place=tenth", status=400)


def test_the_tabs_count_what_the_lists_show(any_programme: Programme) -> None:
    programme = any_programme
    fill(programme)
    asked = queries(programme)
    counted = asked.by_status(Wanted())
    for group in Group:
        shown = asked.page(Wanted(statuses=group.statuses), 100)
        assert len(shown) == sum(counted.get(status, 0) for status in group.statuses)
    everything = asked.page(Wanted(), 100)
    assert len(everything) == sum(counted.values())
    # By keyset, each once, in the same order.
    paged, before = [], None
    while rows := asked.page(Wanted(), 4, before):
        paged += rows
        before = (rows[-1].created_at, rows[-1].id)
    assert [one.id for one in paged] == [one.id for one in everything]


def test_a_page_says_what_the_report_has(programme: Programme) -> None:
    fill(programme)
    said = programme.read("/?period=7d")
    assert "Clicks 8" in said
    assert "Credited sign-ups 8 100.0 % of clicks" in said
    assert "2 of 10 recorded sign-ups; 8 are credited." in said
    assert "USD 3 153.00 \u221299.00 54.00" in said
    assert "Ada & Co 6 6 100.0 % 2 49.00" in said
    page = programme.read("/partners?period=7d")
    assert "All credited 8 8 100.0 %" in page
    rows = list(csv.DictReader(io.StringIO(programme.client().get("/partners/partners.csv").text)))
    assert sum(int(row["signups"]) for row in rows) == 8


def test_every_status_is_in_one_group() -> None:
    from flask_s2s import Status

    listed = [status for group in Group for status in group.statuses]
    assert sorted(listed) == sorted(status.value for status in Status)
    assert set(CREDITED) < set(Group)


def test_a_file_has_the_rows_of_the_list_and_no_formula(programme: Programme) -> None:
    programme.signs_up("=cmd()", "ada")
    programme.signs_up("43", "fern")
    answer = programme.client().get("/partners/conversions.csv?partner=ada")
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert row["customer_key"] == "'=cmd()"
    assert (row["partner_key"], row["partner_name"]) == ("ada", "Ada & Co")
    assert row["state"] == "open"


def test_a_text_finds_what_it_names_exactly(any_programme: Programme) -> None:
    programme = any_programme
    fill(programme)
    asked = queries(programme)

    def kinds(text: str) -> list[str]:
        return sorted(one.kind for one in asked.find(text))

    assert kinds("in_1") == ["transaction"]
    assert kinds("in_3") == ["reversal", "transaction"]
    assert kinds("a1") == ["signup", "transaction", "transaction"]
    assert kinds("click-of-f1") == ["signup"]
    assert kinds("in_") == []
    programme.signs_up("e1", "ada", email="Maya@Example.com")
    assert kinds("maya@example.com") == ["signup"]
    assert kinds("aya@example.com") == []
    assert kinds("\u0000' or 1=1") == []


def test_the_command_line_finds_what_the_search_finds(programme: Programme) -> None:
    programme.signs_up("41", "ada", email="maya@example.com")
    programme.pays("41", 4900, "in_1")
    run = cli_runner(programme.app).invoke
    for text in ("41", "in_1", "maya@example.com", "click-of-41", "2"):
        found = run(s2s, ["find", text, "--json"])
        assert found.exit_code == 0
        numbers = [one["id"] for one in json.loads(found.stdout)]
        assert numbers == [one.id for one in queries(programme).find(text)] != []
    assert "49.00 USD in_1" in run(s2s, ["find", "in_1"]).stdout
    nothing = run(s2s, ["find", "in_2"])
    assert (nothing.exit_code, nothing.stdout) == (1, "Nothing is recorded under that.\n")


def test_a_day_is_counted_where_it_was(any_programme: Programme) -> None:
    programme = any_programme
    programme.signs_up("1", "ada")
    programme.clock.advance(timedelta(days=1))
    programme.signs_up("2", "ada")
    programme.signs_up("3", "ada")
    found = overview(sums(programme), Period.named("7d", programme.clock.now()))
    assert [sum(split.values()) for _, split in found.days] == [0, 0, 0, 0, 0, 1, 2]


def test_failures_are_summed_by_cause_with_their_money(any_programme: Programme) -> None:
    programme = any_programme
    fill(programme)
    storage, now = programme.services.storage, programme.clock.now()
    rows = storage.tables.delivery
    ended = {"status": "refused", "detail": "offer is closed", "settled_at": now}
    gone = dict.fromkeys(("due_at", "lease_token", "verify_at"))
    with storage.engine().begin() as connection:
        these = update(rows).where(rows.c.kind.in_(("transaction", "signup")))
        connection.execute(these.values({**ended, **gone}))
    found = sums(programme).causes(now - timedelta(days=1), now, ALIKE)
    by_kind = {one.kind: one for one in found if one.detail == "offer is closed"}
    paid, signups = by_kind["transaction"], by_kind["signup"]
    assert (paid.number, paid.customers) == (5, 4)
    assert paid.amounts == {"USD": 16000, "EUR": 1900}
    assert (signups.number, signups.amounts) == (10, {})
    page = programme.read("/failed")
    assert "5 4 19.00 EUR 160.00 USD" in page
    assert "All 15 19.00 EUR 160.00 USD" in page


def test_half_of_a_partners_customers_took_so_long_at_most(any_programme: Programme) -> None:
    programme, now = any_programme, any_programme.clock.now()
    took = {"ada": (5, 30, 86_400 * 60), "fern": (10, 20, 40, 4000), "eve": (7,)}
    for partner, spans in took.items():
        for number, seconds in enumerate(spans):
            at = now - timedelta(seconds=seconds)
            click = Click(click_id=f"{partner}{number}", at=at, partner_key=partner)
            signup = Signup(customer_key=f"{partner}-{number}")
            programme.services.recorder.alone(signup, Attribution(click, Reason.COOKIE))
    services = programme.services
    engine, tables = services.storage.engine(), services.storage.tables
    day = timedelta(days=1)
    found = haste(engine, tables, now - day, now + day, timedelta(seconds=10))
    told = [(one.partner, one.signups, one.at_once, one.median.total_seconds()) for one in found]
    assert told == [("fern", 4, 0, 30), ("ada", 3, 1, 30), ("eve", 1, 1, 7)]
    assert "33.3 % 30 seconds" in programme.read("/fraud")
