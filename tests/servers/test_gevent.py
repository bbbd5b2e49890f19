"""Under gevent, a driver that holds its thread while it waits holds no page.

The database is real; the driver is made one that is written in C: before a statement it waits for the
parent, in a way that gevent does not see. Or one whose waiting gevent does see, for a peer that never
answers.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from select import select

import pytest

SCRIPT = """
from gevent import monkey
monkey.patch_all()

import os
import sys
import gevent
from flask import Flask
from sqlalchemy import Engine, event
from flask_s2s import S2S, Click
from flask_s2s.testing import ScriptedTransport

url, statement, page, end = sys.argv[1:]
consent = "granted"
app = Flask("shop")
app.config.update(
    SECRET_KEY="for-tests-only-0123456789", S2S_TOKEN="token", S2S_DATABASE_URI=url,
    S2S_WORKER="external", S2S_RECORD_WAIT=0.05, S2S_CONSENT=lambda environ: consent,
)
s2s = S2S(app, transport=ScriptedTransport())
services = app.extensions["s2s"]
services.storage.create()

@app.get("/")
def landing():
    return "hello"

@app.get("/signup")
def signup():
    s2s.track_signup(customer_key="cus-7", session=None)
    return "welcome"

@app.get("/identify")
def identify():
    s2s.identify(email="ada@example.com", session=None)
    return "thanks"

client = app.test_client()
client.get("/?ps_xid=before")

inside = []

@event.listens_for(Engine, "before_cursor_execute")
def wait(connection, cursor, executed, *rest):
    if executed.startswith(statement):
        inside.append(executed)
        while end == "never":
            try:
                gevent.sleep(0.001)
            except SystemExit:
                print("left", flush=True)
                raise
        os.read(0, 1)

if page == "/denied":
    consent, page = "denied", "/"
print(client.get(page).status_code, flush=True)
while end == "never" and not inside:
    gevent.sleep(0.001)
if end == "after":
    os.read(0, 1)
    services.recorder.background.close(60)
    print(services.recorder.background.pending, flush=True)
    os._exit(0)
"""

PAGES = [
    pytest.param("INSERT INTO s2s_click", "/?ps_xid=abc", id="a landing"),
    pytest.param("DELETE FROM s2s_click", "/denied", id="a denial"),
    pytest.param("INSERT INTO s2s_delivery", "/signup", id="a report"),
    pytest.param("INSERT INTO s2s_binding", "/identify", id="a binding"),
]


def serve(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    script = folder / "shop.py"
    script.write_text(SCRIPT, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", str(script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def first_line(child: subprocess.Popen[str]) -> str:
    """Return what a process says first; end one that says nothing."""
    assert child.stdout is not None
    if not select([child.stdout], [], [], 30)[0]:
        child.kill()
    return child.stdout.readline()


@pytest.mark.service
@pytest.mark.parametrize(("statement", "page"), PAGES)
def test_a_driver_that_waits_holds_no_page(
    postgresql_url: str, tmp_path: Path, statement: str, page: str
) -> None:
    with serve(tmp_path, postgresql_url, statement, page, "after") as child:
        # It comes while the driver still waits: whom the driver held would say nothing yet.
        said = first_line(child)
        rest, _ = child.communicate(timeout=240)
    assert (said, rest, child.returncode) == ("200\n", "0\n", 0)


@pytest.mark.parametrize("run", range(2))
@pytest.mark.parametrize(("statement", "page"), PAGES[2:])
@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_a_process_ends_whose_last_write_is_late(
    database_url: str, tmp_path: Path, statement: str, page: str, run: int
) -> None:
    with serve(tmp_path, database_url, statement, page, "at once") as child:
        said = first_line(child)
        try:
            # It ends meanwhile, and the thread that writes tells one that waits at its end.
            child.communicate(timeout=240)
        finally:
            child.kill()
    assert (said, child.returncode) == ("200\n", 0)


@pytest.mark.service
def test_a_process_ends_whose_last_write_waits_for_ever(
    postgresql_url: str, tmp_path: Path
) -> None:
    with serve(
        tmp_path, postgresql_url, *("INSERT INTO s2s_click", "/?ps_xid=abc"), "never"
    ) as child:
        said = first_line(child)
        try:
            rest, _ = child.communicate(timeout=240)
        finally:
            child.kill()
    # A thread that was still in there while the interpreter ended took the process with it, mostly.
    assert (said, rest, child.returncode) == ("200\n", "left\n", 0)


THREADS = """
from gevent import monkey
monkey.patch_all()

import os
import gevent
from flask_s2s import threads

def run():
    for _ in range(20):
        assert threads.start(lambda: gevent.sleep(0), "some").pause(60)
    return len(os.listdir("/proc/self/fd"))

print(run() == run())
"""


def test_threads_that_ended_hold_no_files() -> None:
    done = subprocess.run(
        [sys.executable, "-c", THREADS], capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
