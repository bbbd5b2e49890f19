"""`work` and `verify`: a worker as a process of its own, and one look at the network's records."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

import click
from flask import current_app, has_app_context
from sqlalchemy.exc import InterfaceError, OperationalError

from ..delivery.verifier import Looked
from ..networks.reading import Unknown
from ..operations.acts import VERIFY
from ..operations.lanes import read_with
from ..rules.retry import longest_pause
from ..rules.verification import Confirmed, LookAgain, Missing, SendAgain, Undone, Unmoved, Unproven
from ..services import Services
from ..store.database.listener import listen
from ..store.dialects.servers import can_notify
from ..store.outbox.verification_queue import Chosen
from ..threads import Waker
from . import output
from .audit import note, why
from .context import DELIVERY_ID, address, as_json, command, prepared, utf8

#: What the library puts into each record; all else is somebody's `extra`.
_OWN = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "action"))


class JsonLines(logging.Formatter):
    """Formats records for a collector of logs: times in UTC, ASCII, no line breaks within."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = datetime.fromtimestamp(record.created, timezone.utc)
        line: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": getattr(record, "action", None),
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


#: How often a worker of its own looks for work that nobody woke it for, in seconds.
_POLL = 0.5

log = logging.getLogger("flask_s2s.worker")


@click.command()
@click.option(
    "--metrics",
    type=address,
    metavar="[HOST:]PORT",
    help="Show this worker's metrics (flask_s2s.integrations.prometheus).",
)
@click.option("--log-json", is_flag=True, help="Log one JSON object a line (docs/logs.md).")
@click.option(
    "--health-file",
    type=click.Path(dir_okay=False, writable=True),
    metavar="PATH",
    help="Touch this file every 20 seconds while the worker delivers.",
)
@click.option("--once", is_flag=True, help="Send what is due now, then leave (for cron).")
@command
def work(
    services: Services,
    metrics: tuple[str, int] | None,
    log_json: bool,
    health_file: str | None,
    once: bool,
) -> None:
    """Deliver conversions until Ctrl-C or SIGTERM. Waits for a database that is not up yet.

    \b
    flask s2s work
    """
    _log_to_stderr(as_json=log_json)
    if health_file is not None:
        services.supervisor.on_alive.append(Path(health_file).touch)
    if metrics is not None:
        _show_metrics(*metrics)
    waker = Waker()

    def stop(_number: int, _frame: FrameType | None) -> None:
        waker.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if once:
        services.supervisor.prepare()
        services.supervisor.worker().run(waker, until_idle=True)
        if not waker.stopped and services.supervisor.verifier().run_once():
            services.supervisor.worker().run(waker, until_idle=True)
        services.supervisor.share_time()
    elif _is_up(services, waker):
        click.echo("Working. Ctrl-C stops after what is in flight.", err=True)
        if can_notify(services.storage.engine()):
            engine = services.storage.engine()
            Thread(target=listen, args=(engine, waker), name="s2s-listen", daemon=True).start()
        services.supervisor.work(waker, poll=_POLL)


def _show_metrics(host: str, port: int) -> None:
    shown = current_app.extensions.get("s2s_prometheus") if has_app_context() else None
    if shown is None:
        raise click.UsageError(
            "--metrics shows what the app counts: add Metrics().init_app(app), of "
            "flask_s2s.integrations.prometheus, where the app is made."
        )
    try:
        shown.serve(host, port)
    except OSError as error:
        raise click.ClickException(
            f"{host}:{port} cannot be listened on: {error.strerror}."
        ) from error


def _is_up(services: Services, waker: Waker) -> bool:
    """Wait until the database is up; False: the waker said stop before it was."""
    seconds, longest = 1.0, longest_pause(services.settings.lease)
    while not waker.stopped:
        seconds = min(seconds, longest)
        try:
            services.supervisor.prepare()
            return True
        except (OperationalError, InterfaceError) as error:
            log.warning(
                "s2s.work.waits: the database is not up (%s); trying again in %.0f s",
                type(error).__name__,
                seconds,
                extra={"action": "work.waits"},
            )
            waker.pause(seconds)
            seconds *= 2
    return False


def _log_to_stderr(*, as_json: bool) -> None:
    """A process that only works has nobody else to tell: unless the app set up logging.

    JSON is asked for, and so it is what the package's log is written as, once.
    """
    log = logging.getLogger("flask_s2s")
    if log.hasHandlers() and not as_json:
        return
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
    handler.setFormatter(JsonLines() if as_json else plain)
    log.addHandler(handler)
    log.propagate = not as_json
    log.setLevel(logging.INFO)


_WORDS = {
    Confirmed: "confirmed",
    LookAgain: "not yet",
    Unmoved: "not yet",
    SendAgain: "sent again",
    Missing: "missing",
    Unproven: "unproven",
    Undone: "undone",
}
_FINE = ("confirmed", "not yet", "undone")
#: Every result there is, as JSON has it.
_RESULTS = tuple(dict.fromkeys((*_WORDS.values(), "unknown", "test record")))


@click.command()
@click.option("--id", "one", type=DELIVERY_ID, metavar="ID", help="This delivery.")
@click.option(
    "--customer", type=utf8, metavar="KEY", help="What this customer did, whatever its state."
)
@click.option("--all", "every", is_flag=True, help="All that are not confirmed, missing ones too.")
@why
@as_json
@prepared
def verify(
    services: Services,
    one: int | None,
    customer: str | None,
    every: bool,
    why: str | None,
    as_json: bool,
) -> None:
    """Read delivered sign-ups, actions and payments back from the network, now.

    Without options: those that a worker would read back by itself. One that is not on record
    counts as absent only 15 minutes after its delivery. Exits with 1 when one is missing, was sent
    again, is a test record, or could not be asked for.

    \b
    flask s2s verify --customer 4711
    flask s2s verify --id 12
    """
    verifier = services.supervisor.verifier()
    chosen = Chosen(delivery=one, customer=customer, all=every)
    if not verifier.able:
        raise click.ClickException(
            f"There are no API keys to read with: set {read_with(services.networks)}."
        )
    looked = _with_progress(verifier.look(chosen), verifier.count(chosen))
    if not looked and customer is not None:
        raise click.ClickException(
            f"Nothing delivered of customer {customer}: flask s2s explain {customer}"
        )
    if not looked and one is not None:
        raise click.ClickException(
            f"Delivery {one} is not one that a network's records are read for: flask s2s show {one}"
        )
    if any(isinstance(each.verdict, SendAgain) for each in looked):
        services.supervisor.wake()
    if one is not None or customer is not None:
        named = {key for each in looked if (key := each.delivery.customer_key) is not None}
        note(services, VERIFY, why, named, **({} if one is None else {"id": one}))
    counts = Counter(_word(each) for each in looked)
    if as_json:
        told = {_snake(word): counts[word] for word in _RESULTS}
        output.dump({"asked": len(looked), **told, "deliveries": [_described(o) for o in looked]})
    else:
        _print(looked, counts, read_with(services.networks))
    click.get_current_context().exit(0 if all(word in _FINE for word in counts) else 1)


def _with_progress(looking: Iterable[Looked], count: int) -> list[Looked]:
    if not sys.stderr.isatty():
        return list(looking)
    with click.progressbar(looking, length=count, label="Asking", file=sys.stderr) as bar:
        return list(bar)


def _word(looked: Looked) -> str:
    verdict = looked.verdict
    if isinstance(verdict, Confirmed) and verdict.test:
        return "test record"
    if isinstance(looked.reading, Unknown) and not isinstance(verdict, Unproven):
        return "unknown"
    return _WORDS[type(verdict)]


def _print(looked: list[Looked], counts: Counter[str], keys: str) -> None:
    if not looked:
        click.echo("Nothing to verify.")
        return
    told = [one for one in looked if _word(one) != "confirmed"]
    if told:
        rows = [
            (str(d.id), d.kind, _word(one), d.customer_key or "-", one.verdict.detail)
            for one in told
            for d in (one.delivery,)
        ]
        output.table(("id", "kind", "result", "customer", "what the network said"), rows)
        if any(isinstance(one.reading, Unknown) and one.reading.refused for one in told):
            click.echo(f"Correct {keys}.")
        click.echo()
    summed = ", ".join(f"{number} {word}" for word, number in counts.most_common())
    click.echo(f"{len(looked)} asked for: {summed}.")


def _described(looked: Looked) -> dict[str, Any]:
    delivery = looked.delivery
    return {
        "id": delivery.id,
        "kind": delivery.kind,
        "customer_key": delivery.customer_key,
        "result": _snake(_word(looked)),
        "detail": looked.verdict.detail,
        "resent": delivery.resent,
    }


def _snake(word: str) -> str:
    return word.replace(" ", "_")
