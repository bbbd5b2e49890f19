"""Celery as the engine: a commit hints at a task that delivers, and a periodic sweep finds the rest.

The database stays the truth. A message carries nothing but the app's name, so a lost, doubled or
late one changes nothing: whoever drains claims by lease, like `flask s2s work`. That is why a hint
is sent once and never retried; what it would have told, the sweep finds.

Hints have a connection of their own: Celery's pooled ones may have been made before a fork, and wait
without bound for a broker that does not answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from threading import Lock, Timer
from typing import Any

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from ..delivery.worker import Worker
from ..errors import ConfigError, S2SError
from ..services import Services
from ..store.outbox.lanes import CircuitBreakers
from ..threads import Waker
from .hinting import Hints

try:
    from celery import Celery
except ModuleNotFoundError as error:
    if error.name != "celery":
        raise
    raise ImportError(
        "flask_s2s.integrations.celery needs Celery: pip install 'flask-s2s[celery]'"
    ) from error

log = logging.getLogger("flask_s2s.celery")

#: Task names, for those who route or schedule by hand. Both take the app's name.
DELIVER = "flask_s2s.deliver"
SWEEP = "flask_s2s.sweep"

#: How long one task delivers, and one sweep verifies, in seconds: other tasks want their turn too.
TURN = 10.0
#: Messages that nobody took for so long are dropped by the worker, in seconds: none can pile up. An
#: hour, because it is by the worker's clock, which may be minutes off.
_STALE = 3600
#: How long a broker may take to accept, read or answer, in seconds.
_PATIENCE = 5.0
_BOUNDS = {
    "redis": {"socket_timeout": _PATIENCE, "socket_connect_timeout": _PATIENCE},
    "amqp": {"read_timeout": _PATIENCE, "write_timeout": _PATIENCE},
}
_SITES = "_flask_s2s_sites"


class CeleryEngine:
    """Lets Celery's workers deliver. `CeleryEngine(celery_app).init_app(app)`, after `S2S`."""

    def __init__(self, celery_app: Celery) -> None:
        self._celery = celery_app

    def init_app(
        self,
        app: Flask,
        *,
        sweep: float | None = 30.0,
        queue: str | None = None,
        name: str | None = None,
    ) -> None:
        """Hint after every commit on `app`, and serve its two tasks; to be called in both places.

        `sweep` is the number of seconds between two sweeps of Celery beat, which **must run**: it
        sends what is due for another try, or lost its hint, and verifies. None leaves the schedule
        to you: task `flask_s2s.sweep` with the app's name as its argument. `queue` is where the
        tasks go, and some worker must read it (`celery worker -Q ...`: a plain one reads only
        Celery's default); None: where Celery's own routing says. `name` tells apps on one Celery app apart;
        it defaults to the Flask app's. Under `TESTING` no hint is sent.

        Raises `ConfigError` unless `S2S_WORKER` is "external", or when the name is taken.
        """
        services = _services_of(app)
        if sweep is not None and not 1 <= sweep:
            raise ConfigError("sweep", "is under a second", "Give seconds, or None.")
        name = name or app.name
        sites = _sites_of(self._celery)
        settings = services.settings
        if name in sites and not (settings.testing or sites[name].testing):
            raise ConfigError(
                "CeleryEngine",
                f"serves an app of the name {name!r} already",
                "Give each app a name: init_app(app, name=...).",
            )
        options: dict[str, Any] = {"expires": _STALE}
        if queue is not None:
            options["queue"] = queue
        hints = Hints(lambda: _connection(self._celery), _sender(self._celery, name, options))
        hint = settings.unless_testing(hints.ask)
        sites[name] = Site(app, services, hint)
        services.supervisor.on_wake.append(hint)
        if sweep is not None:
            entry = {"task": SWEEP, "schedule": float(sweep), "args": (name,), "options": options}
            _schedule(self._celery, f"{SWEEP}:{name}", entry)


def _services_of(app: Flask) -> Services:
    services = app.extensions.get("s2s")
    if not isinstance(services, Services):
        raise ConfigError("S2S", "is not initialised on this app", "Call S2S(app) first.")
    if services.settings.worker != "external":
        raise ConfigError(
            "S2S_WORKER",
            f"is {services.settings.worker!r}, so the web processes would deliver as well",
            "Set it to 'external': Celery delivers.",
        )
    return services


def _sites_of(celery_app: Any) -> dict[str, Site]:
    """Return the sites that a Celery app serves. The first time, give it the tasks."""
    known: dict[str, Site] | None = getattr(celery_app, _SITES, None)
    if known is not None:
        return known
    sites: dict[str, Site] = {}
    setattr(celery_app, _SITES, sites)

    def deliver(name: str) -> None:
        """Send what is due on one site."""
        _serve(sites, name, Site.deliver)

    def sweep(name: str) -> None:
        """Send what is due on one site, and verify what was delivered."""
        _serve(sites, name, Site.sweep)

    for task_name, function in ((DELIVER, deliver), (SWEEP, sweep)):
        # Not shared: that would give the task to every Celery app of the process.
        celery_app.task(name=task_name, shared=False, ignore_result=True, acks_late=False)(function)
    return sites


def _serve(sites: dict[str, Site], name: str, what: Callable[[Site], None]) -> None:
    site = sites.get(name)
    if site is None:
        log.error(
            "s2s.celery.unknown_app: no app of the name %r here; let this worker import what calls "
            "init_app for it, or give it a queue of its own",
            name,
            extra={"action": "celery.unknown_app"},
        )
        return
    try:
        what(site)
    except (S2SError, SQLAlchemyError) as error:
        # Not raised: Celery would log the statement, and with it what it carries of a person.
        log.error(
            "s2s.celery.failed: %s; the next sweep tries again",
            error if isinstance(error, S2SError) else type(error).__name__,
            extra={"action": "celery.failed"},
        )


def _schedule(celery_app: Any, key: str, entry: dict[str, Any]) -> None:
    """Put an entry into beat's schedule, whenever and however the Celery app is configured."""

    def add(sender: Any, **_: Any) -> None:
        sender.conf.beat_schedule.setdefault(key, entry)

    celery_app.on_after_configure.connect(add, weak=False)
    celery_app.on_after_finalize.connect(add, weak=False)
    if celery_app.configured:
        add(celery_app)


def _connection(celery_app: Any) -> Any:
    """Connect to the broker, or raise soon."""
    connection = celery_app.connection_for_write(connect_timeout=_PATIENCE)
    bounds = _BOUNDS.get(connection.transport.driver_type, {})
    connection.transport_options.update(bounds, max_retries=1, interval_start=0)
    connection.ensure_connection(max_retries=1, interval_start=0)
    return connection


def _sender(celery_app: Any, name: str, options: dict[str, Any]) -> Callable[[Any], None]:
    def send(connection: Any) -> None:
        celery_app.tasks[DELIVER].apply_async(
            (name,), connection=connection, retry=False, ignore_result=True, **options
        )

    return send


class Site:
    """One Flask app behind its tasks.

    One worker a process: it keeps to the rate (`S2S_RATE`) and counts the network's failures from task
    to task. Two tasks at once in one process (a pool of threads) are one that looks once more.
    """

    def __init__(
        self, app: Flask, services: Services, hint: Callable[[], None], *, turn: float = TURN
    ) -> None:
        self._app = app
        self._services = services
        self._hint = hint
        self._turn = turn
        self._worker: Worker | None = None
        self._lock = Lock()
        self._busy = False
        self._asked = False

    @property
    def testing(self) -> bool:
        """Whether a test-suite made it, which makes its app again and again."""
        return self._services.settings.testing

    def deliver(self) -> None:
        """Send what is due, for one turn; where that is too short, hint at another one."""
        while self._starts():
            try:
                is_left = self._deliver()
            except BaseException:
                self._worker = None  # it may count what is in flight no more
                raise
            finally:
                asked = self._ends()
            if is_left:
                self._hint()
            if is_left or not asked:
                return

    def sweep(self) -> None:
        """Send what is due, then verify for one turn."""
        self.deliver()
        verifier = self._services.supervisor.verifier()
        if not verifier.able or not self._may_verify():
            return
        with self._app.app_context(), _turn(self._turn) as waker, verifier.beside(waker):
            while self._may_verify() and not waker.pause(0.1):
                pass
        # Some may have to be sent again; others waited for a customer who is now known.
        self.deliver()

    def _deliver(self) -> bool:
        """Return whether the turn was over before all was sent."""
        with self._app.app_context(), _turn(self._turn) as waker:
            self._services.supervisor.prepare()
            if self._worker is None:
                breakers = _BreakersOfTurns(self._services.storage)
                self._worker = self._services.supervisor.worker(breakers=breakers)
            self._worker.run(waker, until_idle=True)
            return waker.stopped

    def _may_verify(self) -> bool:
        at = self._services.supervisor.verification_queue.next_at()
        return at is not None and at <= self._services.clock.now()

    def _starts(self) -> bool:
        with self._lock:
            self._asked = self._busy
            mine = not self._busy
            self._busy = True
            return mine

    def _ends(self) -> bool:
        """Return whether somebody asked meanwhile."""
        with self._lock:
            self._busy = False
            return self._asked


class _BreakersOfTurns(CircuitBreakers):
    """A worker in turns starts once: later turns let closed lanes wait for their probe's time."""

    _probed = False

    def probe_soon(self, now: datetime) -> None:
        if not self._probed:
            super().probe_soon(now)
            self._probed = True


@contextmanager
def _turn(seconds: float) -> Iterator[Waker]:
    """Yield a waker that says stop when the turn is over."""
    waker = Waker()
    timer = Timer(seconds, waker.stop)
    timer.daemon = True
    timer.start()
    try:
        yield waker
    finally:
        timer.cancel()
