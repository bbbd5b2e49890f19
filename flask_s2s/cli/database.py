"""`init-db`, `prune` and `restored`: the database, from its tables to its backups."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from ..services import Services
from ..store.restores import count_open, count_sent, mark_open
from . import output
from .audit import note, why
from .context import as_json, command, confirm, moment, prepared


@click.command("init-db")
@command
def init_db(services: Services) -> None:
    """Make the tables and indexes that are missing. Run it as often as you like.

    \b
    flask s2s init-db
    """
    made = services.storage.complete()
    services.storage.prepare()
    click.echo(f"Made {', '.join(made)}." if made else "All tables are there already.")


#: A hundred years: more would lead to before there were dates.
_DAYS = click.IntRange(1, 36_500)


@click.command()
@click.option("--older-than", "days", default=400, show_default=True, type=_DAYS, metavar="DAYS")
@click.option("--dead-letters", is_flag=True, help="Refused, expired and missing ones too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@prepared
def prune(services: Services, days: int, dead_letters: bool, yes: bool, as_json: bool) -> None:
    """Empty old settled deliveries; delete old clicks, and what operators did before.

    Clicks and bindings past their window are deleted by every worker too. Nothing that has work left is touched. An emptied row still keeps its customer from being sent
    twice.

    \b
    flask s2s prune --older-than 400 --yes
    """
    window = services.settings.longest_window
    if days < window.days:
        raise click.UsageError(f"Clicks are valid for {window.days} days: keep them that long.")
    now = services.clock.now()
    retention = services.supervisor.retention(now)
    before = now - timedelta(days=days)
    deliveries, clicks, bindings = retention.count(before, dead_letters=dead_letters)
    what = f"{deliveries} deliveries", f"{clicks} clicks and {bindings} bindings"
    if (deliveries or clicks or bindings) and not yes:
        confirm(f"Empty {what[0]} and delete {what[1]}?")
    output.progress("Pruning", deliveries, retention.prune(before, dead_letters=dead_letters))
    services.audit.prune(before)
    if as_json:
        output.dump({"deliveries": deliveries, "clicks": clicks, "bindings": bindings})
    else:
        click.echo(f"Emptied {what[0]}, deleted {what[1]}.")


@click.command()
@click.option(
    "--since",
    type=moment,
    required=True,
    metavar="TIME",
    help="When the backup was made (UTC).",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@why
@as_json
@prepared
def restored(
    services: Services, since: datetime, yes: bool, why: str | None, as_json: bool
) -> None:
    """Say that the database is a restored backup, before its site and workers start.

    What is open in it may have been sent after the backup was made. Payments, actions and refunds
    are looked for at the network before they are sent again; sign-ups are repeated, which is
    harmless.

    \b
    flask s2s restored --since 2026-11-01T03:00
    """
    storage = services.storage
    waiting, sent = count_open(storage), count_sent(storage, since)
    if sent:
        click.echo(
            f"{sent} payments and actions were tried from here after that time already, without a "
            "look: compare them with the network.",
            err=True,
        )
    if not yes and waiting.looked_for:
        confirm(f"Look for {waiting.looked_for} before they are sent again?")
    marked = mark_open(storage, services.clock.now())
    services.supervisor.wake()
    note(services, "restored", why, since=since.isoformat(), looked_for=marked.looked_for)
    if as_json:
        told = {"looked_for": marked.looked_for, "repeated": marked.repeated, "sent_already": sent}
        output.dump(told)
    else:
        click.echo(
            f"{marked.looked_for} are looked for before they are sent again, from 15 minutes on; "
            f"{marked.repeated} sign-ups go out again."
        )
