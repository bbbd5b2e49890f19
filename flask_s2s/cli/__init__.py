"""`flask s2s ...`: parse, call services, print, exit.

Exit codes: 0 all is well, 1 something needs attention (it is said what), 2 the command was wrong.
"""

from __future__ import annotations

import click

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


class _WithSandbox(click.Group):
    """Loads the stand-in network, with its pages, only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "sandbox"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "sandbox":
            from ..sandbox.command import sandbox

            return sandbox
        return super().get_command(ctx, cmd_name)


@click.group(cls=_WithSandbox)
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
