"""`python -m example_app`: the site, and a stand-in partner network beside it.

Both keep what they know in files, so that stopping the demo, or killing it, loses nothing: a sign-up
that was committed is still reported after the next start.
"""

import argparse
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from example_app import create_app
from flask_s2s.sandbox import SandboxServer, create_sandbox, serve

HOST = "127.0.0.1"

GREETING = """
  Tallyfern, a site with a partner programme   {site}
  The stand-in partner network                 {network}

  1. Follow the link in Ada's newsletter       {network}go/ada?sid=newsletter
  2. Open an account on the site you land on.
  3. Move to Solo in your account: you pay, and Ada earns.
  4. See what the network credits Ada with     {network}customers
  5. See the programme as the site's team      {site}partners/
  6. Ask why, on the command line              flask --app example_app s2s explain 1

  Everything is kept in the folder {data}. Ctrl-C stops both.
"""


class CannotStart(Exception):
    """An option asks for what this machine cannot give; the message names it."""


@contextmanager
def asked_by(option: str, value: object) -> Iterator[None]:
    """Turn a refusal of the operating system into :exc:`CannotStart`."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise CannotStart(f"{option} {value}: {why}. Choose another.") from error


class QuietHandler(WSGIRequestHandler):
    """Leaves the terminal to the greeting, and to what goes wrong."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing about a request that was answered."""


def start(options: argparse.Namespace) -> tuple[BaseWSGIServer, SandboxServer]:
    """Open both ports, then serve the site and the network, which know each other's address."""
    data: Path = options.data
    with asked_by("--data", data):
        data.mkdir(parents=True, exist_ok=True)
        (data / ".gitignore").write_text("*\n")
    with asked_by("--port", options.port):
        door = socket.create_server((HOST, options.port))
    with door:
        target = f"http://{HOST}:{door.getsockname()[1]}/"
        sandbox = create_sandbox(database=str(data / "network.db"), target=target)
        with asked_by("--sandbox-port", options.sandbox_port):
            network = serve(sandbox, HOST, options.sandbox_port)
        network.start()
        addresses = {
            "S2S_PARTNERSTACK_URL": network.url,
            "S2S_PARTNERSTACK_API_URL": f"{network.url}/api/v2",
        }
        app = create_app(addresses, data)
        site = make_server(
            HOST, 0, app, threaded=True, request_handler=QuietHandler, fd=door.fileno()
        )
    threading.Thread(target=site.serve_forever, name="site", daemon=True).start()
    return site, network


def port(text: str) -> int:
    """Read a port number."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError
    return number


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m example_app",
        description="Start the Tallyfern demo site, and a stand-in partner network beside it.",
    )
    add = parser.add_argument
    add("--port", type=port, default=5000, help="the site's port (%(default)s)")
    add("--sandbox-port", type=port, default=5001, help="the network's port (%(default)s)")
    add("--data", type=Path, default=Path("instance"), help="folder of its files (%(default)s)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; return the exit code."""
    options = parse(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        site, network = start(options)
    except CannotStart as problem:
        print(f"python -m example_app: {problem}", file=sys.stderr)
        return 2
    print(
        GREETING.format(
            site=f"http://{HOST}:{site.port}/",
            network=f"{network.url}/",
            data=options.data,
        ),
        flush=True,
    )
    stop.wait()
    site.shutdown()
    site.server_close()
    network.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
