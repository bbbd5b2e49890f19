"""`work`: a worker as a process of its own, or one drain for cron."""

from __future__ import annotations

import logging
import signal
from threading import Thread
from types import FrameType

import click

from ..delivery.bell import Bell
from ..delivery.listening import listen
from ..services import Services
from .context import prepared

#: How often a worker of its own looks for work that nobody rang for, in seconds.
_POLL = 0.5


@click.command()
@click.option("--once", is_flag=True, help="Send what is due now, then leave (for cron).")
@prepared
def work(services: Services, once: bool) -> None:
    """Deliver conversions until Ctrl-C or SIGTERM."""
    _log_to_stderr()
    bell = Bell()

    def stop(_number: int, _frame: FrameType | None) -> None:
        bell.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if once:
        services.worker().run(bell, until_idle=True)
        if not bell.stopped and services.verifier().run_once():
            services.worker().run(bell, until_idle=True)
    else:
        click.echo("Working. Ctrl-C stops after what is in flight.", err=True)
        if services.storage.engine().dialect.name == "postgresql":
            engine = services.storage.engine()
            Thread(target=listen, args=(engine, bell), name="s2s-listen", daemon=True).start()
        services.work(bell, poll=_POLL)


def _log_to_stderr() -> None:
    """A process that only works has nobody else to tell: unless the app set up logging."""
    log = logging.getLogger("flask_s2s")
    if not log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
