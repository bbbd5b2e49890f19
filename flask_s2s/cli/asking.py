"""Questions before something is changed: on standard error, because the answer is for programs."""

from __future__ import annotations

import click


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
