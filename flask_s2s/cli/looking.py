"""`list`, `show` and `check`: they change nothing."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

import click
from flask import current_app

from ..capture.attribution import sentence
from ..checkup import Level
from ..checkup import check as check_everything
from ..delivery.ledger import Attempt
from ..delivery.settlement import Delivery, Status
from ..services import Services
from . import output
from .arguments import DELIVERY_ID, moment, utf8
from .context import as_json, command, prepared

_STATUSES = click.Choice(["open", *(status.value for status in Status)])


@click.command("list")
@click.option(
    "--status",
    type=_STATUSES,
    metavar="STATUS",
    help="Such as delivered or held; 'open' is everything that has work left.",
)
@click.option("--customer", type=utf8, metavar="KEY")
@click.option("--since", type=moment, metavar="TIME", help="Recorded at or after this time (UTC).")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@as_json
@prepared
def list_(
    services: Services,
    status: str | None,
    customer: str | None,
    since: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List deliveries, newest first."""
    wanted: dict[str, Any] = {"status": status, "customer": customer, "since": since}
    found = services.ledger.find(**wanted, limit=limit + 1)
    if len(found) > limit:
        del found[limit:]
        click.echo(f"{limit} shown, there are more: --limit", err=True)
    if as_json:
        output.dump([described(delivery) for delivery in found])
        return
    if not found:
        click.echo("No deliveries.")
        return
    output.table(_HEAD, [_row(delivery) for delivery in found], coloured=1)


_HEAD = (
    *("id", "status", "kind", "customer", "reason", "click", "tries"),
    *("recorded (UTC)", "due (UTC)"),
)


def _row(delivery: Delivery) -> tuple[str, ...]:
    return (
        str(delivery.id),
        delivery.status.value,
        delivery.kind,
        delivery.customer_key or "-",
        delivery.reason,
        delivery.click.click_id if delivery.click else "-",
        str(delivery.attempts),
        output.moment(delivery.created_at),
        output.moment(delivery.due_at),
    )


@click.command()
@click.argument("delivery_id", type=DELIVERY_ID, metavar="ID")
@as_json
@prepared
def show(services: Services, delivery_id: int, as_json: bool) -> None:
    """Show one delivery with every attempt."""
    found = services.ledger.get(delivery_id)
    if found is None:
        raise click.ClickException(f"There is no delivery {delivery_id}.")
    delivery, attempts = found
    would = _would_send(services, delivery)
    if as_json:
        listed = [asdict(one) for one in attempts]
        output.dump({**described(delivery), "history": listed, "would_send": would})
        return
    _print_delivery(delivery)
    if would is not None:
        click.echo()
        click.echo(f"Would be sent: {would['method']} {would['url']}")
        output.dump(would["body"])
    if attempts:
        click.echo()
        head = ("try", "opened (UTC)", "outcome", "http", "ms", "answer")
        output.table(head, [_attempt_row(one) for one in attempts])


def _would_send(services: Services, delivery: Delivery) -> dict[str, Any] | None:
    """Return a dry run's request: the body as it would go out, and no header."""
    network = services.networks.get(delivery.network)
    if delivery.status is not Status.DRY_RUN or delivery.conversion is None or network is None:
        return None
    request = network.request(delivery.conversion, delivery.click, "")
    return {"method": request.method, "url": request.url, "body": request.body}


def _attempt_row(attempt: Attempt) -> tuple[str, ...]:
    answer = " ".join((attempt.answer or "").split())
    return (
        str(attempt.number),
        output.moment(attempt.opened_at),
        attempt.outcome or "unknown",
        str(attempt.http_status or "-"),
        "-" if attempt.duration_ms is None else str(attempt.duration_ms),
        answer[:60] + ("..." if len(answer) > 60 else ""),
    )


def _print_delivery(delivery: Delivery) -> None:
    click_ = delivery.click
    output.facts(
        [
            ("delivery", f"{delivery.id} ({delivery.kind}, {delivery.network})"),
            ("status", delivery.status.value),
            ("customer", delivery.customer_key or "-"),
            ("why", f"{delivery.reason}: {sentence(delivery.reason)}"),
            ("click", click_.click_id if click_ else "-"),
            ("partner", (click_.partner_key if click_ else None) or "-"),
            ("sub IDs", ", ".join(click_.sub_ids) if click_ and click_.sub_ids else "-"),
            ("recorded", output.moment(delivery.created_at) + " UTC"),
            ("next try", output.moment(delivery.due_at)),
            ("deadline", output.moment(delivery.deadline_at)),
            ("settled", output.moment(delivery.settled_at)),
            ("last word", delivery.detail or "-"),
        ]
    )


@click.command()
@click.option(
    "--site",
    type=utf8,
    metavar="HOST",
    help="The host that visitors use, such as www.example.com.",
)
@as_json
@command
def check(services: Services, site: str | None, as_json: bool) -> None:
    """Check configuration, database, token, cookie, worker and network."""
    host = site or current_app.config.get("SERVER_NAME")
    findings = check_everything(services, wsgi_app=current_app.wsgi_app, site=host)
    if as_json:
        output.dump([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.subject) for finding in findings)
        for finding in findings:
            word = output.state(finding.level.value, 5)
            click.echo(f"{word}  {finding.subject.ljust(width)}  {finding.message}")
            if finding.remedy:
                click.echo(f"{' ' * (9 + width)}{output.faint(finding.remedy)}")
    click.get_current_context().exit(
        1 if any(finding.level is Level.ERROR for finding in findings) else 0
    )


def described(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery for JSON, without the customer's personal data."""
    shown = asdict(delivery)
    for hidden in ("conversion", "lease_token", "touches"):
        del shown[hidden]
    return shown
