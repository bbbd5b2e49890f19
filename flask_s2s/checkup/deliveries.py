"""The deliveries: what is stuck, what was verified, and whether anything drains them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from ..delivery.vitals import EXPIRING, LATELY, STUBBORN, Summary
from ..delivery.watchman import SILENCE, nobody_drains
from ..services import Services
from .credentials import correction
from .findings import Finding

#: For how long a test record that should not be one stays an alarm.
TEST_ALARM = timedelta(days=7)


def look(services: Services) -> Iterator[Finding]:
    """Look at the outbox, the verification and the worker."""
    yield from _outbox(services)
    yield from _worker(services)


def _outbox(services: Services) -> Iterator[Finding]:
    summary = services.summary()
    invalid = summary.counts.get("invalid", 0)
    if invalid:
        yield Finding.error(
            "conversions",
            f"{invalid} with a field that is not acceptable, so nothing can be sent for them",
            "`flask s2s list --status invalid` has them, `flask s2s show ID` names the field.",
        )
    if summary.expiring:
        yield Finding.error(
            "conversions",
            f"{summary.expiring} undelivered ones pass their deadline within {EXPIRING.days} days",
            "`flask s2s list --status open` says what they wait for.",
        )
    yield from undelivered(summary)
    yield from _long_dead(summary)
    yield from _verified(services, summary.counts.get("missing", 0))
    for gate in services.gates.closed():
        yield Finding.error(
            "conversions",
            f"{gate.lane} is held since {gate.since:%Y-%m-%d %H:%M} UTC: {gate.reason}",
            correction(services, gate.lane, gate.reason)
            or "Nothing to do: it is tried again by itself.",
        )


def undelivered(summary: Summary) -> Iterator[Finding]:
    """Look for what does not get through: out of sight, tried in vain, given up on lately."""
    if summary.frozen:
        yield Finding.error(
            "conversions",
            "a move to another database was interrupted: run `flask s2s move-to` again",
            f"{summary.frozen} undelivered wait for it, and are not sent from here any more.",
        )
    if summary.stuck:
        # Others wrote it: ASCII cannot steer a terminal.
        word = "" if summary.last_word is None else f", last: {summary.last_word!a}"
        yield Finding.error(
            "conversions",
            f"{summary.stuck} undelivered after {STUBBORN} tries or more{word}",
            "`flask s2s list --status pending` has them, `flask s2s show ID` what was answered.",
        )
    for status, number in sorted(summary.dead_lately.items()):
        yield Finding.error(
            "conversions",
            f"{number} {status} in the last {LATELY.days} days",
            f"`flask s2s list --status {status}` has them, `flask s2s show ID` why; "
            f"`flask s2s retry --status {status}` sends them again.",
        )


def _long_dead(summary: Summary) -> Iterator[Finding]:
    for status in ("expired", "refused"):
        number = summary.counts.get(status, 0) - summary.dead_lately.get(status, 0)
        if number > 0:
            yield Finding.note(
                "conversions",
                f"{number} {status} more than {LATELY.days} days ago",
                f"`flask s2s list --status {status}` has them; `flask s2s retry` sends them again.",
            )


def _verified(services: Services, missing: int) -> Iterator[Finding]:
    seen = services.probation.test_seen()
    if seen is not None and services.clock.now() - seen <= TEST_ALARM:
        yield Finding.error(
            "verification",
            f"a record came back as a test, last {seen:%Y-%m-%d %H:%M} UTC: nobody is paid for it",
            "Set S2S_TOKEN and the API keys to production ones, then ask the network to move these.",
        )
    if missing:
        yield Finding.error(
            "verification",
            f"{missing} accepted by the network, sent again, and still not on its record",
            "`flask s2s list --status missing` has the click IDs to ask the network with.",
        )
    if not services.verifier().able:
        yield Finding.note(
            "verification",
            "off: nothing proves that the network has what it accepted",
            "Set S2S_PARTNERSTACK_PUBLIC_KEY and _SECRET_KEY.",
        )


def _worker(services: Services) -> Iterator[Finding]:
    summary, now = services.summary(), services.clock.now()
    seen = summary.worker_seen
    remedy = (
        "Start `flask s2s work` (with Celery: a worker and a beat), or set S2S_WORKER to embedded "
        "and send the site a request."
    )
    if nobody_drains(summary, now):
        yield Finding.error(
            "worker", "nothing drains: deliveries are overdue, no worker is alive", remedy
        )
    elif seen is None or now - seen > SILENCE:
        yield Finding.note("worker", "none was seen in the last two minutes", remedy)
    else:
        yield Finding.ok("worker", f"seen {(now - seen).total_seconds():.0f} s ago")
