"""`python -m flask_s2s.sandbox` as a real process, and what the package may import."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from flask_s2s.sandbox.command import sandbox

PATIENCE = 20
IMPORTS = """
import sys
import flask_s2s.sandbox.command, flask_s2s.sandbox
names = {name for name in sys.modules if name.startswith("flask_s2s.")}
print(sorted(name for name in names if not name.startswith("flask_s2s.sandbox")))
"""


def start(*options: str) -> tuple[subprocess.Popen[str], int, str]:
    """Start the command on a free port; returns it with its port and the partner link."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flask_s2s.sandbox", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(6)]
    address = re.search(r"http://127\.0\.0\.1:(\d+)/go/\S+", "".join(lines))
    assert address is not None, lines
    return process, int(address[1]), address[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_serves_and_stops_cleanly(number: signal.Signals) -> None:
    process, port, link = start("--target", "https://shop.test/")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", link)
    answer = connection.getresponse()
    answer.read()

    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)

    connection.close()
    assert answer.headers["Location"].startswith("https://shop.test/?")
    assert (process.returncode, err) == (0, "")
    assert out.endswith("Stopped.\n")


def test_taken_port_is_explained() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(sandbox, ["--port", port])

    assert result.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.output


@pytest.mark.parametrize("target", ["shop.test", "ftp://shop.test/", "https://"])
def test_target_that_is_no_web_address_is_explained(target: str) -> None:
    result = CliRunner().invoke(sandbox, ["--target", target])

    assert result.exit_code == 2
    assert "expected an http or https URL" in result.output


def test_it_imports_nothing_else_of_the_package() -> None:
    found = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "[]"
