"""`python -m example_app` as a command: what it prints, how it ends, what it refuses."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.example_app.demo import PATIENCE, ROOT, Demo, environment

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_what_to_click_and_stops_cleanly(demo: Demo, number: signal.Signals) -> None:
    demo.start()
    said = demo.output()
    assert f"{demo.network}go/ada?sid=newsletter" in said
    assert f"{demo.network}customers" in said
    assert requests.get(demo.site, timeout=PATIENCE).ok
    assert requests.get(f"{demo.network}customers", timeout=PATIENCE).ok
    assert demo.stop(number) == 0
    assert demo.output() == said, "nothing is printed after the greeting"


def test_its_folder_stays_out_of_version_control(demo: Demo) -> None:
    demo.start()
    assert (demo.data / ".gitignore").read_text() == "*\n"
    assert (demo.data / "secret_key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("option", ["--port", "--sandbox-port"])
def test_a_taken_port_is_named_in_one_line(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        ports = {"--port": "0", "--sandbox-port": "0", option: str(number)}
        ended = run(tmp_path / "demo", *(word for pair in ports.items() for word in pair))
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"python -m example_app: {option} {number}: ")
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


def test_a_folder_that_cannot_be_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run(tmp_path / "file" / "demo")
    assert ended.returncode == 2
    assert ended.stderr.startswith("python -m example_app: --data ")
    assert ended.stderr.count("\n") == 1


def test_a_number_that_is_no_port_is_refused(tmp_path: Path) -> None:
    ended = run(tmp_path / "demo", "--port", "70000")
    assert ended.returncode == 2
    assert "--port" in ended.stderr


def run(data: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "example_app", "--data", str(data), *options],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
