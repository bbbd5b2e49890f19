"""The processes of a run: the network, which is never killed, and the site's, which are.

A site process is made by a fork of a server that has loaded the modules and opened nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import flask.cli
from werkzeug.serving import WSGIRequestHandler, make_server

from flask_s2s.cli import worker as _loaded_before_the_fork  # noqa: F401
from flask_s2s.sandbox.app import create_sandbox
from flask_s2s.sandbox.server import serve
from tests.chaos.marks import Trail
from tests.chaos.plan import Plan
from tests.chaos.site import create_site

#: Seconds; a loaded machine takes its time.
PATIENCE = 60.0


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        pass


def _end_with_the_run() -> None:
    run = multiprocessing.parent_process()
    if run is not None:
        run.join()
        os._exit(1)


def _begin(path: Path) -> None:
    """Write into a file, and end when the run does, however it ends."""
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)


def run_network(plan: Plan) -> None:
    """Serve the stand-in network until SIGTERM."""
    _begin(plan.folder / "network.log")
    app = create_sandbox(
        database=str(plan.folder / "network.sqlite3"),
        target=f"http://127.0.0.1:{plan.web_ports[0]}/",
        seed=plan.seed,
        now=plan.clock.now,
    )
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with serve(app, "127.0.0.1", plan.network_port):
        stopped.wait()


def run_web(plan: Plan, port: int, trail: Path) -> None:
    """Serve the site, and deliver in a thread if it has no workers, until SIGTERM."""
    _begin(plan.folder / "site.log")
    app = create_site(plan, trail)
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Quiet)
    server.daemon_threads = True  # type: ignore[attr-defined]
    stop = threading.Thread(target=server.shutdown, daemon=True)
    signal.signal(signal.SIGTERM, lambda *_: stop.start())
    server.serve_forever(poll_interval=0.05)
    app.extensions["s2s"].close()


def run_worker(plan: Plan, _port: int, trail: Path) -> None:
    """`flask s2s work`, until SIGTERM."""
    _begin(plan.folder / "site.log")
    group = flask.cli.FlaskGroup(create_app=lambda: create_site(plan, trail))
    group.main(args=["s2s", "work"], prog_name="flask")


class Member:
    """One process of the site, whichever incarnation of it lives."""

    def __init__(self, context: ForkServerContext, plan: Plan, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self._context = context
        self._plan = plan
        self._lives = 0
        self._process: ForkServerProcess | None = None
        self.trail: Trail | None = None

    def start(self) -> None:
        self._lives += 1
        path = self._plan.folder / f"{self.name}.{self._lives}.marks"
        target = run_web if self.port else run_worker
        self.trail = Trail(path)
        self._process = self._context.Process(target=target, args=(self._plan, self.port, path))
        self._process.start()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, and do not wait."""
        if self._process is not None and self._process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def join(self) -> None:
        """Wait until the process is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        process.join(PATIENCE)
        if process.is_alive():
            raise RuntimeError(f"{self.name} did not end")
        process.close()


def end(members: list[Member], number: signal.Signals) -> None:
    """Send a signal to all of them at once, and wait until they are gone."""
    for member in members:
        member.send(number)
    for member in members:
        member.join()


class Supervisor:
    """All processes of a run."""

    def __init__(self, plan: Plan) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.chaos.processes"])
        self._plan = plan
        self._network = context.Process(target=run_network, args=(plan,))
        web = [Member(context, plan, f"web{n}", port) for n, port in enumerate(plan.web_ports)]
        work = [Member(context, plan, f"work{n}", 0) for n in range(plan.workers)]
        self.members = [*web, *work]
        #: Those that deliver: the only ones that can be hit while a request is under way.
        self.delivering = work or web

    def start_network(self) -> None:
        self._network.start()

    def start(self) -> None:
        for member in self.members:
            member.start()

    def stop(self) -> None:
        """End the site as a deploy does."""
        end(self.members, signal.SIGTERM)

    def close(self) -> None:
        """End everything, however it stands."""
        end(self.members, signal.SIGKILL)
        if self._network.pid is not None:
            self._network.terminate()
            self._network.join(PATIENCE)
