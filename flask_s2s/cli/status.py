"""`status`, `pause` and `resume`: the outbox at a glance, and lanes closed or opened by hand."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta, timezone

import click

from ..config.builtin import BUILT_IN
from ..operations.check import Level
from ..operations.check.clicks import look as look_at_clicks
from ..operations.check.deliveries import look
from ..operations.check.findings import Finding
from ..operations.fraud import collectors
from ..operations.lanes import Lane, could_go, lanes, lanes_of, stands_in
from ..operations.words import LOSS_WORDS
from ..rules.states import Status
from ..services import Services
from ..store.attempts import Attempts, LaneCount
from ..store.losses import Loss
from ..store.outbox.heartbeat import Summary, WorkerSeen
from . import output
from .audit import note, why
from .context import as_json, confirm, prepared, span, utf8


@click.command()
@as_json
@prepared
def status(services: Services, as_json: bool) -> None:
    """Show the outbox at a glance. Exits with 1 when something needs attention.

    Tries are those of the last 15 minutes. In JSON each problem has a stable `code`.

    \b
    flask s2s status --json
    """
    summary, now = services.supervisor.summary(), services.clock.now()
    counted, workers = (
        lanes(services.supervisor, services.clock.now()),
        services.supervisor.workers.all(),
    )
    found = list(look(services, timezone.utc, summary, counted))
    collecting = collectors(services, now)
    clicks = {"today": services.touches.today(now), "a_day": services.settings.click_day}
    found += look_at_clicks(collecting, **clicks)
    losses = services.losses.lately(now)
    notes = [one for one in found if one.level is Level.NOTE and one.code]
    problems = [one for one in found if one.level is Level.ERROR]
    if as_json:
        told = {
            **asdict(summary),
            "oldest_that_could_go": could_go(counted),
            "lanes": [lane.described() for lane in counted],
            "workers": [asdict(one) for one in workers],
            "clicks": clicks,
            "stand_in": stands_in(services.networks),
            "losses": [asdict(one) for one in losses],
            "collectors": [asdict(one) for one in collecting],
            "problems": [_described(one) for one in problems],
            "notes": [_described(one) for one in notes],
        }
        output.dump(told)
    else:
        if stands_in(services.networks):
            click.echo("A stand-in for the network, on this machine: nobody is paid for these.")
        _print_status(summary, counted, clicks, now)
        _print_losses(losses)
        _print_workers(workers, now)
        for one in (*problems, *notes):
            text = f"{one.message}. {one.remedy}".rstrip()
            output.line(f"{one.level.value}  {text}")
    click.get_current_context().exit(1 if problems else 0)


def _described(found: Finding) -> dict[str, str]:
    return {name: getattr(found, name) for name in ("code", "subject", "message", "remedy")}


def _print_status(
    summary: Summary, lanes: list[Lane], clicks: dict[str, int], now: datetime
) -> None:
    rows = [(word, str(summary.counts[word])) for word in _in_order(summary.counts)]
    output.table(("status", "deliveries"), rows or [("none yet", "0")], coloured=0)
    click.echo()
    head = ("lane", "state", "last success", "15 min", "due", "later")
    output.table(head, [_lane(lane, now) for lane in lanes], cut=(0, 1))
    click.echo()
    seen = summary.worker_seen
    due, could = summary.oldest_due, could_go(lanes)
    output.facts(
        [
            ("worker", "never seen" if seen is None else f"seen {output.span(now - seen)} ago"),
            ("next due", "nothing waits" if due is None else output.moment(due) + " UTC"),
            ("could go", "nothing waits" if could is None else f"since {output.span(now - could)}"),
            ("clicks today", f"{clicks['today']} of {clicks['a_day']} rows"),
        ]
    )


def _print_losses(losses: list[Loss]) -> None:
    if not losses:
        return
    click.echo()
    rows = [(one.kind, LOSS_WORDS.get(one.reason, one.reason), str(one.number)) for one in losses]
    output.table(("lost in 7 days", "why", "number"), rows)


def _print_workers(workers: list[WorkerSeen], now: datetime) -> None:
    if not workers:
        return
    click.echo()
    rows = [
        (one.name, one.version, str(one.in_flight), f"{output.span(now - one.seen_at)} ago")
        for one in workers
    ]
    output.table(("process", "version", "in flight", "seen"), rows, cut=(0,))


def _lane(lane: Lane, now: datetime) -> tuple[str, ...]:
    count, until = lane.count, lane.until
    last = count.last_success
    return (
        count.lane,
        lane.state if until is None else f"{lane.state} until {_until(until, now)}",
        "none yet" if last is None else f"{output.span(now - last)} ago",
        f"{lane.accepted} of {lane.tried} accepted" if lane.tried else "no tries",
        str(count.due),
        str(count.later),
    )


def _until(at: datetime, now: datetime) -> str:
    """Return a time as short as it can be told: without the day, where that is today's."""
    return f"{at:%H:%M:%S} UTC" if at.date() == now.date() else f"{at:%m-%d %H:%M} UTC"


def _in_order(counts: dict[str, int]) -> list[str]:
    return [status.value for status in Status if status.value in counts]


#: Nothing is counted here but what waits.
_NOW = timedelta(0)


@click.command(
    help=f"""Send nothing in a lane, until it is resumed or the time is over.

    What waits in it is kept, and what is recorded meanwhile too; each still has its deadline. What
    is being sent at this moment goes out. Lanes are what `flask s2s status` lists.

    \b
    flask s2s pause {BUILT_IN[0]}/tracking --for 4h --why "they asked for it"
    """
)
@click.argument("lane", type=utf8)
@click.option("--for", "length", type=span, metavar="SPAN", help="Such as 30min, 4h or 2d.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@why
@prepared
def pause(
    services: Services, lane: str, length: timedelta | None, yes: bool, why: str | None
) -> None:
    held, now = _known(services, lane), services.clock.now()
    until = _after(now, length)
    if not yes:
        for_how_long = (
            "until it is resumed" if until is None else f"until {output.moment(until)} UTC"
        )
        confirm(f"Let {held.due + held.later} wait in {lane} {for_how_long}?")
    services.supervisor.breakers.pause(lane, why, until, now)
    note(services, "pause", why, lane=lane, **({} if until is None else {"until": str(until)}))
    opens = f"flask s2s resume {lane}" if until is None else f"{output.moment(until)} UTC"
    click.echo(f"{lane} is paused: {opens} opens it.")


@click.command(
    help=f"""Open a lane that is closed, whatever closed it, and send what waits in it.

    One that is held for its credential closes again if that is still refused.

    \b
    flask s2s resume {BUILT_IN[0]}/tracking
    """
)
@click.argument("lane", type=utf8)
@why
@prepared
def resume(services: Services, lane: str, why: str | None) -> None:
    _known(services, lane)
    if not services.supervisor.breakers.resume(lane, services.clock.now()):
        raise click.ClickException(f"{lane} is not closed.")
    services.supervisor.wake()
    note(services, "resume", why, lane=lane)
    click.echo(f"{lane} is open.")


def _known(services: Services, lane: str) -> LaneCount:
    counted = Attempts(services.storage).lanes(
        lanes_of(services.networks), services.clock.now(), _NOW
    )
    found = {one.lane: one for one in counted}
    if lane not in found:
        names = ", ".join(sorted(found))
        raise click.BadParameter(f"no such lane; there is: {names}", param_hint="LANE")
    return found[lane]


def _after(now: datetime, length: timedelta | None) -> datetime | None:
    try:
        return None if length is None else now + length
    except OverflowError:
        raise click.BadParameter("is longer than there are dates", param_hint="--for") from None
