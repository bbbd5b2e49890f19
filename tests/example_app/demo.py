"""`python -m example_app` as a process of its own: started, killed, started again on the same files."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests

import example_app
from tests.example_app.visitor import ADA
from tests.waiting import wait_until

#: The folder that has `example_app`, wherever the tests are run from.
ROOT = Path(example_app.__file__).parents[1]
ADDRESSES = re.compile(r"(http://127\.0\.0\.1:\d+/)$", re.MULTILINE)

#: Seconds; a loaded machine is slow to start Python, and a lease has to run out.
PATIENCE = 60.0


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without settings that would reach the site."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLASK_")}
    return kept | changes


class Demo:
    """The site and the stand-in network. `data` has their files."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.site = self.network = ""
        self._ports = ("0", "0")
        self._process: subprocess.Popen[bytes] | None = None
        self._log = data.with_suffix(".log")

    def start(self, **env: str) -> None:
        """Start both, on the ports of the first start if there was one."""
        site, network = self._ports
        command = [sys.executable, "-m", "example_app", "--port", site, "--sandbox-port", network]
        self._run([*command, "--data", str(self.data)], env)
        wait_until(lambda: len(self._greeted()) == 2, PATIENCE, what="the greeting")
        self.site, self.network = self._greeted()
        self._ports = (self.site.split(":")[2].strip("/"), self.network.split(":")[2].strip("/"))

    def start_site_alone(self) -> None:
        """Start the site with Flask's own command, and no network where it looks for one."""
        factory = f"example_app:create_app(data={str(self.data)!r})"
        command = [sys.executable, "-m", "flask", "--app", factory, "run", "--port", self._ports[0]]
        self._run(command, {"FLASK_S2S_PARTNERSTACK_URL": self.network})
        wait_until(self._site_answers, PATIENCE, what="the site alone")

    def kill(self) -> None:
        """End it as a power failure would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; return its exit code."""
        return self._end(number)

    def ledger(self) -> dict[str, Any]:
        """Return the network's record."""
        answer = requests.get(f"{self.network}sandbox/ledger", timeout=PATIENCE)
        answer.raise_for_status()
        record: dict[str, Any] = answer.json()
        return record

    def set_faults(self, **switches: object) -> None:
        """Set the network's switches; none given: everything works."""
        answer = requests.put(f"{self.network}sandbox/faults", json=switches, timeout=PATIENCE)
        answer.raise_for_status()

    def output(self) -> str:
        """Return what the running one has printed."""
        return self._log.read_text()

    def _run(self, command: list[str], env: dict[str, str]) -> None:
        assert self._process is None, "it runs already"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment(**env), stdout=log, stderr=subprocess.STDOUT
            )

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(number)
        return process.wait(PATIENCE)

    def _assert_runs(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, f"it ended by itself:\n{self.output()}"

    def _greeted(self) -> list[str]:
        self._assert_runs()
        return ADDRESSES.findall(self.output())

    def _site_answers(self) -> bool:
        self._assert_runs()
        try:
            return requests.get(self.site, timeout=PATIENCE).ok
        except requests.ConnectionError:
            return False


def follow_link_and_sign_up(demo: Demo, path: str = "signup") -> None:
    """Come by Ada's newsletter, and join by one of the ways in."""
    with requests.Session() as browser:
        follow_link(browser, demo)
        sign_up(browser, demo, path)


def follow_link(browser: requests.Session, demo: Demo) -> None:
    """Click Ada's link in her newsletter; it leads to the site."""
    landing = browser.get(f"{demo.network}go/ada?sid=newsletter", timeout=PATIENCE)
    assert landing.ok
    assert landing.url.startswith(demo.site)


def sign_up(browser: requests.Session, demo: Demo, path: str = "signup") -> None:
    """Join by one of the ways in."""
    answer = browser.post(
        f"{demo.site}{path}",
        data=ADA,
        headers={"Sec-Fetch-Site": "same-origin"},
        timeout=PATIENCE,
    )
    assert answer.url == f"{demo.site}welcome", answer.text
