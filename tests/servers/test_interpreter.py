"""A script that imports the site, and the end of one that served."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.servers.running import PATIENCE, ROOT, environment
from tests.servers.shop import Shop

pytestmark = pytest.mark.slow

IMPORTS = """
import threading
from tests.servers.site import create_app
app = create_app()
with app.app_context():
    app.extensions["s2s"].supervisor.summary()
print([thread.name for thread in threading.enumerate()])
"""
SERVES = """
from tests.servers.site import create_app
app = create_app()
assert app.test_client().get("/").text == "a page"
assert app.extensions["s2s"].supervisor.embedded.alive
{end}
"""


def run(shop: Shop, script: str) -> subprocess.CompletedProcess[str]:
    settings = {**shop.settings, "S2S_DATABASE_URI": shop.url}
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        cwd=ROOT,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_a_script_that_only_imports_and_looks_starts_no_thread(shop: Shop) -> None:
    ended = run(shop, IMPORTS)
    assert (ended.stdout.strip(), ended.stderr, ended.returncode) == ("['MainThread']", "", 0)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("raise SystemExit(3)", 3),
        ("import os; os.fork() or app.test_client().get('/')", 0),
    ],
    ids=["its-end", "an-exit", "a-fork"],
)
def test_an_end_says_nothing(shop: Shop, end: str, code: int) -> None:
    ended = run(shop, SERVES.format(end=end))
    assert (ended.stderr, ended.returncode) == ("", code)
