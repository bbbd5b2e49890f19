"""`python -m flask_s2s --services module:object ...`: the same commands for a site without Flask."""

from __future__ import annotations

import click

from .cli import SERVICES, Commands


@click.group(cls=Commands)
@click.option(
    "--services",
    metavar="MODULE:OBJECT",
    envvar="FLASK_S2S_SERVICES",
    help="Where the site's `Services` are, or a function that returns them.",
)
@click.pass_context
def main(ctx: click.Context, services: str | None) -> None:
    """Partner conversions: deliver them, look at them, repair them.

    \b
    python -m flask_s2s --services mysite.wsgi:services status
    """
    ctx.meta[SERVICES] = services


if __name__ == "__main__":
    main(prog_name="python -m flask_s2s")
