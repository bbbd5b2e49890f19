"""`move-to`: carrying a site to another database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ..delivery.moving import Move
from ..delivery.storage import make_engine
from ..errors import ConfigError
from ..services import Services
from . import output
from .arguments import utf8
from .asking import confirm
from .context import prepared

_ONLY_OURS = "Moved. Set S2S_DATABASE_URI to the new database and restart the site."
_THE_HOSTS = (
    "Moved, but for the app's own tables: the outbox is in the app's own database, and session= "
    "writes to that one only. Carry the app's other tables over too, point the app itself at the "
    "new database (with Flask-SQLAlchemy SQLALCHEMY_DATABASE_URI), and restart the site. Setting "
    "S2S_DATABASE_URI alone would refuse every conversion that is recorded with session=."
)


@click.command("move-to")
@click.argument("url", type=utf8, metavar="DATABASE_URL")
@click.option("--yes", is_flag=True, help="Do not ask.")
@prepared
def move_to(services: Services, url: str, yes: bool) -> None:
    """Carry the outbox and the clicks to another database.

    Stop the workers first. Run it again after an interruption, or when the site has still written
    to the old database: nothing is lost or doubled. Exits with 1 when deliveries had moved to
    another database before, and are not in this one.
    """
    new = _engine(services, url)
    click.get_current_context().call_on_close(new.dispose)
    with _telling("The new database cannot be used", "Nothing was moved."):
        services.storage.metadata.create_all(new)
    move = Move(services.storage.engine(), new, services.storage.tables, services.clock.now())
    total = move.total()
    if not yes:
        where = f"{new.dialect.name} database {new.url.database}"
        confirm(f"Move {total} rows to the {where}?")
    with _telling("The move was interrupted", "Run `flask s2s move-to` again: nothing is lost."):
        output.progress("Moving", total, move.run())
        written = move.written_meanwhile()
    click.echo(_THE_HOSTS if services.storage.is_the_hosts() else _ONLY_OURS)
    _tell_the_rest(written, move.elsewhere)


def _engine(services: Services, url: str) -> Engine:
    try:
        new = make_engine(url, "DATABASE_URL")
    except ConfigError as error:
        raise click.BadParameter(f"it {error.problem}. {error.remedy}") from error
    if services.storage.same_database(new):
        raise click.UsageError("That is the database in use.")
    return new


@contextmanager
def _telling(what: str, then: str) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise click.ClickException(
            f"{what} ({type(error).__name__}). Is its server up, is the URL right, and may its "
            f"user make tables and write? {then}"
        ) from error


def _tell_the_rest(written: int, elsewhere: int) -> None:
    if written:
        was = "delivery was" if written == 1 else "deliveries were"
        click.echo(
            f"{written} {was} written meanwhile: what still is to be sent is sent from the old "
            "database while a worker runs there. Running it again, on the old database, takes "
            "them along."
        )
    if elsewhere:
        had = "delivery had" if elsewhere == 1 else "deliveries had"
        click.echo(
            f"{elsewhere} {had} moved to another database before, and not to this one: run "
            "`flask s2s move-to` on that database."
        )
        click.get_current_context().exit(1)
