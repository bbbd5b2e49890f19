"""`prune` and `move-to`: what becomes of rows in the long run."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import timedelta

import click
from sqlalchemy import create_engine
from sqlalchemy.exc import ArgumentError

from ..delivery.moving import Move
from ..delivery.retention import Retention
from ..services import Services
from . import output
from .arguments import utf8
from .asking import confirm
from .context import as_json, prepared

#: A hundred years: more would lead to before there were dates.
_DAYS = click.IntRange(1, 36_500)


@click.command()
@click.option("--older-than", "days", default=400, show_default=True, type=_DAYS, metavar="DAYS")
@click.option("--dead-letters", is_flag=True, help="Refused, expired and missing ones too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@prepared
def prune(services: Services, days: int, dead_letters: bool, yes: bool, as_json: bool) -> None:
    """Empty old settled deliveries; delete old clicks, and bindings past their window.

    Nothing that has work left is touched. An emptied row still keeps its customer from being sent
    twice.
    """
    window = services.settings.longest_window
    if days < window.days:
        raise click.UsageError(f"Clicks are valid for {window.days} days: keep them that long.")
    now, storage = services.clock.now(), services.storage
    retention = Retention(storage.engine, storage.tables, services.bindings, now)
    before = now - timedelta(days=days)
    deliveries, clicks, bindings = retention.count(before, dead_letters=dead_letters)
    what = f"{deliveries} deliveries", f"{clicks} clicks and {bindings} bindings"
    if (deliveries or clicks or bindings) and not yes:
        confirm(f"Empty {what[0]} and delete {what[1]}?")
    _progress("Pruning", deliveries, retention.prune(before, dead_letters=dead_letters))
    if as_json:
        output.dump({"deliveries": deliveries, "clicks": clicks, "bindings": bindings})
    else:
        click.echo(f"Emptied {what[0]}, deleted {what[1]}.")


@click.command("move-to")
@click.argument("url", type=utf8, metavar="DATABASE_URL")
@click.option("--yes", is_flag=True, help="Do not ask.")
@prepared
def move_to(services: Services, url: str, yes: bool) -> None:
    """Carry the outbox and the clicks to another database.

    Stop the workers first. Run it again after an interruption, or when the site has still written
    to the old database: nothing is lost or doubled.
    """
    try:
        new = create_engine(url)
    except (ArgumentError, ImportError) as error:
        raise click.BadParameter("not a database URL whose driver is installed") from error
    if services.storage.same_database(new):
        raise click.UsageError("That is the database in use.")
    click.get_current_context().call_on_close(new.dispose)
    tables = services.storage.tables
    services.storage.metadata.create_all(new)
    move = Move(services.storage.engine(), new, tables, services.clock.now())
    total = move.total()
    if not yes:
        where = f"{new.dialect.name} database {new.url.database}"
        confirm(f"Move {total} rows to the {where}?")
    _progress("Moving", total, move.run())
    click.echo("Moved. Set S2S_DATABASE_URI to the new database and restart the site.")


def _progress(label: str, total: int, steps: Iterable[int]) -> None:
    """Work through `steps`; a bar shows on a terminal, and nothing in a pipe."""
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        for step in steps:
            bar.update(step)
