"""`prune`: what becomes of rows in the long run."""

from __future__ import annotations

from datetime import timedelta

import click

from ..delivery.retention import Retention
from ..services import Services
from . import output
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
    output.progress("Pruning", deliveries, retention.prune(before, dead_letters=dead_letters))
    if as_json:
        output.dump({"deliveries": deliveries, "clicks": clicks, "bindings": bindings})
    else:
        click.echo(f"Emptied {what[0]}, deleted {what[1]}.")
