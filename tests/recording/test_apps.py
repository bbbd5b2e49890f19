"""The app of a signal or a call: two in one process, or none at all."""

from __future__ import annotations

import functools
import logging
import pathlib

import pytest
from blinker import Signal
from flask import Flask, current_app

from flask_s2s import Signup, UsageError, signup_completed
from tests.recording.desk import Desk
from tests.recording.rows import conversions


class TestTwoApps:
    """Each app's customers are its own, whichever signal both listen to."""

    @pytest.fixture
    def desks(self, tmp_path: pathlib.Path) -> list[Desk]:
        desks = [Desk(f"sqlite:///{tmp_path / name}.sqlite3") for name in ("one", "two")]
        shared = Signal("shared")
        for desk in desks:
            desk.s2s.connect(
                shared,
                lambda sender, user: Signup(customer_key=user.id),
                session=desk.db.session,
            )
            desk.told = shared
        return desks

    def sign_up(self, desk: Desk) -> None:
        desk.send(desk.new_user())
        desk.db.session.commit()

    def test_with_an_extension_each(self, desks: list[Desk]) -> None:
        for desk in desks:
            desk.post(functools.partial(self.sign_up, desk))
        for desk in desks:
            desk.expect_exactly_the_customers(1)

    def test_our_own_signal(self, desks: list[Desk]) -> None:
        desks[0].post(lambda: signup_completed.send(current_app, customer_key="mine")[:0])
        assert conversions(desks[0].uri) == [("mine", "pending")]
        assert conversions(desks[1].uri) == []


class TestWithoutAContext:
    def test_the_sender_is_the_app(self, desk: Desk) -> None:
        signup_completed.send(desk.app, customer_key="42")
        assert conversions(desk.uri) == [("42", "unattributed")]

    def test_the_sender_is_something_else(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING, "flask_s2s"):
            signup_completed.send("a job", customer_key="42")
        assert [r.action for r in caplog.records] == ["signal.no_app"]  # type: ignore[attr-defined]
        assert conversions(desk.uri) == []

    def test_an_app_without_the_extension(self, desk: Desk) -> None:
        signup_completed.send(Flask("other"), customer_key="42")
        assert conversions(desk.uri) == []

    def test_the_sender_is_the_proxy(self, desk: Desk) -> None:
        with desk.app.app_context():
            signup_completed.send(current_app, customer_key="42")
        assert conversions(desk.uri) == [("42", "unattributed")]

    def test_a_call_says_what_to_do(self, desk: Desk) -> None:
        with pytest.raises(UsageError, match="app_context"):
            desk.s2s.track_signup(customer_key="42")
