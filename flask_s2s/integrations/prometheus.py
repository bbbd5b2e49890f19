"""Metrics for Prometheus: what each process counts, and how the outbox stands.

Counters and histograms are fed by the package's signals, in the process in which something happens:
clicks and conversions in those that serve, attempts in those that deliver. The gauges are asked of
the database at each scrape, by indexes over what is open and by two small tables: they cost the
same with ten settled deliveries or ten million. A database that does not answer makes no scrape
fail: `s2s_database_up` is 0 then.

With `PROMETHEUS_MULTIPROC_DIR` set, several processes of a server share their counters in files, as
`prometheus_client` has it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from flask import Flask, Response
from sqlalchemy.exc import SQLAlchemyError

from .. import signals
from ..conversion import Action, Reversal, Signup, Transaction
from ..errors import ConfigError, S2SError
from ..networks.messages import SUCCESSES, RetryLater
from ..rules.states import FAILED, Status
from ..services import Services
from ..store.attempts import NOT_FOUND
from ..store.background import LOST
from ..store.outbox.lanes import CircuitBreakers
from ..store.queries import Queries

try:
    from prometheus_client import (
        CONTENT_TYPE_LATEST,
        CollectorRegistry,
        Counter,
        Histogram,
        generate_latest,
        multiprocess,
        start_http_server,
    )
    from prometheus_client.core import GaugeMetricFamily
except ModuleNotFoundError as error:
    if error.name != "prometheus_client":
        raise
    raise ImportError(
        "flask_s2s.integrations.prometheus needs prometheus_client: "
        "pip install 'flask-s2s[prometheus]'"
    ) from error

#: Where an app keeps its `Metrics`, in `app.extensions`.
NAME = "s2s_prometheus"
_SHARED = "PROMETHEUS_MULTIPROC_DIR"
#: Seconds of an attempt: none is longer than a quarter of a lease.
_DURATIONS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)
#: Seconds from a conversion to its acceptance: from at once to the deadline.
_AGES = (1, 2, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400)


class Metrics:
    """Metrics of one app. `Metrics().init_app(app)`, after `S2S`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """`registry` is one that the site shows already; without it the app has one of its own."""
        self.registry = CollectorRegistry() if registry is None else registry
        own: Any = {"registry": self.registry}
        self.clicks = Counter("s2s_clicks", "Clicks that were accepted.", **own)
        self.ignored = Counter(
            "s2s_clicks_ignored", "Landings that made no click, by why.", ["reason"], **own
        )
        self.not_stored = Counter(
            "s2s_clicks_not_stored", "Clicks without a row, by why.", ["reason"], **own
        )
        self.conversions = Counter(
            "s2s_conversions",
            "Conversions recorded, by kind and reason.",
            ["kind", "reason"],
            **own,
        )
        self.lost = Counter(
            "s2s_conversions_lost", "Conversions lost, by kind and why.", ["kind", "reason"], **own
        )
        self.attempts = Counter(
            "s2s_attempts", "Attempts, by lane and outcome.", ["lane", "outcome"], **own
        )
        self.duration = Histogram(
            "s2s_attempt_duration_seconds",
            "How long the network took.",
            ["lane"],
            buckets=_DURATIONS,
            **own,
        )
        self.accepted = Histogram(
            "s2s_accepted_after_seconds",
            "From a conversion's recording to its acceptance.",
            ["kind"],
            buckets=_AGES,
            **own,
        )
        self.settled = Counter(
            "s2s_deliveries_settled", "Deliveries by the status they came to.", ["status"], **own
        )
        self.verified = Counter(
            "s2s_verifications", "Looks at the network's records, by result.", ["result"], **own
        )

        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Show what raises an alarm before it happens: `increase()` sees no first value."""
        for kind in (Signup.kind, Action.kind, Transaction.kind, Reversal.kind):
            for reason in LOST:
                self.lost.labels(kind, reason)
        for status in FAILED:
            self.settled.labels(status)
        self.verified.labels("test_record")

    def init_app(self, app: Flask, path: str | None = "/metrics") -> None:
        """Count what this app does, and show it at `path`; None shows it nowhere.

        Whoever reaches the path may read it: it names no person and no partner, but shows how much
        is going on. Let your server answer it to Prometheus alone.
        """
        services = app.extensions.get("s2s")
        if not isinstance(services, Services):
            raise ConfigError("Metrics", "came before S2S", "Call S2S().init_app(app) first.")
        app.extensions[NAME] = self
        self._outbox = Outbox(services)
        self.registry.register(self._outbox)
        self._listen(services.sender)
        if path is not None:
            app.add_url_rule(path, "s2s_metrics", self.view)

    def view(self) -> Response:
        """Return all metrics, of all processes where they share them."""
        registry = self.registry
        if os.environ.get(_SHARED):
            registry = CollectorRegistry()
            shared: Any = multiprocess.MultiProcessCollector
            shared(registry)
            registry.register(self._outbox)
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    def serve(self, host: str, port: int) -> None:
        """Show them from a process that serves no pages, as `flask s2s work --metrics` does."""
        start_http_server(port, addr=host, registry=self.registry)

    def _listen(self, sender: Any) -> None:
        for signal, receiver in (
            (signals.click_captured, self._captured),
            (signals.click_ignored, self._ignored),
            (signals.click_not_stored, self._not_stored),
            (signals.conversion_recorded, self._recorded),
            (signals.conversion_lost, self._lost),
            (signals.attempt_finished, self._attempted),
            (signals.delivery_settled, self._settled),
            (signals.verification_done, self._verified),
        ):
            signal.connect(receiver, sender=sender, weak=False)

    def _captured(self, _: Any, **facts: Any) -> None:
        self.clicks.inc()

    def _ignored(self, _: Any, *, reason: str) -> None:
        self.ignored.labels(reason).inc()

    def _not_stored(self, _: Any, *, reason: str) -> None:
        self.not_stored.labels(reason).inc()

    def _recorded(self, _: Any, *, delivery: Any) -> None:
        self.conversions.labels(delivery.kind, delivery.reason).inc()

    def _lost(self, _: Any, *, kind: str, customer_key: str | None, reason: str) -> None:
        self.lost.labels(kind, reason).inc()

    def _attempted(
        self,
        _: Any,
        *,
        delivery: Any,
        outcome: str,
        http_status: int | None,
        duration: float,
        age: timedelta,
        **facts: Any,
    ) -> None:
        if outcome == RetryLater.word and http_status == NOT_FOUND:
            self.attempts.labels(delivery.lane, "not_found").inc()
        else:
            self.attempts.labels(delivery.lane, outcome).inc()
        self.duration.labels(delivery.lane).observe(duration)
        if outcome in SUCCESSES:
            self.accepted.labels(delivery.kind).observe(age.total_seconds())

    def _settled(self, _: Any, *, delivery: Any, status: Status) -> None:
        self.settled.labels(status.value).inc()

    def _verified(self, _: Any, *, result: str, **facts: Any) -> None:
        self.verified.labels(result).inc()


class Outbox:
    """The state of the outbox, asked at each scrape."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def describe(self) -> Iterable[Any]:
        """Say that there is nothing to ask before the first scrape."""
        return ()

    def collect(self) -> Iterator[Any]:
        """Return the gauges."""
        up = GaugeMetricFamily("s2s_database_up", "Whether the outbox can be read.")
        try:
            gauges = list(self._gauges())
        except (SQLAlchemyError, S2SError, OSError):
            gauges = []
        up.add_metric([], float(bool(gauges)))
        yield up
        yield from gauges

    def _gauges(self) -> Iterator[Any]:
        services = self._services
        storage = services.storage
        by_status = Queries(services.storage, services.outbox).open_by_status()
        open_ = GaugeMetricFamily("s2s_open", "Deliveries that have work left.", labels=["status"])
        for status in Status:
            if status.open:
                open_.add_metric([status.value], by_status.get(status.value, 0))
        yield open_
        oldest, seen = services.supervisor.heartbeat.pulse()
        yield _moment(
            "s2s_oldest_due_timestamp_seconds", "When the oldest open one is due.", oldest
        )
        yield _moment(
            "s2s_worker_seen_timestamp_seconds", "When a worker said that it lives.", seen
        )
        breakers = CircuitBreakers(storage)
        closed = {breaker.lane: breaker for breaker in breakers.closed()}
        shut = GaugeMetricFamily("s2s_lane_closed", "1 while a lane is closed.", labels=["lane"])
        since = GaugeMetricFamily(
            "s2s_lane_closed_timestamp_seconds", "Since when it is closed.", labels=["lane"]
        )
        paused = GaugeMetricFamily(
            "s2s_lane_paused", "1 while somebody has paused it for a time.", labels=["lane"]
        )
        for lane in sorted({*self._lanes(), *closed}):
            shut.add_metric([lane], float(lane in closed))
            paused.add_metric([lane], float(lane in closed and closed[lane].for_a_time))
            if lane in closed:
                since.add_metric([lane], closed[lane].since.timestamp())
        yield shut
        yield since
        yield paused
        tried = GaugeMetricFamily(
            "s2s_lane_tried_timestamp_seconds",
            "When the oldest was recorded that was tried and still waits.",
            labels=["lane"],
        )
        for lane, at in breakers.trying_since().items():
            tried.add_metric([lane], at.timestamp())
        yield tried
        yield from self._workers()
        losses = GaugeMetricFamily(
            "s2s_losses",
            "Clicks without a row and conversions lost in the last week, by all processes.",
            labels=["kind", "reason"],
        )
        for loss in services.losses.lately(services.clock.now()):
            losses.add_metric([loss.kind, loss.reason], loss.number)
        yield losses

    def _workers(self) -> Iterator[Any]:
        now = self._services.clock.now()
        alive = [one for one in self._services.supervisor.workers.all() if one.is_alive(now)]
        workers = GaugeMetricFamily("s2s_workers", "Processes that deliver and are alive.")
        workers.add_metric([], len(alive))
        yield workers
        in_flight = GaugeMetricFamily("s2s_in_flight", "Deliveries that they are sending.")
        in_flight.add_metric([], sum(one.in_flight for one in alive))
        yield in_flight

    def _lanes(self) -> set[str]:
        return {lane for network in self._services.networks.values() for lane in network.lanes}


def _moment(name: str, words: str, at: datetime | None) -> Any:
    family = GaugeMetricFamily(name, words)
    if at is not None:
        family.add_metric([], at.timestamp())
    return family
