"""The comparison that the chaos run ends with finds what it is there to find."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos.books import compare
from tests.chaos.marks import (
    ANSWERED,
    CLAIMED,
    COMMITTED,
    SENT,
    SERVED,
    SETTLED,
    VIEW,
    Marks,
    Trail,
)


def user(key: str, *, pays: bool = False, acts: bool = False) -> SimpleNamespace:
    return SimpleNamespace(key=key, xid="click1", pays=pays, acts=acts)


def ledger(customers: list[str], rewards: list[str] | None = None) -> dict[str, Any]:
    credited = [{"external_key": key, "xid": "click1"} for key in customers]
    paid = [{"external_key": key} for key in rewards or []]
    return {"customers": credited, "actions": [], "transactions": paid}


def test_all_there_once() -> None:
    users = [user("a", pays=True), user("b", acts=True)]
    assert compare(users, ledger(["a", "b"], ["t-a", "a-b"])).clean


@pytest.mark.parametrize(
    ("users", "record", "wrong", "keys"),
    [
        ([user("a"), user("b")], ledger(["a"]), "lost", ["b"]),
        ([user("a", pays=True)], ledger(["a"]), "lost", ["t-a"]),
        ([user("a")], ledger(["a", "a"]), "twice", ["a"]),
        ([user("a", pays=True)], ledger(["a"], ["t-a", "t-a"]), "twice", ["t-a"]),
        ([], ledger(["a"]), "invented", ["a"]),
    ],
)
def test_what_is_wrong_is_named(
    users: list[Any], record: dict[str, Any], wrong: str, keys: list[str]
) -> None:
    verdict = compare(users, record)
    assert not verdict.clean
    assert getattr(verdict, wrong) == keys


def test_a_credit_for_another_click_is_named() -> None:
    record = ledger(["a"])
    record["customers"][0]["xid"] = "click2"
    assert compare([user("a")], record).misattributed == ["a"]


def test_a_trail_says_what_was_in_hand(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    marks, trail = Marks(path), Trail(path)
    for mark in (VIEW, COMMITTED, SERVED, CLAIMED, SENT, ANSWERED, SETTLED):
        marks.leave(mark, "done")
    for mark in (VIEW, COMMITTED):
        marks.leave(mark, "visitor")
    marks.leave(CLAIMED, "post")
    assert trail.read() == {COMMITTED: {"visitor"}, CLAIMED: {"post"}}
    marks.leave(SENT, "post")
    assert trail.read() == {COMMITTED: {"visitor"}, SENT: {"post"}}
    trail.close()
