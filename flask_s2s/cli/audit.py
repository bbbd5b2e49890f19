"""`audit`, `block`, `unblock` and `blocks`: operators' acts, and whom nobody is credited to."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import click

from ..click import valid_click_id, valid_partner_key
from ..operations.acts import failed_again, progress
from ..services import Services
from ..store.audit import Entry, Kind
from . import output
from .context import DELIVERY_ID, as_json, prepared, utf8

why = click.option("--why", type=utf8, metavar="TEXT", help="Why: kept in the audit log.")


def operator() -> str:
    """Return who is at the keyboard, as far as the operating system knows."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):
        name = f"user {os.getuid()}" if hasattr(os, "getuid") else "unknown"
    sudo = os.environ.get("SUDO_USER")
    return f"{name} (sudo by {sudo})" if sudo else name


def note(
    services: Services, act: str, why: str | None, customers: Iterable[str] = (), **detail: Any
) -> None:
    """Write an act, which has been done, into the audit log."""
    entry = Entry(at=services.clock.now(), act=act, who=operator(), why=why, detail=detail)
    services.audit.write(entry, customers)


@click.command()
@click.argument("number", type=DELIVERY_ID, metavar="[ID]", required=False)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@as_json
@prepared
def audit(services: Services, number: int | None, limit: int, as_json: bool) -> None:
    """List what operators did by hand, the newest first; with ID, what became of one act on many.

    It names no customer: `flask s2s explain CUSTOMER` shows what was done about one.

    \b
    flask s2s audit --limit 20
    flask s2s audit 12
    """
    if number is not None:
        _print_progress(services, number, as_json)
        return
    entries = services.audit.newest(limit)
    if as_json:
        output.dump([asdict(entry) for entry in entries])
    elif not entries:
        click.echo("Nothing was done by hand.")
    else:
        head = ("id", "when (UTC)", "what", "who", "why", "to")
        output.table(head, [_row(entry) for entry in entries], cut=(3, 4, 5))


def _print_progress(services: Services, number: int, as_json: bool) -> None:
    entry = services.audit.get(number)
    if entry is None or not entry.ids:
        raise click.ClickException(f"There is no act {number} on deliveries.")
    found, failed = progress(services, entry), failed_again(services, entry)
    if as_json:
        output.dump(
            {
                **asdict(entry),
                **{name: getattr(found, name) for name in ("number", "settled", "open", "further")},
                "states": {group.value: n for group, n in found.groups.items()},
                "failed_again": [output.described(one) for one in failed],
            }
        )
        return
    output.line(told(entry))
    click.echo(f"{found.settled} of {found.number} settled.")
    if found.further:
        click.echo(f"{found.further} more than are counted here.")
    click.echo()
    output.table(("state", "deliveries"), [(g.word, str(n)) for g, n in found.groups.items() if n])
    if failed:
        click.echo()
        rows = [(str(one.id), one.status.value, one.detail or "-") for one in failed]
        output.table(("failed again", "status", "last word"), rows, coloured=1, cut=(2,))


def told(entry: Entry) -> str:
    """Return an entry in a line."""
    reason = f": {entry.why}" if entry.why else ""
    what = _detail(entry)
    return f"{entry.act} by {entry.who} on {output.moment(entry.at)} UTC{what and f' ({what})'}{reason}"


def _row(entry: Entry) -> tuple[str, ...]:
    return (
        str(entry.id),
        output.moment(entry.at),
        entry.act,
        entry.who,
        entry.why or "-",
        _detail(entry) or "-",
    )


def _detail(entry: Entry) -> str:
    return ", ".join(f"{name} {value}" for name, value in entry.told.items())


def _whom(command: Any) -> Any:
    """Let a command say which partner, or which click."""
    partner = click.option(
        "--partner", type=utf8, metavar="KEY", help="A partner's key, decoded, as `show` prints it."
    )
    one = click.option("--click", "click_id", type=utf8, metavar="ID", help="A click's ID.")
    network = click.option("--network", type=utf8, metavar="NAME", help="Of this network.")
    return partner(one(network(why(command))))


@click.command()
@_whom
@prepared
def block(services: Services, **said: Any) -> None:
    """Credit nobody to a partner, or to a click, from now on (in running processes: in 10 seconds).

    Sign-ups that come by it are recorded, with the reason `blocked`. An affiliate writes the link: it
    may leave its key out, or write another's, and a new click has a new ID.

    \b
    flask s2s block --partner eve --why "buys its own name"
    """
    network, kind, name = _meant(services, said)
    if not services.blocks.add(network, kind, name, services.clock.now()):
        raise click.ClickException(f"That {kind} is blocked already.")
    note(services, "block", said["why"], **{kind: name})
    click.echo(f"Nobody is credited to that {kind} any more.")


@click.command()
@_whom
@prepared
def unblock(services: Services, **said: Any) -> None:
    """Credit to a partner, or to a click, again.

    \b
    flask s2s unblock --partner eve
    """
    network, kind, name = _meant(services, said)
    if not services.blocks.remove(network, kind, name):
        raise click.ClickException(f"That {kind} is not blocked.")
    note(services, "unblock", said["why"], **{kind: name})
    click.echo(f"That {kind} counts again.")


@click.command()
@as_json
@prepared
def blocks(services: Services, as_json: bool) -> None:
    """List the partners and clicks that nobody is credited to.

    \b
    flask s2s blocks --json
    """
    listed = services.blocks.all()
    if as_json:
        output.dump([asdict(one) for one in listed])
    elif not listed:
        click.echo("Nothing is blocked.")
    else:
        head = ("kind", "network", "name", "since (UTC)")
        rows = [(one.kind, one.network, one.name, output.moment(one.at)) for one in listed]
        output.table(head, rows)


def _meant(services: Services, said: dict[str, Any]) -> tuple[str, Kind, str]:
    partner, click_id = said["partner"], said["click_id"]
    network = said["network"] or next(iter(services.networks))
    if network not in services.networks:
        known = ", ".join(sorted(services.networks))
        raise click.BadParameter(f"no such network; there is: {known}", param_hint="--network")
    if partner is not None and click_id is None:
        if not valid_partner_key(partner):
            raise click.BadParameter("a key is letters, digits and . _ -", param_hint="--partner")
        return network, "partner", partner
    if click_id is not None and partner is None:
        if not valid_click_id(click_id):
            message = "a click ID is letters, digits and . _ ~ -"
            raise click.BadParameter(message, param_hint="--click")
        return network, "click", click_id
    raise click.UsageError("Say which: --partner or --click.")
