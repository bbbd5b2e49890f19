"""`list`, `show` and `check`: they change nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click
from flask import current_app, has_app_context

from ..conversion.money import amounts_between
from ..errors import InvalidConversion
from ..operations import sheets
from ..operations.acts import would_send
from ..operations.causes import ALIKE, CAUSES, narrowed, said, why
from ..operations.check import Level
from ..operations.check import check as check_everything
from ..operations.words import Group
from ..recording.draft import cleaned
from ..rules.attribution import sentence
from ..rules.delivery import Delivery
from ..rules.states import OPEN, Status
from ..services import Services
from ..store.outbox.ledger import Attempt
from ..store.queries import GROUPS, Grouped, Queries, Wanted
from . import output
from .context import DELIVERY_ID, KIND, TIMES, as_csv, as_json, command, moment, prepared, utf8
from .output import described, money, product, what

#: So many are listed, where nobody says how many.
_SHOWN = 50
_STATES = {group.value: group.statuses for group in Group}
_STATUSES = click.Choice(["open", *(status.value for status in Status)])


@click.command("list")
@click.option(
    "--status",
    type=_STATUSES,
    multiple=True,
    metavar="STATUS",
    help="Such as delivered or held; 'open' is everything that has work left. More than one may be.",
)
@click.option(
    "--state", type=click.Choice([*_STATES]), help="One of the six that the dashboard counts."
)
@click.option("--kind", type=KIND, help="Only of this kind.")
@click.option("--customer", type=utf8, metavar="KEY")
@click.option("--key", type=utf8, metavar="KEY", help="The site's own key: an invoice's number.")
@click.option("--partner", type=utf8, metavar="KEY", help="Credited to this partner.")
@click.option("--sub-id", type=utf8, metavar="ID", help="Credited under this first sub ID.")
@click.option("--network", type=utf8, metavar="NAME")
@click.option("--lane", type=utf8, metavar="LANE", help="As `flask s2s status` lists them.")
@click.option("--reason", type=utf8, metavar="CODE", help="Such as no_click or expired.")
@click.option(
    "--error", type=utf8, metavar="TEXT", help="With exactly this last word; '' for none."
)
@click.option(
    "--cause",
    type=click.Choice([*CAUSES]),
    metavar="CODE",
    help="Why it failed, or waits: such as unclear or credential.",
)
@click.option("--currency", type=utf8, metavar="CODE", help="Paid in this currency.")
@click.option("--least", type=utf8, metavar="AMOUNT", help="Of at least so much, such as 49.00.")
@click.option("--most", type=utf8, metavar="AMOUNT", help="Of at most so much.")
@click.option("--since", type=moment, metavar="TIME", help=f"Recorded since then: {TIMES}.")
@click.option("--until", type=moment, metavar="TIME", help="Recorded before then.")
@click.option(
    "--before", type=DELIVERY_ID, metavar="ID", help="The next page: what comes after this one."
)
@click.option("--group", type=click.Choice(GROUPS), help="Count them instead, by this.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), help=f"At most so many: {_SHOWN}; in a file, all."
)
@as_csv
@as_json
@prepared
def list_(
    services: Services,
    before: int | None,
    group: str | None,
    limit: int | None,
    cause: str | None,
    as_csv: str | None,
    as_json: bool,
    **by: Any,
) -> None:
    """List deliveries, newest first.

    \b
    flask s2s list --key INV-77
    flask s2s list --status refused --since 7d --group error
    flask s2s list --partner ada --currency EUR --least 49.00 --csv ada.csv
    """
    queries, wanted = Queries(services.storage, services.outbox), _wanted(by)
    if cause is not None:
        wanted = narrowed(wanted, CAUSES[cause])
    if group is not None:
        if as_csv is not None:
            raise click.UsageError("--csv has deliveries, and --group counts them.")
        _print_groups(
            queries.grouped(wanted, group, ALIKE if group == "error" else {}), group, as_json
        )
        return
    place = _place(queries, before)
    if as_csv is not None:
        rows = sheets.conversions(queries, wanted, limit, place)
        output.write_csv(as_csv, sheets.lines(sheets.CONVERSIONS, rows))
        return
    limit = limit or _SHOWN
    found = queries.page(wanted, limit + 1, place)
    if len(found) > limit:
        del found[limit:]
        more = f"--limit, or --before {found[-1].id}"
        click.echo(f"{limit} shown, there are more: {more}", err=True)
    if as_json:
        output.dump([described(delivery) for delivery in found])
        return
    if not found:
        click.echo("No deliveries.")
        return
    output.table(_HEAD, [_row(delivery) for delivery in found], coloured=1, cut=(2, 3, 4))


@click.command()
@click.argument("text", type=utf8)
@as_json
@prepared
def find(services: Services, text: str, as_json: bool) -> None:
    """Find the deliveries that a text names exactly, newest first, whenever they were recorded.

    TEXT is a customer's key, a key of your own (an invoice's number), the e-mail address of a
    sign-up, a click's ID or the number of a delivery. Exits with 1 where there is none.

    \b
    flask s2s find INV-77
    flask s2s find maya@example.com
    """
    found = Queries(services.storage, services.outbox).find(text)
    if as_json:
        output.dump([described(delivery) for delivery in found])
    elif found:
        output.table(_HEAD, [_row(delivery) for delivery in found], coloured=1, cut=(2, 3, 4))
    else:
        click.echo("Nothing is recorded under that.")
    click.get_current_context().exit(0 if found else 1)


#: Filters by their own names.
_NAMED = (
    *("customer", "key", "partner", "sub_id", "network", "lane", "reason"),
    *("since", "until"),
)
_HEAD = ("id", "status", "what", "customer", "partner or why", "recorded (UTC)")


def _wanted(by: Mapping[str, Any]) -> Wanted:
    state, kind = by["state"], by["kind"]
    named = [one for word in by["status"] for one in (OPEN if word == "open" else (word,))]
    if named and state is not None:
        raise click.UsageError("--state stands for its statuses: leave --status out.")
    try:
        currency, least, most = amounts_between(by["currency"], by["least"], by["most"])
    except InvalidConversion as error:
        raise click.BadParameter(error.problem, param_hint=f"--{error.field}") from None
    return Wanted(
        statuses=tuple(dict.fromkeys(named)) if state is None else _STATES[state],
        kinds=() if kind is None else (kind,),
        detail=by["error"],
        currency=currency,
        least=least,
        most=most,
        **{name: by[name] for name in _NAMED},
    )


def _place(queries: Queries, before: int | None) -> tuple[datetime, int] | None:
    """Return where a page begins: the time and the number of the last delivery of the one before."""
    if before is None:
        return None
    story = queries.story(before)
    if story is None:
        raise click.BadParameter(f"There is no delivery {before}.", param_hint="--before")
    return story.delivery.created_at, before


def _row(delivery: Delivery) -> tuple[str, ...]:
    return (
        str(delivery.id),
        delivery.status.value,
        what(delivery),
        delivery.customer_key or "-",
        delivery.partner_key or delivery.reason,
        f"{delivery.created_at:%Y-%m-%d %H:%M}",
    )


def _print_groups(groups: Sequence[Grouped], by: str, as_json: bool) -> None:
    if as_json:
        output.dump([asdict(one) for one in groups])
    elif not groups:
        click.echo("No deliveries.")
    else:
        head = (by, "status", "number", "customers", "first (UTC)", "last (UTC)")
        rows = [
            (
                CAUSES[one.cause].meaning if one.cause else one.name or "-",
                one.status,
                *(str(one.number), str(one.customers)),
                *(f"{at:%m-%d %H:%M}" for at in (one.first, one.last)),
            )
            for one in groups
        ]
        output.table(head, rows, coloured=1, cut=(0,))


@click.command()
@click.argument("delivery_id", type=DELIVERY_ID, metavar="ID")
@as_json
@prepared
def show(services: Services, delivery_id: int, as_json: bool) -> None:
    """Show one delivery with every attempt.

    \b
    flask s2s show 12
    """
    found = services.ledger.get(delivery_id)
    if found is None:
        raise click.ClickException(f"There is no delivery {delivery_id}.")
    delivery, attempts = found
    # A dry run's alone: of others the tries say what was sent.
    would = would_send(services, delivery) if delivery.status is Status.DRY_RUN else None
    if as_json:
        listed = [asdict(one) for one in attempts]
        output.dump({**described(delivery), "tries": listed, "would_send": would})
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
    click_, cause = delivery.click, why(delivery.status.value, delivery.detail)
    output.facts(
        [
            ("delivery", f"{delivery.id} ({delivery.kind}, {delivery.network})"),
            ("status", delivery.status.value),
            ("customer", delivery.customer_key or "-"),
            *_about(delivery),
            ("why", f"{delivery.reason}: {sentence(delivery.reason)}"),
            ("click", click_.click_id if click_ else "-"),
            ("partner", delivery.partner_key or "-"),
            ("sub IDs", ", ".join(click_.sub_ids) if click_ and click_.sub_ids else "-"),
            ("recorded", output.told_moment(delivery.created_at)),
            ("next try", output.told_moment(delivery.due_at)),
            ("deadline", output.told_moment(delivery.deadline_at)),
            ("settled", output.told_moment(delivery.settled_at)),
            ("cleaned", "; ".join(cleaned(delivery.conversion)) or "-"),
            ("last word", said(delivery.detail or "-")),
            *([] if cause is None else [("it means", cause.meaning)]),
        ]
    )


def _about(delivery: Delivery) -> list[tuple[str, str]]:
    """Return what of a conversion is its kind's own: money, key, type and product."""
    named = (
        ("amount", money(delivery)),
        ("key", delivery.key),
        ("type", delivery.what),
        ("product", product(delivery)),
    )
    return [(name, value) for name, value in named if value is not None]


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
    """Check configuration, database, token, cookie, worker and network.

    \b
    flask s2s check --site www.example.com
    """
    app = current_app if has_app_context() else None
    host = site or (None if app is None else app.config.get("SERVER_NAME"))
    wsgi_app = None if app is None else app.wsgi_app
    findings = check_everything(services, wsgi_app=wsgi_app, site=host)
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
