"""No page waits for a broker, and none fails because of one."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from flask_s2s.integrations.hinting import Hints
from tests.integrations.brokers import free_port
from tests.integrations.conftest import ROOT, Site
from tests.waiting import wait_until

OpenSite = Callable[[str, str], Site]


class Line:
    """Something to send on, which is closed in the end."""

    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def hinting_threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("s2s-hint")


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A broker that accepts connections and never says a word."""
    accepted: list[socket.socket] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                accepted.append(listening.accept()[0])

    thread = threading.Thread(target=accept)
    thread.start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)
    for end in (*accepted, listening):
        end.close()


@pytest.mark.parametrize("broker", ["redis", "amqp"])
def test_pages_return_while_a_broker_answers_nobody(
    open_site: OpenSite, sqlite_url: str, silent_port: int, broker: str
) -> None:
    site = open_site(sqlite_url, f"{broker}://127.0.0.1:{silent_port}//")
    threads = hinting_threads()
    site.sign_up("1", "2", "3")
    assert hinting_threads() == threads + 1
    assert set(site.statuses().values()) == {"pending"}


@pytest.mark.parametrize("broker", ["redis", "amqp"])
def test_a_broker_that_is_not_there_is_said_once_and_without_its_address(
    open_site: OpenSite, sqlite_url: str, caplog: pytest.LogCaptureFixture, broker: str
) -> None:
    caplog.set_level(logging.DEBUG, "flask_s2s.hint")
    site = open_site(sqlite_url, f"{broker}://user:pass-word@127.0.0.1:{free_port()}//")
    site.sign_up("1", "2", "3")
    wait_until(lambda: "s2s.hint.failed" in caplog.text, 60)
    site.sign_up("4")
    hints = [record for record in caplog.records if record.name == "flask_s2s.hint"]
    assert [record.levelname for record in hints].count("WARNING") == 1
    assert "pass-word" not in caplog.text
    assert set(site.statuses().values()) == {"pending"}


def test_one_hint_stands_for_all_that_are_asked_for_while_another_is_on_its_way() -> None:
    began, may_end = threading.Semaphore(0), threading.Event()
    sent: list[object] = []
    line = Line()

    def send(connection: object) -> None:
        began.release()
        assert may_end.wait(60)
        sent.append(connection)

    hints = Hints(lambda: line, send)
    hints.ask()
    assert began.acquire(timeout=240)
    for _ in range(100):
        hints.ask()
    may_end.set()
    hints.leave()
    assert sent == [line, line]
    assert line.is_closed


def test_a_hint_that_failed_is_not_sent_again_and_the_next_one_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "flask_s2s.hint")
    tried: list[Line] = []

    def send(connection: Line) -> None:
        tried.append(connection)
        if len(tried) < 2:
            raise OSError("amqp://user:pass-word@host")

    hints = Hints(Line, send)
    hints.ask()
    wait_until(lambda: "s2s.hint.failed" in caplog.text)
    assert len(tried) == 1
    hints.ask()
    hints.leave()
    assert len(tried) == 2
    assert tried[0] is not tried[1], "a broken connection was used again"
    assert "s2s.hint.works_again" in caplog.text
    assert "pass-word" not in caplog.text


_FORKING = """
import os, sys, threading
from flask_s2s.integrations.hinting import Hints

class Line:
    def close(self): pass

began = threading.Event()
def send(line):
    began.set()
    if os.getpid() == parent:
        threading.Event().wait()      # the parent's thread is stuck for ever
    os.write(1, b"sent by the child")

parent = os.getpid()
hints = Hints(Line, send)
hints.ask()
began.wait()
with hints._lock:                     # as if another thread was just starting
    child = os.fork()
if child == 0:
    hints.ask()
    hints.leave()
    os._exit(0)
os.waitpid(child, 0)
os._exit(0)
"""


def test_a_forked_process_has_a_thread_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORKING],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    assert done.stdout == "sent by the child"
