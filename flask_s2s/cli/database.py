"""`init-db`, `upgrade-db` and `rotate-identity-key`."""

from __future__ import annotations

import click

from ..services import Services
from .context import command, prepared


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


@click.command("rotate-identity-key")
@prepared
def rotate_identity_key(services: Services) -> None:
    """Hash identities under a new key from now on.

    The old ones still read, so nothing is lost; `prune` deletes them once no click can be under
    them any more.
    """
    click.echo(f"New identity key: {services.bindings.rotate(services.clock.now())}.")
