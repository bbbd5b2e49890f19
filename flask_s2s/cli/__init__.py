"""`flask s2s ...`: parse, call services, print, exit.

Exit codes: 0 all is well, 1 something needs attention (it is said what), 2 the command was wrong.

Every `flask` command of an environment loads this module, of apps that do not use the package too.
So it imports nothing else of it: each command is loaded when it is asked for.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module, metadata
from typing import Any

import click

from ..errors import ConfigError

#: Task, and its commands: each with its module and name.
_TASKS = {
    "See": {
        "status": "cli.status:status",
        "check": "cli.deliveries:check",
        "find": "cli.deliveries:find",
        "list": "cli.deliveries:list_",
        "show": "cli.deliveries:show",
        "explain": "cli.explain:explain",
        "report": "cli.reports:report",
        "reconcile": "cli.reports:reconcile",
        "verify": "cli.worker:verify",
        "audit": "cli.audit:audit",
        "blocks": "cli.audit:blocks",
    },
    "Mend": {
        "credit": "cli.credit:credit",
        "rename": "cli.credit:rename",
        "retry": "cli.retry:retry",
        "discard": "cli.retry:discard",
        "ack": "cli.retry:ack",
        "pause": "cli.status:pause",
        "resume": "cli.status:resume",
        "block": "cli.audit:block",
        "unblock": "cli.audit:unblock",
        "backfill": "cli.reports:backfill",
        "restored": "cli.database:restored",
    },
    "Deliver": {
        "work": "cli.worker:work",
        "sandbox": "sandbox.command:sandbox",
    },
    "Keep, and forget": {
        "export": "cli.privacy:export",
        "forget": "cli.privacy:forget",
        "prune": "cli.database:prune",
    },
    "Set up": {
        "init-db": "cli.database:init_db",
    },
}
_HOMES = {name: home for commands in _TASKS.values() for name, home in commands.items()}
#: Under this name a context knows where the services are, where no Flask app has them.
SERVICES = "flask_s2s.services"
_BOUND = re.compile(r"([\w.-]+).*?>=([\d.]+)")


class Commands(click.Group):
    """Loads each command when it is asked for.

    A wrong setting keeps the app from being made: it ends every command in one sentence.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise click.ClickException(str(error)) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_HOMES])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by task; last those that somebody else has added."""
        others = {name: "" for name in super().list_commands(ctx)}
        for task, names in {**_TASKS, "Others": others}.items():
            loaded = {name: self.get_command(ctx, name) for name in names}
            width = formatter.width - max(map(len, self.list_commands(ctx))) - 6
            rows = [(n, one.get_short_help_str(width)) for n, one in loaded.items() if one]
            if rows:
                with formatter.section(task):
                    formatter.write_dl(rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        home = _HOMES.get(cmd_name)
        if home is None:
            return super().get_command(ctx, cmd_name)
        if old := _outdated():
            raise click.ClickException(f"Flask-S2S needs {' and '.join(old)}. Upgrade with pip.")
        module, _, name = home.partition(":")
        command: click.Command = getattr(import_module(f"flask_s2s.{module}"), name)
        return command


@cache
def _outdated() -> list[str]:
    """Return which requirements are installed in a release that is too old, in words."""
    try:
        needed = [one for one in metadata.requires("flask-s2s") or () if ";" not in one]
        bounds = [found.groups() for one in needed if (found := _BOUND.match(one))]
        return [
            f"{name} {bound} or newer, and {here} is installed"
            for name, bound in bounds
            if _numbers(here := metadata.version(name)) < _numbers(bound)
        ]
    except metadata.PackageNotFoundError:
        return []  # run from its source; or one is missing altogether, which its import tells


def _numbers(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)]


@click.group(cls=Commands)
def s2s() -> None:
    """Partner conversions: deliver them, look at them, repair them."""
