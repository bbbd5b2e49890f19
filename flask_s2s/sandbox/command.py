"""`flask s2s sandbox`: serve the stand-in network until Ctrl-C or SIGTERM."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from urllib.parse import urlsplit

import click

from flask_s2s.sandbox.app import create_sandbox
from flask_s2s.sandbox.books.partners import PARTNERS
from flask_s2s.sandbox.guard import is_loopback
from flask_s2s.sandbox.server import SandboxServer, serve


def _check_target(context: click.Context, parameter: click.Parameter, value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise click.BadParameter("expected an http or https URL with a host")
    return value


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=5001, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--target",
    default="http://127.0.0.1:5000/",
    show_default=True,
    callback=_check_target,
    help="The advertiser's page that partners' links lead to.",
)
@click.option("--database", default=":memory:", show_default=True, help="SQLite file.")
@click.option("--seed", default=0, show_default=True, help="Makes a run of faults repeat.")
@click.option(
    "--allow-host", multiple=True, metavar="NAME", help="Answer to this host name as well."
)
def sandbox(
    host: str, port: int, target: str, database: str, seed: int, allow_host: tuple[str, ...]
) -> None:
    """Serve a stand-in partner network on this machine.

    \b
    flask s2s sandbox
    """
    app = create_sandbox(
        database=database, target=target, seed=seed, allowed_hosts=(host, *allow_host)
    )
    try:
        server = serve(app, host, port)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from error
    if not is_loopback(host):
        click.echo(f"Warning: {host} can be reached from other machines.", err=True)
    # Before the greeting: whoever reads it may send the signal at once.
    with _stop_signals() as stopped, server:
        click.echo(_greeting(server, target))
        stopped.wait()
    click.echo("Stopped.")


def _greeting(server: SandboxServer, target: str) -> str:
    partner = next(iter(PARTNERS))
    return "\n".join(
        (
            f"Stand-in network  {server.url}/",
            f"Advertiser        {target}",
            f"Partner link      {server.url}/go/{partner}?sid=newsletter",
            "Token             sandbox-token",
            "API keys          pk_sandbox / sk_sandbox",
            "Ctrl-C stops it.",
        )
    )


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event for the length of a block."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
