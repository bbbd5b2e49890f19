"""`status`: the outbox at a glance, and what needs attention."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..checkup import undelivered
from ..services import Services
from . import output
from .context import as_json, prepared
from .looking import _print_status, _problems, _tests


@click.command()
@as_json
@prepared
def status(services: Services, as_json: bool) -> None:
    """Show the outbox at a glance. Exits with 1 when something needs attention."""
    summary, gates, now = services.summary(), services.gates.closed(), services.clock.now()
    problems = [f"{found.message}. {found.remedy}" for found in undelivered(summary)]
    problems += _problems(summary, now, closed=bool(gates))
    problems += _tests(services, now)
    problems += [f"{gate.lane} is held: {gate.reason}" for gate in gates]
    if as_json:
        held = [asdict(gate) for gate in gates]
        output.dump({**asdict(summary), "held": held, "problems": problems})
    else:
        _print_status(summary, now)
        for problem in problems:
            click.echo(f"{output.state('error')}  {problem}")
    click.get_current_context().exit(1 if problems else 0)
