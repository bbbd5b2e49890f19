"""Five cases and three troubles, each found out from the pages alone and from the command line alone.

The table names the page and the command, and the sentence of each that tells.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import pytest

from flask_s2s.cli import s2s
from flask_s2s.networks.messages import Request, Response
from flask_s2s.rules.attribution import Reason
from flask_s2s.testing import answered
from tests.cli.runner import cli_runner
from tests.dashboard.programme import Programme


class Told(NamedTuple):
    """What happens, and where it is told in which words."""

    happens: Callable[[Programme], None]
    page: str
    sentence: str
    command: str
    line: str


def unsent(reason: Reason) -> Callable[[Programme], None]:
    return lambda programme: programme.signs_up("41", reason=reason)


def answers(
    programme: Programme, number: int, answer: Callable[[Request], Response | None]
) -> None:
    programme.line.instead = answer
    for customer in range(41, 41 + number):
        programme.signs_up(str(customer), "ada")
    programme.services.drain()


def is_refused(programme: Programme) -> None:
    answers(programme, 1, lambda _: answered(400, '{"message": "meta does not match"}'))


def is_held(programme: Programme) -> None:
    answers(programme, 1, lambda _: answered(401, '{"message": "token revoked"}'))


def is_slowed_down(programme: Programme) -> None:
    answers(programme, 2, lambda _: answered(429, retry_after="600"))
    # A worker that goes on says so with its next sign of life.
    now = programme.clock.now()
    until = now + timedelta(minutes=10)
    programme.services.supervisor.workers.report(now, 0, {"partnerstack/tracking": until})


def has_a_wrong_path(programme: Programme) -> None:
    answers(programme, 1, lambda _: answered(404, "<h1>Not Found</h1>"))
    programme.after(minutes=6)


def fails_half_of_the_time(programme: Programme) -> None:
    half = iter([answered(500)] * 4)
    answers(programme, 8, lambda _: next(half, None))


CASES = {
    "the click was too old": Told(
        unsent(Reason.EXPIRED),
        "/customer?key=41",
        "A click counts for 90 days (S2S_WINDOW), and this one was older.",
        "explain 41",
        "The visitor's click is older than the attribution window.",
    ),
    "consent was denied": Told(
        unsent(Reason.CONSENT_DENIED),
        "/customer?key=41",
        "The visitor denied consent, so no click was kept. That is their choice.",
        "explain 41",
        "The visitor has denied or withdrawn consent.",
    ),
    "the network refused it": Told(
        is_refused,
        "/customer?key=41",
        "Refused: meta does not match.",
        "explain 41",
        "Last word: meta does not match",
    ),
    "it is held for a token": Told(
        is_held,
        "/conversions/1",
        "The network does not take our credential",
        "explain 41",
        "the network does not take our credential; it goes out once that works. "
        "Correct S2S_TOKEN or S2S_TOKEN_FILE.",
    ),
    "there was no click": Told(
        unsent(Reason.NO_CLICK),
        "/customer?key=41",
        "A partner’s link, opened in this browser before the sign-up, would have been credited.",
        "explain 41",
        "The visitor brought no click: no partner's link, or the cookie was lost.",
    ),
}
TROUBLES = {
    "the network asks to slow down": Told(
        is_slowed_down,
        "/delivery",
        "Rests asked to slow down; until 00:10:00",
        "status",
        "partnerstack/tracking  rests until 00:10:00 UTC",
    ),
    "the path is wrong": Told(
        has_a_wrong_path,
        "/",
        "nothing has been accepted since it began, in 2 tries of the last 15 minutes",
        "status",
        "A wrong path in S2S_PARTNERSTACK_URL is answered 404.",
    ),
    "half of the answers fail": Told(
        fails_half_of_the_time,
        "/",
        "partnerstack/tracking: 4 of 8 tries of the last 15 minutes were accepted",
        "status",
        "error  partnerstack/tracking: 4 of 8 tries of the last 15 minutes were accepted.",
    ),
}


@pytest.mark.parametrize("name", CASES | TROUBLES)
def test_it_is_found_out_from_the_pages_alone(programme: Programme, name: str) -> None:
    told = (CASES | TROUBLES)[name]
    told.happens(programme)
    assert told.sentence in programme.read(told.page)


@pytest.mark.parametrize("name", CASES | TROUBLES)
def test_it_is_found_out_from_the_command_line_alone(programme: Programme, name: str) -> None:
    told = (CASES | TROUBLES)[name]
    told.happens(programme)
    said = cli_runner(programme.app).invoke(s2s, told.command.split()).stdout
    assert " ".join(told.line.split()) in " ".join(said.split())
