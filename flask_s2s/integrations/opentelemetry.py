"""Traces for OpenTelemetry: one trace for each conversion, from its record to every attempt.

A conversion is recorded in one process and sent from another, perhaps days later. The two find each
other without anything stored: the trace's ID is made of the keyed hash that makes the conversion
itself. The span of the record is linked with the request that it happened in.
"""

from __future__ import annotations

from datetime import timedelta
from time import time_ns
from typing import Any

from flask import Flask

from .. import signals
from ..errors import ConfigError
from ..networks.messages import SUCCESSES
from ..rules.states import Status
from ..services import Services

try:
    from opentelemetry import trace
    from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "opentelemetry":
        raise
    raise ImportError(
        "flask_s2s.integrations.opentelemetry needs its API: pip install 'flask-s2s[opentelemetry]'"
    ) from error


class Tracing:
    """Traces of one app. `Tracing().init_app(app)`, after `S2S`."""

    def __init__(self, provider: Any = None) -> None:
        """`provider` is a `TracerProvider`; without it the process's own is asked at each span."""
        self._provider = provider

    def init_app(self, app: Flask) -> None:
        """Trace what this app records and sends."""
        services = app.extensions.get("s2s")
        if not isinstance(services, Services):
            raise ConfigError("Tracing", "came before S2S", "Call S2S().init_app(app) first.")
        signals.conversion_recorded.connect(self._recorded, sender=services.sender, weak=False)
        signals.attempt_finished.connect(self._attempted, sender=services.sender, weak=False)
        signals.verification_done.connect(self._verified, sender=services.sender, weak=False)

    def _recorded(self, _: Any, *, delivery: Any) -> None:
        around = trace.get_current_span().get_span_context()
        links = [trace.Link(around)] if around.is_valid else []
        span = self._span("s2s.record", delivery, SpanKind.PRODUCER, links=links)
        span.set_attribute("s2s.reason", delivery.reason)
        span.end()

    def _attempted(
        self,
        _: Any,
        *,
        delivery: Any,
        status: Status,
        outcome: str,
        http_status: int | None,
        duration: float,
        age: timedelta,
    ) -> None:
        end = time_ns()
        start = end - int(duration * 1e9)
        span = self._span("s2s.attempt", delivery, SpanKind.CLIENT, start_time=start)
        span.set_attribute("s2s.attempt", delivery.attempts)
        span.set_attribute("s2s.outcome", outcome)
        span.set_attribute("s2s.status", status.value)
        if http_status is not None:
            span.set_attribute("http.response.status_code", http_status)
        if outcome not in SUCCESSES:
            span.set_status(StatusCode.ERROR, outcome)
        span.end(end_time=end)

    def _verified(self, _: Any, *, delivery: Any, result: str, detail: str) -> None:
        span = self._span("s2s.verify", delivery, SpanKind.CLIENT)
        span.set_attribute("s2s.result", result)
        span.end()

    def _span(self, name: str, delivery: Any, kind: Any, **more: Any) -> Any:
        tracer = trace.get_tracer("flask_s2s", tracer_provider=self._provider)
        span = tracer.start_span(name, _conversion_of(delivery.dedupe), kind=kind, **more)
        span.set_attribute("s2s.delivery_id", delivery.id)
        span.set_attribute("s2s.kind", delivery.kind)
        span.set_attribute("s2s.lane", delivery.lane)
        return span


def _conversion_of(dedupe: str) -> Any:
    """Return the context that all spans of one conversion are in."""
    parent = SpanContext(
        trace_id=int(dedupe[:32], 16),
        span_id=int(dedupe[32:48], 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(NonRecordingSpan(parent))
