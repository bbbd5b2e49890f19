"""A real server as a process of its own, and how each kind is started and asked to end."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import requests

import tests
from tests.servers import gunicorn_settings
from tests.waiting import wait_until

ROOT = pathlib.Path(tests.__file__).parents[1]
SCRIPTS = pathlib.Path(sys.executable).parent
SITE = "tests.servers.site"

#: Seconds; a loaded machine is slow to start Python.
PATIENCE = 60.0
#: What an interpreter says when its end went wrong.
COMPLAINTS = (
    "Traceback",
    "Exception ignored",
    "interpreter shutdown",
    "Fatal Python error",
    "WORKER TIMEOUT",
)


@dataclass(frozen=True)
class Kind:
    """One way to serve a site."""

    command: Callable[[int], list[str]]
    #: What ends it in an orderly way.
    stop: signal.Signals = signal.SIGTERM
    #: What each of its workers prints, or is printed of it, once it is ready; "": nothing.
    ready: str = ""
    workers: int = 1


def _gunicorn(*options: str, workers: int = 1) -> Kind:
    common = ["--no-control-socket", "--graceful-timeout", "30", "--workers", str(workers)]
    return Kind(
        lambda port: [
            *(sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"),
            *("--config", f"python:{gunicorn_settings.__name__}"),
            *(*common, *options, f"{SITE}:create_app()"),
        ],
        ready=gunicorn_settings.READY,
        workers=workers,
    )


def _uwsgi(*options: str, ready: str = "spawned uWSGI worker") -> Kind:
    return Kind(
        lambda port: [
            *(str(SCRIPTS / "uwsgi"), "--http-socket", f"127.0.0.1:{port}", "--master"),
            *("--need-app", "--die-on-term", "--home", sys.prefix, "--processes", "2"),
            *("--module", f"{SITE}:create_app()", *options),
        ],
        ready=ready,
        workers=2,
    )


KINDS: dict[str, Kind] = {
    "gunicorn-sync": _gunicorn(workers=2),
    "gunicorn-sync-preload": _gunicorn("--preload", workers=2),
    "gunicorn-gthread": _gunicorn("--worker-class", "gthread", "--threads", "4"),
    "gunicorn-gthread-preload": _gunicorn("--worker-class", "gthread", "--threads=4", "--preload"),
    "gunicorn-gevent": _gunicorn("--worker-class", "gevent"),
    "gunicorn-gevent-preload": _gunicorn("--worker-class", "gevent", "--preload"),
    "gunicorn-recycling": _gunicorn("--max-requests", "3"),
    "uwsgi": _uwsgi("--enable-threads"),
    "uwsgi-lazy": _uwsgi(
        "--enable-threads", "--lazy-apps", ready="WSGI app 0 (mountpoint='') ready"
    ),
    "uwsgi-frozen": _uwsgi(),
    # These two do not handle SIGTERM: it ends them where they stand.
    "waitress": Kind(
        lambda port: [
            *(sys.executable, "-m", "waitress", "--host=127.0.0.1", f"--port={port}"),
            *("--call", f"{SITE}:create_app"),
        ],
        signal.SIGINT,
    ),
    "flask": Kind(
        lambda port: [sys.executable, "-m", "flask", "--app", SITE, "run", f"--port={port}"],
        signal.SIGINT,
    ),
}


def _served_by(name: str) -> Kind:
    command = (sys.executable, "-m", "tests.servers.serving", name)
    return Kind(lambda port: [*command, str(port)], signal.SIGINT)


#: Servers that are tried with one visitor each.
MORE: dict[str, Kind] = {
    "granian": Kind(
        lambda port: [
            *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"),
            *("--port", str(port), "--factory", f"{SITE}:create_app"),
        ]
    ),
    "hypercorn": Kind(
        lambda port: [
            *(sys.executable, "-m", "hypercorn", "--bind", f"127.0.0.1:{port}"),
            f"wsgi:{SITE}:create_app()",
        ]
    ),
    "uvicorn": Kind(
        lambda port: [
            *(sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port)),
            *("--factory", "tests.servers.serving:create_asgi"),
        ]
    ),
    "cheroot": _served_by("cheroot"),
    "bjoern": _served_by("bjoern"),
}
#: Apache, whose processes are another user's: it wants a database that is no file.
APACHE = replace(_served_by("mod_wsgi"), stop=signal.SIGTERM)
#: Those whose web processes deliver.
DELIVERING = [name for name in KINDS if name != "uwsgi-frozen"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def environment(settings: Mapping[str, str], *paths: pathlib.Path) -> dict[str, str]:
    """Return what a process of the site finds: its settings, and none that are meant for others."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("FLASK_", "GUNICORN"))}
    path = os.pathsep.join(map(str, (*paths, ROOT)))
    flask = {f"FLASK_{name}": value for name, value in settings.items()}
    return kept | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"} | flask


class Server:
    """One server process with its children, in a process group of their own."""

    def __init__(self, kind: Kind, folder: pathlib.Path, settings: dict[str, str]) -> None:
        self.kind = kind
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / f"server-{self.port}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                kind.command(self.port),
                cwd=ROOT,
                env=environment(settings, folder),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> Server:
        """Wait until it listens and all its workers are ready; no request is sent."""
        wait_until(self._listens, PATIENCE, what="a listening server")
        wait_until(self._has_its_workers, PATIENCE, what="all workers")
        return self

    def get(self, path: str = "/") -> requests.Response:
        """Ask for a page, on a connection of its own."""
        answer = requests.get(f"{self.url}{path}", timeout=PATIENCE)
        assert answer.ok, answer.text
        return answer

    def describe(self) -> dict[str, Any]:
        """Return what a serving process says of itself."""
        described: dict[str, Any] = self.get("/process").json()
        return described

    def ask_to_end(self) -> None:
        """Ask it to end, as its operator would."""
        self.process.send_signal(self.kind.stop)

    def end(self) -> int:
        """Ask it to end, and wait for that; return the exit code."""
        self.ask_to_end()
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """End every process of it at once (SIGKILL); a second call does nothing."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def output(self) -> str:
        """Return what it has printed."""
        return self._log.read_text()

    def complaints(self) -> list[str]:
        """Return the lines of its output that tell of an end that went wrong."""
        lines = self.output().splitlines()
        return [line for line in lines if any(sign in line for sign in COMPLAINTS)]

    def _has_its_workers(self) -> bool:
        self._must_live()
        return not self.kind.ready or self.output().count(self.kind.ready) >= self.kind.workers

    def _must_live(self) -> None:
        assert self.process.poll() is None, f"it ended by itself:\n{self.output()}"

    def _listens(self) -> bool:
        self._must_live()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        return False
