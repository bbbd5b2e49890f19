"""`init-db` and `upgrade-db`."""

from __future__ import annotations

import click

from ..services import Services
from .context import command


@click.command("init-db")
@command
def init_db(services: Services) -> None:
    """Make the tables that are missing. Run it as often as you like."""
    made = services.storage.create()
    services.storage.prepare()
    click.echo(f"Made {', '.join(made)}." if made else "All tables are there already.")


@click.command("upgrade-db")
@command
def upgrade_db(services: Services) -> None:
    """Bring the tables of an older version to this one."""
    before, after = services.storage.upgrade()
    if before == after:
        click.echo(f"The tables are of version {after} already.")
    else:
        click.echo(f"Upgraded the tables from version {before} to {after}.")
