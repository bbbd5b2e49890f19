"""The words of the pages: what a state, a last word and a cause mean to a person."""

from __future__ import annotations

import csv
import io
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import update

from flask_s2s.cli import s2s
from flask_s2s.dashboard import formats
from flask_s2s.networks.messages import Outcome, Request, Response
from flask_s2s.operations.causes import Why, said, why
from flask_s2s.operations.words import OUTCOME_WORDS
from flask_s2s.rules.attribution import Reason
from flask_s2s.testing import answered
from tests.cli.runner import cli_runner
from tests.dashboard.programme import Programme

UNPAID = "This is a stand-in for the network, on this machine: nobody is paid for these."


def refuse(request: Request) -> Response:
    return answered(400, '{"message": "meta does not match"}')


@pytest.mark.parametrize(
    ("status", "detail", "cause"),
    [
        ("refused", "meta does not match", Why.REFUSED),
        ("refused", "its signup (delivery 3) is refused: meta does not match", Why.PARENT),
        (
            "refused",
            "its transaction (delivery 3) is another customer's: a key is to be unique",
            Why.ANOTHERS,
        ),
        ("pending", "asked to slow down", Why.SLOW_DOWN),
        ("pending", "answered 502: taken or not", Why.UNCLEAR),
        ("pending", "no answer (ReadTimeout)", Why.UNCLEAR),
        ("pending", "could not connect", Why.NO_CONNECTION),
        ("pending", "unexpected answer 404", Why.NOT_FOUND),
        ("pending", "unexpected answer 418", Why.UNEXPECTED),
        ("pending", "unproved; unexpected answer 404", Why.NOT_FOUND),
        ("pending", "unproved; could not connect", Why.NO_CONNECTION),
        ("pending", None, None),
        # The network's own words.
        ("refused", "no answer to your mail", Why.REFUSED),
        ("refused", "meta does not match (delivery address)", Why.REFUSED),
        ("waiting", "waits for its signup (delivery 2): pending", Why.WAITS),
        ("held", "the credential was answered with 401", Why.CREDENTIAL),
        ("expired", "not delivered before its deadline (last: never tried)", Why.DEADLINE),
        ("missing", "accepted, and not on record at the network", Why.MISSING),
        ("invalid", "amount is not a number", Why.INVALID),
        ("invalid", "customer_key is that of delivery 2, of another person", Why.ANOTHERS),
        ("invalid", "key is that of another action (delivery 2)", Why.ANOTHERS),
        ("delivered", "already known: asked to slow down", None),
        ("unattributed", "its signup (delivery 2) is unattributed: no_click", None),
    ],
)
def test_a_last_word_has_one_cause(status: str, detail: str | None, cause: Why | None) -> None:
    assert why(status, detail) is cause


def test_a_last_word_is_said_without_codes() -> None:
    parent = "its signup (delivery 1234) is unattributed: no_click"
    assert formats.said(parent) == "its sign-up (number 1,234) is not credited: no click"
    waits = "waits for its transaction (delivery 2): pending"
    assert formats.said(waits) == "waits for its payment (number 2): waits to be sent"
    assert said("answered 500: taken or not") == (
        "answered 500; nobody knows yet whether it was taken"
    )
    # What a network says stays as it was said.
    assert said("this offer is expired: no_click") == "this offer is expired: no_click"


def test_an_accepted_row_says_what_it_waits_for(programme: Programme) -> None:
    programme.signs_up("1", "ada")
    programme.services.drain()
    listed = programme.read("/conversions")
    assert "Accepted their record is looked at 00:15" in listed
    assert "Accepted: their record is looked at 00:15." in programme.read("/customer?key=1")
    assert "Last word taken by the network" in programme.read("/conversions/1")
    assert "answer" not in listed


def test_a_cause_says_what_it_means_on_the_page_in_the_file_and_on_the_command_line(
    programme: Programme,
) -> None:
    programme.line.instead = refuse
    programme.signs_up("1", "ada")
    programme.services.drain()
    assert f"meta does not match {Why.REFUSED.meaning}" in programme.read("/failed")
    assert Why.REFUSED.meaning in programme.read("/conversions/1")
    (row,) = csv.DictReader(io.StringIO(programme.client().get("/partners/conversions.csv").text))
    assert (row["cause"], row["detail"]) == ("refused", "meta does not match")
    shown = cli_runner(programme.app).invoke(s2s, ["show", "1"]).stdout
    assert Why.REFUSED.meaning in " ".join(shown.split())
    assert (
        '"cause": "refused"'
        in cli_runner(programme.app).invoke(s2s, ["show", "1", "--json"]).stdout
    )


def test_a_try_that_failed_is_explained_on_the_command_line(programme: Programme) -> None:
    programme.line.instead = lambda _: answered(404, "<h1>Not Found</h1>")
    programme.signs_up("1", "ada")
    programme.services.drain()
    explained = cli_runner(programme.app).invoke(s2s, ["explain", "1"]).stdout
    assert Why.NOT_FOUND.meaning in explained


def test_the_failed_file_has_what_the_page_counts(programme: Programme) -> None:
    programme.line.instead = refuse
    programme.signs_up("1", "ada")
    programme.services.drain()
    programme.signs_up("2", "ada")
    storage, now = programme.services.storage, programme.clock.now()
    table = storage.tables.delivery
    invalid = {"status": "invalid", "settled_at": now, "due_at": None}
    with storage.engine().begin() as connection:
        connection.execute(update(table).where(table.c.customer_key == "2").values(invalid))
    page = programme.client().get("/partners/failed").text
    path = page.split("conversions.csv?")[1].split('"')[0].replace("&amp;", "&")
    answer = programme.client().get(f"/partners/conversions.csv?{path}")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert "All 2" in programme.read("/failed")
    assert sorted(row["status"] for row in rows) == ["invalid", "refused"]


def test_a_stand_in_is_named_on_every_page_and_in_status(programme: Programme) -> None:
    for path in ("/", "/conversions", "/settings"):
        assert UNPAID in programme.read(path)
    assert "A stand-in for the network" in cli_runner(programme.app).invoke(s2s, ["status"]).stdout


@pytest.mark.parametrize("tests", [True, False])
def test_a_live_network_has_a_bar_where_its_record_says_test(
    tmp_path: Path, sqlite_url: str, tests: bool
) -> None:
    live = {"S2S_PARTNERSTACK_URL": "https://partner.example", "S2S_TOKEN": "t-0123456789"}
    with closing(Programme(tmp_path, sqlite_url, **live)) as made:
        if tests:
            made.services.supervisor.verification_queue.note_test(made.clock.now())
        said = made.read("/conversions")
        assert ("TEST: nobody is paid for these." in said) is tests
        assert ("partnerstack, TEST." in said) is tests


def test_every_way_a_try_ends_has_a_word(programme: Programme) -> None:
    assert {one.word for one in get_args(Outcome)} == OUTCOME_WORDS.keys()
    programme.line.instead = lambda _: answered(500)
    programme.signs_up("1", "ada")
    programme.services.drain()
    assert "1 No clear answer 500" in programme.read("/conversions/1")


def test_a_lane_that_fails_is_no_open_one(programme: Programme) -> None:
    programme.line.instead = lambda _: answered(404, "<h1>Not Found</h1>")
    programme.signs_up("1", "ada")
    programme.services.drain()
    programme.after(minutes=6)
    said = "Fails open, and nothing is accepted none yet 0 accepted, 2 “try later”, 0 refused"
    assert said in programme.read("/delivery")
    status = cli_runner(programme.app).invoke(s2s, ["status"]).stdout
    assert "partnerstack/tracking fails none yet" in " ".join(status.split())


def test_a_customer_whose_sign_up_did_not_get_through_is_not_only_credited(
    programme: Programme,
) -> None:
    programme.line.instead = lambda _: answered(400, '{"message": "meta does not match"}')
    programme.signs_up("1", "ada")
    programme.services.drain()
    programme.line.instead = lambda _: answered(401)
    programme.signs_up("2", "ada")
    programme.services.drain()
    programme.signs_up("it's", "ada")
    refused, held, waits = (programme.read(f"/customer?key={key}") for key in ("1", "2", "it's"))
    assert "Credited to Ada & Co" in refused
    assert "signed cookie. Refused : meta does not match." in refused
    assert "The network does not take our credential" in held
    assert "The sign-up goes out once that works." in held
    assert "The sign-up waits for its first try" in waits
    assert """flask s2s explain 'it'"'"'s'""" in waits
    claims, now = programme.services.supervisor.claims, programme.clock.now()
    assert claims.claim(limit=9, now=now, lease=timedelta(minutes=1))
    assert "signed cookie. The sign-up is being sent." in programme.read("/customer?key=it's")


def test_nothing_moves_on_a_site_that_sends_nothing(tmp_path: Path, sqlite_url: str) -> None:
    with closing(Programme(tmp_path, sqlite_url, S2S_DRY_RUN=True)) as programme:
        told = cli_runner(programme.app).invoke(s2s, ["status"])
        for said in (programme.read("/"), told.stdout, programme.read("/settings")):
            assert said.count("S2S_DRY_RUN is on: what is recorded is not sent") == 1
            assert "Everything moves" not in said
        programme.signs_up("1", "ada")
        assert "S2S_DRY_RUN was on: nothing was sent." in programme.read("/conversions/1")


def test_what_is_still_to_be_sent_is_to_be_confirmed_later(programme: Programme) -> None:
    programme.signs_up("1", "ada")
    assert "Accepted not yet Confirmed not yet" in programme.read("/conversions/1")
    programme.signs_up("2", reason=Reason.NO_CLICK)
    assert "Confirmed not asked for" in programme.read("/conversions/2")
    programme.pays("1", 100, "in_1")
    programme.undoes("1", "in_1")
    assert "Accepted not yet Confirmed not yet" in programme.read("/conversions/3")
    # Networks list no refunds.
    assert "Accepted not yet Confirmed not asked for" in programme.read("/conversions/4")
