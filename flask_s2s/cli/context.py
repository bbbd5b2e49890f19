"""What every command needs: the app's services, and errors that end in one clear line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy.exc import SQLAlchemyError

from ..errors import S2SError
from ..services import Services

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for another program.")


def command(view: F) -> F:
    """Run `view(services, ...)` in the app's context."""

    @functools.wraps(view)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return view(_services(), *args, **kwargs)
        except S2SError as error:
            raise click.ClickException(str(error)) from error
        except SQLAlchemyError as error:
            raise click.ClickException(
                f"The database did not answer as expected ({type(error).__name__}). "
                "`flask s2s check` looks at it."
            ) from error

    return with_appcontext(wrapped)  # type: ignore[return-value]


def prepared(view: F) -> F:
    """Like `command`, and the tables are there."""

    @functools.wraps(view)
    def wrapped(services: Services, *args: Any, **kwargs: Any) -> Any:
        services.prepare()
        return view(services, *args, **kwargs)

    return command(wrapped)  # type: ignore[return-value]


def _services() -> Services:
    services = current_app.extensions.get("s2s")
    if not isinstance(services, Services):
        raise click.ClickException(
            "This app has no Flask-S2S. Call S2S().init_app(app) where the app is made."
        )
    return services
