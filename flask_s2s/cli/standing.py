"""`status`: the outbox at a glance, and what needs attention."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

import click

from ..checkup import TEST_ALARM, undelivered
from ..checkup.credentials import correction
from ..delivery.gate import Closed
from ..delivery.settlement import Status
from ..delivery.vitals import EXPIRING, Summary
from ..delivery.watchman import SILENCE
from ..services import Services
from . import output
from .context import as_json, prepared


@click.command()
@as_json
@prepared
def status(services: Services, as_json: bool) -> None:
    """Show the outbox at a glance. Exits with 1 when something needs attention."""
    summary, gates, now = services.summary(), services.gates.closed(), services.clock.now()
    problems = [f"{found.message}. {found.remedy}" for found in undelivered(summary)]
    problems += _problems(summary, now, closed=bool(gates))
    problems += _tests(services, now)
    problems += [_held(services, gate) for gate in gates]
    if as_json:
        held = [asdict(gate) for gate in gates]
        output.dump({**asdict(summary), "held": held, "problems": problems})
    else:
        _print_status(summary, now)
        for problem in problems:
            click.echo(f"{output.state('error')}  {problem}")
    click.get_current_context().exit(1 if problems else 0)


def _problems(summary: Summary, now: datetime, *, closed: bool) -> list[str]:
    problems = []
    if invalid := summary.counts.get("invalid", 0):
        problems.append(f"{invalid} invalid: `flask s2s list --status invalid`")
    if missing := summary.counts.get("missing", 0):
        problems.append(
            f"{missing} not on record at the network: `flask s2s list --status missing`"
        )
    if summary.expiring:
        problems.append(
            f"{summary.expiring} undelivered pass their deadline within {EXPIRING.days} days: "
            "`flask s2s list --status open`"
        )
    if not closed and summary.oldest_due is not None and now - summary.oldest_due > SILENCE:
        late = output.span(now - summary.oldest_due)
        problems.append(f"deliveries wait since {late}: does a worker run?")
    return problems


def _held(services: Services, gate: Closed) -> str:
    remedy = correction(services, gate.lane, gate.reason)
    return f"{gate.lane} is held: {gate.reason}{'. ' if remedy else ''}{remedy}"


def _tests(services: Services, now: datetime) -> list[str]:
    seen = services.probation.test_seen()
    if seen is None or now - seen > TEST_ALARM:
        return []
    return [
        f"test records at the network, the last {output.span(now - seen)} ago: `flask s2s check`"
    ]


def _print_status(summary: Summary, now: datetime) -> None:
    rows = [(word, str(summary.counts[word])) for word in _in_order(summary.counts)]
    output.table(("status", "deliveries"), rows or [("none yet", "0")], coloured=0)
    click.echo()
    seen = summary.worker_seen
    due = summary.oldest_due
    output.facts(
        [
            ("worker", "never seen" if seen is None else f"seen {output.span(now - seen)} ago"),
            ("next due", "nothing waits" if due is None else output.moment(due) + " UTC"),
        ]
    )


def _in_order(counts: dict[str, int]) -> list[str]:
    return [status.value for status in Status if status.value in counts]
