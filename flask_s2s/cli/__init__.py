"""`flask s2s ...`: parse, call services, print, exit.

Exit codes: 0 all is well, 1 something needs attention (it is said what), 2 the command was wrong.
"""

from __future__ import annotations

from typing import Any

import click

from ..errors import ConfigError
from . import (
    acting,
    database,
    explaining,
    keeping,
    looking,
    moving,
    privacy,
    standing,
    verifying,
    working,
)


class _Commands(click.Group):
    """Loads the stand-in network, with its pages, only when it is asked for.

    A wrong setting keeps the app from being made: it ends every command in one sentence.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise click.ClickException(str(error)) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "sandbox"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "sandbox":
            from ..sandbox.command import sandbox

            return sandbox
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands)
def s2s() -> None:
    """Partner conversions: deliver them, look at them, repair them."""


for _command in (
    *(database.init_db, database.upgrade_db, database.rotate_identity_key),
    *(working.work,),
    *(standing.status, looking.list_, looking.show, explaining.explain, looking.check),
    *(acting.credit, acting.retry),
    *(verifying.verify,),
    *(keeping.prune, moving.move_to),
    *(privacy.forget, privacy.export),
):
    s2s.add_command(_command)
