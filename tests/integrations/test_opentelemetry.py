"""One trace for each conversion, whichever processes record, send and verify it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flask_s2s import S2S, Click, ConfigError, Services
from flask_s2s.integrations.opentelemetry import Tracing
from flask_s2s.testing import ManualClock, ScriptedTransport, accepted, answered
from tests.cli.terminal import ROOT


def test_a_conversion_is_one_trace_over_processes(tmp_path: Path, database_url: str) -> None:
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    clock, network = ManualClock(), ScriptedTransport()

    def process() -> Services:
        app = Flask("shop", instance_path=str(tmp_path))
        app.config.update(SECRET_KEY="for-tests-only-0123456789", S2S_TOKEN="tok", TESTING=True)
        app.config["S2S_DATABASE_URI"] = database_url
        S2S(app, clock=clock, transport=network)
        Tracing(provider).init_app(app)
        services: Services = app.extensions["s2s"]
        services.storage.create()
        services.supervisor.prepare()
        return services

    web, worker = process(), process()
    try:
        network.then(answered(503), accepted(), accepted())
        with provider.get_tracer("site").start_as_current_span("POST /signup") as request:
            web.track_signup(customer_key="1", click=Click(click_id="c1", at=clock.now()))
        web.track_signup(customer_key="2", click=Click(click_id="c2", at=clock.now()))
        worker.drain()
        clock.advance(hours=1)
        worker.drain()
        spans = [one for one in kept.get_finished_spans() if one.name.startswith("s2s.")]
        traces: dict[int, list[str]] = {}
        for span in spans:
            assert span.attributes is not None
            word = span.attributes.get("s2s.outcome") or span.attributes["s2s.reason"]
            traces.setdefault(span.context.trace_id, []).append(f"{span.name} {word}")
        assert sorted(traces.values()) == [
            ["s2s.record explicit", "s2s.attempt accepted"],
            ["s2s.record explicit", "s2s.attempt ambiguous", "s2s.attempt accepted"],
        ]
        linked = [link.context.span_id for span in spans for link in span.links]
        assert linked == [request.get_span_context().span_id]
    finally:
        for services in (web, worker):
            services.close()
            services.storage.engine().dispose()


def test_tracing_of_an_app_that_is_none_of_ours_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"Call S2S\(\)\.init_app\(app\) first"):
        Tracing().init_app(Flask("other"))


def test_without_the_package_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; "
    code += "import flask_s2s.integrations.opentelemetry"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "pip install 'flask-s2s[opentelemetry]'" in ran.stderr
