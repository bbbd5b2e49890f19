"""The frame of every command: the app's services, typed arguments, errors that end in one line.

A question goes to standard error, because the answer on standard output is for programs.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone
from importlib import import_module
from typing import Any, TypeVar

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy.exc import SQLAlchemyError

from ..errors import S2SError
from ..services import Services
from . import SERVICES

F = TypeVar("F", bound=Callable[..., Any])

_FLASK = object()

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for another program.")


def command(view: F) -> F:
    """Run `view(services, ...)` in the app's context."""

    @functools.wraps(view)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        named = click.get_current_context().meta.get(SERVICES, _FLASK)
        if named is _FLASK:
            return within_app(*args, **kwargs)
        return run(lambda: _elsewhere(named), *args, **kwargs)

    def run(services_of: Callable[[], Services], *args: Any, **kwargs: Any) -> Any:
        try:
            services = services_of()
            return view(services, *args, **_timed(services, kwargs))
        except S2SError as error:
            raise click.ClickException(str(error)) from error
        except SQLAlchemyError as error:
            raise click.ClickException(
                f"The database did not answer as expected ({type(error).__name__}). "
                "`flask s2s check` looks at it."
            ) from error

    within_app = with_appcontext(functools.partial(run, _services))
    return wrapped  # type: ignore[return-value]


def _timed(services: Services, given: dict[str, Any]) -> dict[str, Any]:
    """Return what was typed, with times that count back from now as times of the app's clock."""
    now = services.clock.now()
    try:
        return {name: v.at(now) if isinstance(v, Ago) else v for name, v in given.items()}
    except OverflowError:
        raise click.UsageError("That is before there were dates.") from None


def prepared(view: F) -> F:
    """Like `command`, and the tables are there."""

    @functools.wraps(view)
    def wrapped(services: Services, *args: Any, **kwargs: Any) -> Any:
        services.supervisor.prepare()
        return view(services, *args, **kwargs)

    return command(wrapped)  # type: ignore[return-value]


def _elsewhere(named: str | None) -> Services:
    """Return the services that a site without Flask names."""
    if named is None:
        raise click.UsageError("Say where the site's services are: --services MODULE:OBJECT.")
    module, _, name = named.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise click.BadParameter(f"{named}: {error}", param_hint="--services") from error
    services = found() if callable(found) and _takes_nothing(found) else found
    if not isinstance(services, Services):
        problem = f"{named} is neither what Services.build returned nor a function that returns it"
        raise click.BadParameter(problem, param_hint="--services")
    return services


def _takes_nothing(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return False
    return True


def _services() -> Services:
    services = current_app.extensions.get("s2s")
    if not isinstance(services, Services):
        raise click.ClickException(
            "This app has no Flask-S2S. Call S2S().init_app(app) where the app is made."
        )
    return services


def confirm(question: str) -> None:
    """Go on only after a yes. Where nobody can answer, say what to add."""
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort as abort:
        if isinstance(abort.__context__, EOFError):
            click.echo(err=True)
            raise click.ClickException("Nobody to ask: add --yes.") from None
        raise
    if not agreed:
        raise click.Abort()


#: The largest number that a database has for a row.
DELIVERY_ID = click.IntRange(1, 2**63 - 1)
#: The kinds of conversions.
KIND = click.Choice(["signup", "action", "transaction", "reversal"])

#: How a time may be written.
TIMES = "1h, 7d, today, 2026-01-31 or '2026-01-31 18:30' (UTC)"
_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"(\d{1,6})\s?(s|min|h|d|w)\Z")


@dataclass(frozen=True, slots=True)
class Ago:
    """A time that is counted back from now; of a whole day, its beginning."""

    span: timedelta
    day: bool = False

    def at(self, now: datetime) -> datetime:
        """Return the time. Raises `OverflowError` before there were dates."""
        at = now - self.span
        return datetime.combine(at.date(), time(), tzinfo=timezone.utc) if self.day else at


_DAYS = {"today": Ago(timedelta(0), day=True), "yesterday": Ago(timedelta(days=1), day=True)}


def moment(value: str) -> datetime | Ago:
    """Take a time as `list` or the JSON prints it, or how long ago; without a zone it is UTC."""
    if value in _DAYS:
        return _DAYS[value]
    if _AGO.match(value):
        return Ago(span(value))
    try:
        at = datetime.fromisoformat(value)
        return at.replace(tzinfo=at.tzinfo or timezone.utc).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"is no time: write {TIMES}") from None


def span(value: str) -> timedelta:
    """Take a length of time: 30min, 4h, 2d."""
    found = _AGO.match(value)
    if found is None:
        raise click.BadParameter("is no length of time: write 30min, 4h or 2d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def utf8(value: str) -> str:
    """Take text that is UTF-8: what is not, no database, network or pipe takes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise click.BadParameter("is not UTF-8") from None
    return value


as_csv = click.option(
    "--csv", "as_csv", type=utf8, metavar="FILE", help="Write CSV to a file; '-' prints it."
)


def address(value: str) -> tuple[str, int]:
    """Take `HOST:PORT`, or a port of this machine alone."""
    host, _, port = value.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 65536:
        raise click.BadParameter("is no [HOST:]PORT, such as 9108 or 0.0.0.0:9108")
    return host.strip("[]") or "127.0.0.1", int(port)
