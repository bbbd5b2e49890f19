"""Savepoints: what was told in one goes with it, and with no other."""

from __future__ import annotations

import contextlib

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests.recording.desk import Desk
from tests.recording.rows import conversions, customers

both_doors = pytest.mark.parametrize("door", ["call", "signal"])


@both_doors
def test_told_inside_a_released_one(desk: Desk, door: str) -> None:
    def view() -> None:
        with desk.db.session.begin_nested():
            desk.tell(door, desk.new_user())
        desk.db.session.commit()

    desk.post(view)
    desk.expect_exactly_the_customers(1)


@both_doors
def test_told_inside_one_that_is_rolled_back(desk: Desk, door: str) -> None:
    def view() -> None:
        desk.tell(door, desk.new_user("kept@b.example"))
        savepoint = desk.db.session.begin_nested()
        desk.tell(door, desk.new_user("gone@b.example"))
        savepoint.rollback()
        desk.db.session.commit()

    desk.post(view)
    desk.expect_exactly_the_customers(1)


@both_doors
def test_told_inside_a_released_one_inside_one_that_is_rolled_back(desk: Desk, door: str) -> None:
    def view() -> None:
        outer = desk.db.session.begin_nested()
        with desk.db.session.begin_nested():
            desk.tell(door, desk.new_user())
        outer.rollback()
        desk.new_user("kept@b.example")
        desk.db.session.commit()

    desk.post(view)
    assert len(customers(desk.uri)) == 1
    assert conversions(desk.uri) == []


@both_doors
def test_told_before_a_released_one_inside_one_that_is_rolled_back(desk: Desk, door: str) -> None:
    def view() -> None:
        desk.tell(door, desk.new_user())
        outer = desk.db.session.begin_nested()
        with desk.db.session.begin_nested():
            desk.db.session.execute(text("SELECT 1"))
        outer.rollback()
        desk.db.session.commit()

    desk.post(view)
    desk.expect_exactly_the_customers(1)


@both_doors
def test_told_after_one_that_failed(desk: Desk, door: str) -> None:
    """A statement that fails undoes its savepoint only."""

    def view() -> None:
        user = desk.new_user()
        desk.db.session.flush()
        with contextlib.suppress(IntegrityError), desk.db.session.begin_nested():
            desk.db.session.expunge(user)
            desk.db.session.add(desk.user_model(id=user.id, email="again@b.example"))
        desk.tell(door, desk.db.session.get(desk.user_model, 1))
        desk.db.session.commit()

    desk.post(view)
    desk.expect_exactly_the_customers(1)


@both_doors
def test_told_after_the_commit_and_a_savepoint_of_writes_that_is_gone(
    desk: Desk, door: str
) -> None:
    """An undone write is none that a commit would have to follow."""

    def view() -> None:
        user = desk.new_user()
        desk.db.session.commit()
        savepoint = desk.db.session.begin_nested()
        desk.new_user("audit@b.example")
        desk.db.session.flush()
        savepoint.rollback()
        desk.tell(door, user)

    desk.post(view)
    desk.expect_exactly_the_customers(1)


@both_doors
def test_committing_the_whole_with_one_open(desk: Desk, door: str) -> None:
    def view() -> None:
        session = desk.db.session()
        whole = session.begin()
        desk.tell(door, desk.new_user())
        session.begin_nested()
        whole.commit()

    desk.post(view)
    desk.expect_exactly_the_customers(1)
