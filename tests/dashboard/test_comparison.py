"""The page Reconciliation: its sums, its rows, and how one is explained."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import insert, select
from werkzeug.test import TestResponse

from flask_s2s import Click
from flask_s2s.cli import s2s
from flask_s2s.dashboard.programme import MOST_RECORDS
from flask_s2s.operations.reconcile import reconcile
from tests.cli.runner import cli_runner
from tests.dashboard.programme import HOSTILE, Programme, token_in, without_names, words_of
from tests.verification.site import KEYS


@pytest.fixture
def programme(tmp_path: Path, sqlite_url: str) -> Iterator[Programme]:
    made = Programme(tmp_path, sqlite_url, S2S_CUSTOMERS=lambda since: [("50", since)])
    yield made
    made.close()


def fill(programme: Programme) -> None:
    """Let two sign up and pay by real links; the network loses one payment and gets another."""
    http = programme.sandbox.test_client()
    for key in ("41", "42"):
        location = http.get("/go/ada").headers["Location"]
        xid = parse_qs(urlsplit(location).query)["ps_xid"][0]
        click = Click(click_id=xid, at=programme.clock.now())
        programme.services.track_signup(customer_key=key, click=replace(click, partner_key="ada"))
    programme.services.drain()
    programme.after(minutes=16)
    programme.pays("41", 4900, "in_1")
    programme.pays("42", 1900, "in_2")
    programme.after(minutes=1)
    programme.after(hours=1)
    auth: Any = tuple(KEYS.values())
    assert http.delete("/api/v2/transactions/in_1", auth=auth).status_code == 200
    body = {"customer_external_key": "42", "amount": 100, "currency": "USD", "key": HOSTILE}
    assert http.post("/api/v2/transactions", json=body, auth=auth).status_code == 200


def post(programme: Programme, path: str, **form: str) -> TestResponse:
    return programme.client().post(f"/partners{path}", data=form)


def compare(programme: Programme, **form: str) -> str:
    page = programme.client().get("/partners/reconciliation").text
    token = token_in(page, "/reconciliation/compare")
    answer = post(programme, "/reconciliation/compare", token=token, **form)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_two_sums_stand_side_by_side_and_every_row_says_what_it_is(programme: Programme) -> None:
    fill(programme)
    assert "Not compared yet." in programme.read("/reconciliation")
    html = compare(programme)
    said = words_of(html)
    assert "differ." in said
    assert "Too new for their list 0 Accepted or confirmed here 4" in said
    assert "Only there 1 On its way here 0 On their record 4" in said
    assert "Payment in_1 Confirmed 41 Ada & Co 49.00 USD" in said
    assert "it was on their record: deleted there since" in said
    assert "entered there by somebody else" in said
    assert "never recorded here: 1" in said
    assert "<script>alert" not in html
    # Of this process it is shown again, and of other days not.
    assert "Only here: 1" in programme.read("/reconciliation")
    assert "Not compared yet." in programme.read("/reconciliation?period=7d")


def test_the_page_and_the_command_say_the_same(programme: Programme) -> None:
    fill(programme)
    listed = without_names(compare(programme, **{"as": "csv"}))
    file = list(csv.DictReader(io.StringIO(listed)))
    run = cli_runner(programme.app).invoke
    printed = run(s2s, ["reconcile", "--csv", "-"]).stdout
    assert list(csv.DictReader(io.StringIO(printed))) == file
    assert {row["side"] for row in file} == {"only_here", "only_there", "not_alike"}
    told = json.loads(run(s2s, ["reconcile", "--json"]).stdout)["networks"][0]
    assert (told["ours"], told["theirs"]) == (4, 4)


def test_a_difference_that_is_explained_is_one_no_more(programme: Programme) -> None:
    fill(programme)
    number = len(list(csv.DictReader(io.StringIO(compare(programme, **{"as": "csv"})))))
    page = compare(programme)
    token = token_in(page, "/reconciliation/explained")
    mark = page.split('name="mark" value="', 1)[1].split('"', 1)[0]
    answer = post(programme, "/reconciliation/explained", token=token, mark=mark, why="by hand")
    assert answer.status_code == 303
    said = words_of(compare(programme))
    assert "1 explained" in said
    assert f"{number - 1} of 4 differ." in said
    assert "Accepted or confirmed here 4" in said
    (entry,) = programme.services.audit.newest(1)
    assert (entry.act, entry.why, entry.who) == ("explained", "by hand", "Jo (dashboard)")
    told = json.loads(cli_runner(programme.app).invoke(s2s, ["reconcile", "--json"]).stdout)
    assert len(told["networks"][0]["differences"]) == number - 1


def test_a_form_that_is_not_of_this_page_changes_nothing(programme: Programme) -> None:
    fill(programme)
    assert post(programme, "/reconciliation/compare", token="x").status_code == 409
    assert post(programme, "/reconciliation/explained", token="x", mark="y").status_code == 409


def test_a_list_that_cannot_be_read_is_told_and_no_difference(programme: Programme) -> None:
    fill(programme)
    page = programme.client().get("/partners/reconciliation").text
    token = token_in(page, "/reconciliation/compare")
    programme.line.cut_api()
    said = words_of(post(programme, "/reconciliation/compare", token=token).text)
    assert "Payments were not compared. The network's records: could not connect." in said
    assert "Not all of it could be read." in said


def test_who_may_look_sees_no_button(programme: Programme) -> None:
    fill(programme)
    page = programme.client("looks").get("/partners/reconciliation").text
    assert 'method="post"' not in page


def test_without_keys_the_page_says_what_to_set(tmp_path: Path, sqlite_url: str) -> None:
    unset = dict.fromkeys(KEYS)
    made = Programme(tmp_path, sqlite_url, **unset)
    try:
        assert "S2S_PARTNERSTACK_PUBLIC_KEY" in made.read("/reconciliation")
    finally:
        made.close()
        made.clock.advance(timedelta(0))


def test_differences_are_told_the_newest_first(programme: Programme) -> None:
    for number in range(6):
        programme.signs_up(str(number), "ada")
        programme.after(minutes=1)
    programme.after(hours=1)
    since = programme.clock.now() - timedelta(days=1)
    found = reconcile(programme.services, "partnerstack", since)
    assert [one.customer_key for one in found.differences] == ["5", "4", "3", "2", "1", "0"]


def test_a_programme_too_large_for_a_page_is_told_the_command(programme: Programme) -> None:
    programme.signs_up("0", "ada")
    page = programme.client().get("/partners/reconciliation").text
    token = token_in(page, "/reconciliation/compare")
    rows = programme.services.storage.tables.delivery
    with programme.services.storage.engine().begin() as connection:
        (one,) = connection.execute(select(rows)).mappings()
        many = [{**one, "id": n, "dedupe": str(n)} for n in range(2, MOST_RECORDS + 2)]
        connection.execute(insert(rows), many[1:])
        # By no partner: it is not compared.
        organic = {"status": "unattributed", "due_at": None, "settled_at": one["created_at"]}
        connection.execute(insert(rows), {**many[0], **organic})
    assert "Compare now" in programme.read("/reconciliation")
    programme.signs_up("1", "ada")
    said = programme.read("/reconciliation")
    assert "50,001 were to be sent since then: more than a page compares" in said
    assert "flask s2s reconcile --since 2025-12-03" in said
    assert "Compare now" not in said
    asked = len(programme.line.requests)
    answer = post(programme, "/reconciliation/compare", token=token)
    assert "50,001 were to be sent since then" in words_of(answer.text)
    assert len(programme.line.requests) == asked
