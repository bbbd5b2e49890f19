"""The deliveries: stuck ones, unverified ones, refused credentials, and workers that are missing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta, tzinfo

from ...rules.dependencies import PROOF
from ...rules.states import ALARMING, GIVEN_UP, Status
from ...runtime.embedded import SILENCE, nobody_drains
from ...services import Services
from ...store.losses import CLICK, LATELY
from ...store.outbox.heartbeat import EXPIRING, STUBBORN, Summary
from ...store.outbox.lanes import BY_HAND, PAUSED, Closed
from ..lanes import Lane, could_go, lanes, read_with
from .findings import Finding, moment

#: For how long a test record that should not be one stays an alarm.
TEST_ALARM = timedelta(days=7)


def look(
    services: Services,
    zone: tzinfo,
    summary: Summary | None = None,
    known: list[Lane] | None = None,
) -> Iterator[Finding]:
    """Look at the outbox, the verification, the lanes and the worker: what `status` says, and a page.

    Times are told in that zone. A caller that has the summary and the lanes brings them: each is
    counted once.
    """
    if summary is None:
        summary = services.supervisor.summary(all_counts=False)
    if known is None:
        known = lanes(services.supervisor, services.clock.now())
    if services.settings.dry_run:
        yield Finding.note(
            "conversions",
            "S2S_DRY_RUN is on: what is recorded is not sent",
            "Switch it off to send what is recorded from then on.",
            code="dry_run",
        )
    # First what keeps all of them from moving, then single ones.
    yield from _worker(services, summary, known, zone)
    for breaker in services.supervisor.breakers.closed():
        yield _closed(services, breaker, zone)
    for lane in known:
        yield from _tried(services, lane, zone)
    yield from _outbox(services, summary)
    yield from _verified(services, summary, zone)


def _outbox(services: Services, summary: Summary) -> Iterator[Finding]:
    invalid = summary.failed_lately.get(Status.INVALID, 0)
    if invalid:
        yield Finding.error(
            "conversions",
            f"{invalid} with a field that is not acceptable, so nothing can be sent for them",
            "`flask s2s list --status invalid` has them, `flask s2s show ID` names the field; once it "
            "is mended, `flask s2s ack --status invalid`.",
            code="invalid",
        )
    if expiring := summary.expiring - summary.strangers["expiring"]:
        yield Finding.error(
            "conversions",
            f"{expiring} undelivered pass their deadline within {EXPIRING.days} days",
            "`flask s2s list --status open` says what they wait for.",
            code="expiring",
        )
    if summary.review:
        waits = "waits" if summary.review == 1 else "wait"
        yield Finding.error(
            "conversions",
            f"{summary.review} {waits} for review, because S2S_RULE failed",
            "`flask s2s list --reason review` has them; then `flask s2s credit` or `discard`.",
            code="review",
        )
    yield from undelivered(summary)
    yield from _long_dead(summary)
    yield from _lost(services)


def _closed(services: Services, breaker: Closed, zone: tzinfo) -> Finding:
    since = moment(breaker.since, zone)
    if not breaker.by_hand:
        return Finding.error(
            "conversions",
            f"{breaker.lane} is held since {since}: {breaker.reason}",
            correction(services, breaker.lane, breaker.reason)
            or "Nothing to do: it is tried again by itself.",
            code="lane_closed",
        )
    words = breaker.reason.removeprefix(BY_HAND)
    remedy = correction(services, breaker.lane, breaker.reason)
    if breaker.for_a_time:
        # It is meant so, and ends by itself.
        said = f"{breaker.lane} is paused by hand until {moment(breaker.probe_at, zone)}{words}"
        return Finding.note("conversions", said, remedy, code="lane_paused")
    said = f"{breaker.lane} is paused by hand since {since}, until somebody resumes it{words}"
    return Finding.error("conversions", said, remedy, code="lane_paused")


def _tried(services: Services, lane: Lane, zone: tzinfo) -> Iterator[Finding]:
    name, lately = lane.count.lane, "tries of the last 15 minutes"
    answers = "`flask s2s list --group error` has what was answered."
    if lane.closed is None and lane.rests_until is not None:
        yield Finding.note(
            "conversions",
            f"{name} rests until {lane.rests_until.astimezone(zone):%H:%M:%S %Z}: its network asked to slow down",
            "Nothing to do: what waits goes out by itself then.",
            code="lane_rests",
        )
    if lane.fails:
        last = lane.count.last_success
        began = "it began" if last is None else moment(last, zone)
        yield Finding.error(
            "conversions",
            f"{name}: nothing has been accepted since {began}, in {lane.tried} {lately}",
            f"{answers} A wrong path in {_address(services, name)} is answered 404.",
            code="lane_fails",
        )
    elif lane.state == "unsteady":
        yield Finding.error(
            "conversions",
            f"{name}: {lane.accepted} of {lane.tried} {lately} were accepted",
            f"{answers} What was not accepted is tried again by itself.",
            code="lane_unsteady",
        )


def undelivered(summary: Summary) -> Iterator[Finding]:
    """Look for what does not get through: put off, tried in vain, given up on lately."""
    if summary.put_off:
        yield Finding.error(
            "conversions",
            f"{summary.put_off} put off further than anything is, by a clock that was ahead",
            "A running worker brings them near within minutes: is one running, is its clock right?",
            code="put_off",
        )
    if stuck := summary.stuck - summary.strangers["stuck"]:
        # Others wrote it: ASCII cannot steer a terminal.
        word = "" if summary.last_word is None else f", last: {summary.last_word!a}"
        yield Finding.error(
            "conversions",
            f"{stuck} undelivered after {STUBBORN} tries or more{word}",
            "`flask s2s list --status pending` has them, `flask s2s show ID` what was answered.",
            code="stuck",
        )
    for status in GIVEN_UP:
        number = summary.failed_lately.get(status, 0) - summary.strangers.get(status, 0)
        if not number:
            continue
        yield Finding.error(
            "conversions",
            f"{number} {status} in the last {LATELY.days} days",
            f"`flask s2s list --status {status}` has them, `flask s2s show ID` why; "
            f"`flask s2s retry --status {status}` sends them again; what is to stay so: "
            f"`flask s2s ack --status {status}`.",
            code=status,
        )

    if unknown := max(summary.strangers["stuck"], summary.strangers["expiring"]):
        yield Finding.note(
            "conversions",
            f"{unknown} undelivered, all answered 404 while others are accepted: sign-ups, perhaps by click "
            "IDs that are not the network's",
            "Anybody can write one into a link. `flask s2s list --status pending` has them.",
            code="unknown_click",
        )
    if unknown := summary.strangers["expired"]:
        yield Finding.note(
            "conversions",
            f"{unknown} given up, all answered 404 while others are accepted: sign-ups, perhaps by click "
            "IDs that are not the network's",
            "Anybody can write one into a link. `flask s2s list --status expired` has them.",
            code="unknown_click_expired",
        )


def _long_dead(summary: Summary) -> Iterator[Finding]:
    for status in ALARMING:
        number = summary.counts.get(status, 0) - summary.failed_lately.get(status, 0)
        if number > 0:
            yield Finding.note(
                "conversions",
                f"{number} {status} more than {LATELY.days} days ago, or acknowledged",
                f"`flask s2s list --status {status}` has them.",
            )


def _lost(services: Services) -> Iterator[Finding]:
    losses = services.losses.lately(services.clock.now())
    if number := sum(one.number for one in losses if one.kind != CLICK):
        yield Finding.note(
            "conversions",
            f"{number} lost in the last {LATELY.days} days: no database took them",
            "The log names each (`conversion.not_stored`); with S2S_CUSTOMERS `flask s2s reconcile` lists "
            "the sign-ups among them.",
            code="lost",
        )


def _verified(services: Services, summary: Summary, zone: tzinfo) -> Iterator[Finding]:
    seen = services.supervisor.verification_queue.test_seen()
    if seen is not None and services.clock.now() - seen <= TEST_ALARM:
        yield Finding.error(
            "verification",
            f"a record came back as a test, last {moment(seen, zone)}: nobody is paid for it",
            "Set S2S_TOKEN and the API keys to production ones, then ask the network to move these.",
            code="test_records",
        )
    if missing := summary.failed_lately.get(Status.MISSING, 0):
        found = f"{missing} accepted by the network, and not on its record"
        if summary.missing_alarms:
            yield Finding.error(
                "verification",
                found,
                "`flask s2s list --status missing` has them: ask the network, or send them again with "
                "`flask s2s retry --status missing`, which looks for payments first. Where it stays "
                "so: `flask s2s ack --status missing`.",
                code="missing",
            )
        else:
            yield Finding.note(
                "verification",
                f"{found}: a few sign-ups, perhaps by click IDs that are not the network's",
                "Anybody can write one into a link. `flask s2s list --status missing` has them.",
                code="missing_few",
            )
    yield from unread(services)
    if not services.supervisor.verifier().able:
        yield Finding.note(
            "verification",
            "off: nothing proves that the network has what it accepted",
            f"Set {read_with(services.networks)}.",
        )


def unread(services: Services) -> Iterator[Finding]:
    """Look for what waits for records that the network does not show."""
    found = services.supervisor.verification_queue.unread(services.clock.now())
    if not found.accepted and not found.waiting:
        return
    # Others wrote it: ASCII cannot steer a terminal.
    word = "" if found.last_word is None else f", last: {found.last_word!a}"
    parts = (
        (found.accepted, "accepted cannot be read back"),
        (found.waiting, "wait for a record that the network does not show"),
    )
    yield Finding.error(
        "verification",
        " and ".join(f"{number} {what}" for number, what in parts if number) + word,
        f"Are {read_with(services.networks)} right, and may they read? What waits for a customer goes out without "
        f"proof {PROOF.total_seconds() / 3600:.0f} hours later; what may have arrived waits on.",
        code="unread",
    )


def _worker(
    services: Services, summary: Summary, known: list[Lane], zone: tzinfo
) -> Iterator[Finding]:
    now, seen = services.clock.now(), summary.worker_seen
    remedy = (
        "Start `flask s2s work` (with Celery: a worker and a beat), or set S2S_WORKER to embedded "
        "and send the site a request."
    )
    if nobody_drains(summary.oldest_due, summary.worker_seen, now):
        yield Finding.error(
            "worker",
            "nothing drains: deliveries are overdue, no worker is alive",
            f"Does a worker run? {remedy}",
            code="nothing_drains",
        )
        return
    late = could_go(known)
    if late is not None and now - late > SILENCE:
        yield Finding.error(
            "worker",
            f"what could go waits since {moment(late, zone)}",
            "Does a worker run, and is it fast enough: S2S_CONCURRENCY, S2S_RATE, a second one?",
            code="late",
        )
    elif seen is None or now - seen > SILENCE:
        yield Finding.note("worker", "none was seen in the last two minutes", remedy)
    else:
        yield Finding.ok("worker", f"seen {(now - seen).total_seconds():.0f} s ago")


def correction(services: Services, lane: str, reason: str) -> str:
    """Say which setting to correct, where a lane is held for it and the reason names none."""
    if reason.startswith(BY_HAND):
        return f"`flask s2s resume {lane}` opens it."
    if "S2S_" in reason or reason.startswith(PAUSED):
        return ""
    known = services.credentials.lanes.get(lane)
    return "" if known is None else f"Correct {known.settings}."


def _address(services: Services, lane: str) -> str:
    known = services.credentials.lanes.get(lane)
    return "the network's address" if known is None else known.address
