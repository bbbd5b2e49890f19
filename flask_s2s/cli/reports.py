"""`report`, `reconcile` and `backfill`: a programme's earnings, and our records against others'."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from datetime import datetime
from itertools import groupby
from typing import Any

import click

from ..conversion.money import major_units
from ..errors import UsageError
from ..operations import customers, sheets
from ..operations import report as reports
from ..operations.customers import Customer
from ..operations.lanes import read_with
from ..operations.period import Period
from ..operations.reconcile import Comparison, Difference, Side
from ..operations.reconcile import reconcile as compare
from ..operations.report import Line, Overview
from ..operations.words import kind_of, reason_word
from ..services import Services
from ..store.sums import Sums
from . import output
from .audit import note, why
from .context import as_csv, as_json, confirm, prepared, utf8

_EXAMPLE = """\b
Examples:
  flask s2s report --since 30d
  flask s2s report --by sub-id --partner ada
  flask s2s report --by day --since 2026-11-01 --csv november.csv"""


@click.command(epilog=_EXAMPLE)
@click.option("--by", type=click.Choice([*sheets.NAMES]), default="partner", show_default=True)
@click.option(
    "--since",
    default="30d",
    metavar="WHEN",
    help="today, 7d, 30d, 90d or a date (days of S2S_REPORT_ZONE).",
)
@click.option("--partner", type=utf8, metavar="KEY", help="With --by sub-id: of one partner.")
@click.option("--currency", metavar="CODE", help="The currency of the table; the most used one.")
@as_csv
@as_json
@prepared
def report(
    services: Services,
    by: str,
    since: str,
    partner: str | None,
    currency: str | None,
    as_csv: str | None,
    as_json: bool,
) -> None:
    """Report what each partner, sub ID or day brought, in money.

    The numbers are those of the dashboard's pages of the same days.

    \b
    flask s2s report --by partner
    """
    if partner is not None and by != "sub-id":
        raise click.UsageError("--partner goes with --by sub-id.")
    sums = Sums(services.storage)
    period = period_since(since, services)
    lines = _lines(sums, by, partner, period)
    shown = _currency(lines, currency)
    if as_csv is not None:
        rows = (sheets.report_row(line, by, shown) for line in lines)
        output.write_csv(as_csv, sheets.lines(sheets.report_head(by), rows))
    elif as_json:
        output.dump(_described(reports.overview(sums, period), by, lines))
    else:
        _print(reports.overview(sums, period), by, lines, shown, partner)
    others = [code for code in reports.currencies(lines) if code != shown]
    if others and not as_json:
        click.echo(f"Payments in {', '.join(others)} as well: --currency {others[0]}", err=True)


def period_since(since: str, services: Services) -> Period:
    """Return the days that `--since` names, until and with today."""
    try:
        zone = services.settings.report_zone
        return Period.from_(since, services.clock.now().astimezone(zone))
    except UsageError as error:
        raise click.BadParameter(str(error), param_hint="--since") from None


def _lines(sums: Sums, by: str, partner: str | None, period: Period) -> list[Line]:
    if by == "day":
        return reports.days(sums, period)
    if by == "partner":
        return reports.partners(sums, period)
    if partner is not None:
        return reports.sub_ids(sums, partner, period)
    return reports.all_sub_ids(sums, period)


def _currency(lines: list[Line], wanted: str | None) -> str:
    known = reports.currencies(lines)
    if wanted is not None and wanted.upper() not in known:
        there_is = f"there is {', '.join(known)}" if known else "nobody paid"
        raise click.BadParameter(f"{there_is} in this period", param_hint="--currency")
    return wanted.upper() if wanted else next(iter(known), "")


def _described(found: Overview, by: str, lines: list[Line]) -> dict[str, Any]:
    return {
        "since": found.period.since,
        "until": found.period.until,
        "clicks": found.clicks,
        "signups": {
            "recorded": found.recorded,
            "credited": found.credited,
            "accepted": found.accepted,
            "confirmed": found.confirmed,
            "not_sent": found.unsent,
            "not_credited": dict(found.reasons),
        },
        "paying_customers": found.paying,
        "money": [{**asdict(one), "net": one.net} for one in found.money],
        "by": by,
        "lines": [_line(line, by) for line in lines],
        "total": _line(reports.total(lines), by),
    }


def _line(line: Line, by: str) -> dict[str, Any]:
    numbers = {"clicks": line.clicks, "signups": line.signups, "confirmed": line.confirmed}
    if by != "day":
        numbers["paying_customers"] = line.paying
    money = {
        currency: {"paid": paid, "refunded": refunded, "net": paid + refunded}
        for currency, (paid, refunded) in line.money.items()
    }
    return {**sheets.names(line, by), **numbers, "money": money}


def _print(found: Overview, by: str, lines: list[Line], currency: str, partner: str | None) -> None:
    last = found.period.days[-1]
    click.echo(f"{found.period.since:%Y-%m-%d} to {last:%Y-%m-%d} ({last.tzinfo})")
    output.facts(
        [
            ("clicks", f"{found.clicks:,}"),
            ("sign-ups", f"{found.recorded:,} recorded, {found.credited:,} credited"),
            ("accepted", f"{found.accepted:,}, of them {found.confirmed:,} confirmed"),
            ("paying", f"{found.paying:,} customers"),
            *((f"net {one.currency}", major_units(one.net, one.currency)) for one in found.money),
            *((f"no: {reason_word(code)}", f"{n:,}") for code, n in found.reasons),
        ]
    )
    click.echo()
    if not lines:
        click.echo("No click and no credited customer in these days.")
        return
    paying = () if by == "day" else ("paying",)
    money = ("paid", "refunded", f"net {currency}") if currency else ()
    rows = [(name, *_numbers(line, by, currency)) for name, line in _named(lines, by, partner)]
    rows.append(("all", *_numbers(reports.total(lines), by, currency)))
    name = by if by == "day" else "partner" if partner is None else "sub ID"
    head = (name, "clicks", "sign-ups", "confirmed", *paying, *money)
    output.table(head, rows, cut=() if by == "day" else (0,), spare=("paid", "refunded"))


def _named(lines: list[Line], by: str, partner: str | None) -> Iterator[tuple[str, Line]]:
    """Name each line of a table; those of several partners are below their partner's own."""
    if by != "sub-id" or partner is not None:
        yield from ((line.name or "(none)", line) for line in lines)
        return
    for key, these in groupby(lines, lambda line: line.partner):
        theirs = list(these)
        yield key or "(none)", reports.total(theirs)
        yield from ((f"  {line.name or '(none)'}", line) for line in theirs)


def _numbers(line: Line, by: str, currency: str) -> list[str]:
    numbers = [line.clicks, line.signups, line.confirmed]
    if by != "day":
        numbers.append(line.paying)
    money = [line.paid(currency), line.refunded(currency), line.net(currency)] if currency else []
    return [*(f"{n:,}" for n in numbers), *(major_units(amount, currency) for amount in money)]


#: Exit code where the two sides could not be compared at all, or only in part.
UNREAD = 3
_SHOWN = 20
_TITLES = {
    Side.HERE: "Only here",
    Side.THERE: "Only at the network",
    Side.UNLIKE: "Not alike",
}
since = click.option(
    "--since",
    default="30d",
    metavar="WHEN",
    help="today, 7d, 30d, 90d or a date (days of S2S_REPORT_ZONE).",
)


@click.command(
    epilog="""\b
Examples:
  flask s2s reconcile --since 2026-11-01
  flask s2s reconcile --csv differences.csv"""
)
@since
@click.option("--network", type=utf8, metavar="NAME", help="Only with this network.")
@as_csv
@as_json
@prepared
def reconcile(
    services: Services, since: str, network: str | None, as_csv: str | None, as_json: bool
) -> None:
    """Compare our records with the network's, both ways. Sends and changes nothing.

    Exits with 0 when they are alike, 1 when they differ or a sign-up of your own table
    (S2S_CUSTOMERS) is not here, 2 when the command is wrong, 3 when the network's records could
    not be read.

    \b
    flask s2s reconcile --json
    """
    if network is not None and network not in services.networks:
        known = ", ".join(sorted(services.networks))
        raise click.BadParameter(f"no such network; there is: {known}", param_hint="--network")
    if not services.supervisor.verifier().able:
        click.echo(
            f"There are no API keys to read with: set {read_with(services.networks)}.", err=True
        )
        click.get_current_context().exit(UNREAD)
    start = period_since(since, services).since
    names = [network] if network else list(services.networks)
    compared = [_compared(services, name, start) for name in names]
    missing = None
    if services.settings.customers is not None:
        missing = customers.unrecorded(services, start)
    if as_csv is not None:
        rows = (
            sheets.difference_row(one.network, found)
            for one in compared
            for found in one.differences
        )
        output.write_csv(as_csv, sheets.lines(sheets.DIFFERENCES, rows))
    elif as_json:
        output.dump(_described_comparison(compared, missing))
    else:
        for one in compared:
            _print_differences(one)
        _print_missing(missing)
    _tell_unread(compared)
    differ = bool(missing) or any(one.differences for one in compared)
    unread = any(one.unread for one in compared)
    click.get_current_context().exit(UNREAD if unread else int(differ))


def _compared(services: Services, network: str, start: datetime) -> Comparison:
    if not sys.stderr.isatty():
        return compare(services, network, start)
    with click.progressbar(length=0, label="Reading", file=sys.stderr, show_pos=True) as bar:

        def read(count: int) -> None:
            bar.length = (bar.length or 0) + count
            bar.update(count)

        return compare(services, network, start, read=read)


def _tell_unread(compared: list[Comparison]) -> None:
    for one in compared:
        for kind, reason in one.unread.items():
            output.line_of_error(f"{one.network}: {kind}s were not compared: {reason}")


def _described_comparison(
    compared: list[Comparison], missing: list[Customer] | None
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "networks": [
            {
                **asdict(one),
                "differences": [
                    {**asdict(each), "side": each.side.value} for each in one.differences
                ],
                "ours": one.ours,
                "theirs": one.theirs,
                "counts": {side.value: one.count(side) for side in Side},
            }
            for one in compared
        ]
    }
    if missing is not None:
        told["never_recorded"] = [_customer(one) for one in missing]
    return told


def _print_differences(one: Comparison) -> None:
    click.echo(f"{one.network} since {one.since:%Y-%m-%d} ({one.since.tzinfo})")
    both = one.alike + one.count(Side.UNLIKE)
    output.facts(
        [
            ("ours", f"{one.ours:,} accepted here, {both:,} of them on their record"),
            ("theirs", f"{one.theirs:,} on their record, {both:,} of them accepted here"),
            ("alike", f"{one.alike:,}"),
            ("under way", f"{one.under_way + one.under_way_there:,}, too new to be on both sides"),
        ]
    )
    for side, title in _TITLES.items():
        found = [each for each in one.differences if each.side is side]
        if not found:
            continue
        click.echo()
        click.echo(f"{title}: {len(found)}")
        head = ("what", "customer", "partner", "amount", "recorded (UTC)", "most likely")
        output.table(head, [_difference_row(each) for each in found[:_SHOWN]])
        if len(found) > _SHOWN:
            click.echo(f"{len(found) - _SHOWN} more: --csv -")
    if not one.differences and not one.unread:
        click.echo("No difference.")


def _difference_row(one: Difference) -> tuple[str, ...]:
    number = "" if one.delivery_id is None else f" {one.delivery_id}"
    differs = "; ".join(
        f"{name}: {here} here, {there} there" for name, (here, there) in one.differs.items()
    )
    amount = "-"
    if one.amount is not None and one.currency is not None:
        amount = f"{major_units(one.amount, one.currency)} {one.currency}"
    return (
        f"{kind_of(one.kind, one.amount)}{number}{'' if one.key is None else f' {one.key}'}",
        one.customer_key or "-",
        one.partner_key or "-",
        amount,
        "-" if one.at is None else f"{one.at:%Y-%m-%d}",
        one.likely or differs,
    )


def _print_missing(missing: list[Customer] | None) -> None:
    if not missing:
        return
    click.echo()
    click.echo(f"In your customer table, never recorded here: {len(missing)}")
    head = ("customer", "signed up (UTC)", "click")
    output.table(head, [_signup(one) for one in missing[:_SHOWN]])
    if len(missing) > _SHOWN:
        click.echo(f"{len(missing) - _SHOWN} more: --json")
    click.echo("`flask s2s backfill` shows what it would record, and records them.")


def _signup(one: Customer) -> tuple[str, ...]:
    return (one.customer_key, output.moment(one.created_at), one.click_id or "-")


def _customer(one: Customer) -> dict[str, Any]:
    return {
        "customer_key": one.customer_key,
        "created_at": one.created_at,
        "click_id": one.click_id,
    }


@click.command(
    epilog="""\b
Examples:
  flask s2s backfill --since 2026-11-21
  flask s2s backfill --since 7d --yes --why 'database was away'"""
)
@since
@click.option("--yes", is_flag=True, help="Do not ask.")
@why
@as_json
@prepared
def backfill(services: Services, since: str, yes: bool, why: str | None, as_json: bool) -> None:
    """Record the sign-ups of your own table (S2S_CUSTOMERS) that are not here.

    Shows first which. Run it again as often as you like: a customer is recorded once. Who is
    credited is decided as at any sign-up, by the click or the e-mail address that your table has.

    \b
    flask s2s backfill
    """
    start = period_since(since, services).since
    missing = customers.unrecorded(services, start)
    if not missing:
        _tell(as_json, {}, "Every sign-up of your table is here.")
        return
    if not yes:
        output.table(
            ("customer", "signed up (UTC)", "click"),
            [_signup(one) for one in missing[:_SHOWN]],
            err=True,
        )
        more = f" These are the first {_SHOWN}." if len(missing) > _SHOWN else ""
        confirm(f"Record {len(missing)} sign-up{'' if len(missing) == 1 else 's'}?{more}")
    became: dict[str, int] = {}

    def record(step: Callable[[int], None]) -> None:
        for delivery in customers.backfill(services, missing):
            word = "credited" if delivery.click is not None else "not credited"
            became[word] = became.get(word, 0) + 1
            step(1)

    bar: Any = nullcontext()
    if sys.stderr.isatty():
        bar = click.progressbar(length=len(missing), label="Recording", file=sys.stderr)
    try:
        with bar as shown:
            record(shown.update if shown is not None else lambda count: None)
    finally:
        note(services, "backfill", why, deliveries=sum(became.values()), since=f"{start:%Y-%m-%d}")
        services.supervisor.wake()
    summed = ", ".join(f"{number} {word}" for word, number in became.items())
    _tell(as_json, became, f"{sum(became.values())} recorded: {summed}.")


def _tell(as_json: bool, became: dict[str, int], words: str) -> None:
    if as_json:
        counts = {
            name: became.get(name.replace("_", " "), 0) for name in ("credited", "not_credited")
        }
        output.dump({"recorded": sum(became.values()), **counts})
    else:
        click.echo(words)
