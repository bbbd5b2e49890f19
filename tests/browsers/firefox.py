"""Firefox, driven by Marionette; its settings are written before it starts."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from tests.browsers.marionette import Marionette
from tests.waiting import PATIENCE, wait_until

Settings = Mapping[str, bool | int | str]

COMMON: Settings = {
    "marionette.port": 0,  # a free one, which it writes into a file
    "remote.prefs.recommended": False,  # they would make another browser of it
    # The two sites are on this machine; everything else goes to a proxy that nobody is.
    "network.dns.localDomains": "shop.test,partner.test",
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.share_proxy_settings": True,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "network.proxy.no_proxies_on": "shop.test,partner.test",
    "browser.aboutwelcome.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
}
BLOCKED: Settings = {"network.cookie.cookieBehavior": 2}
CLEARED_ON_EXIT: Settings = {
    "privacy.sanitize.sanitizeOnShutdown": True,
    "privacy.clearOnShutdown.cookies": True,
    "privacy.clearOnShutdown_v2.cookiesAndStorage": True,
}
STRICT: Settings = {
    "browser.contentblocking.category": "strict",
    "privacy.query_stripping.enabled": True,
    "privacy.query_stripping.strip_list": "ps_xid gsxid",
}
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Firefox:
    """One profile of Firefox."""

    def __init__(self, path: str, folder: Path, settings: Settings) -> None:
        self._profile = folder / "profile"
        self._profile.mkdir(parents=True)
        lines = [
            f"user_pref({json.dumps(name)}, {json.dumps(value)});"
            for name, value in {**COMMON, **settings}.items()
        ]
        (self._profile / "user.js").write_text("\n".join(lines))
        self._log = folder / "firefox.log"
        self._home = folder
        self._command = [path, "--headless", "--no-remote", "--new-instance", "--marionette"]
        self._command += ["--remote-allow-system-access", "--profile", str(self._profile)]
        self._process: subprocess.Popen[bytes] | None = None
        self._remote: Marionette | None = None

    def start(self) -> None:
        assert self._process is None, "it runs already"
        said = self._profile / "MarionetteActivePort"
        said.unlink(missing_ok=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=os.environ | {"HOME": str(self._home)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        port = wait_until(lambda: self._port(said), PATIENCE, what="Firefox's port")
        self._remote = Marionette(port, PATIENCE)
        self._remote.tell("WebDriver:NewSession", acceptInsecureCerts=True)

    def stop(self) -> None:
        process, remote = self._process, self._remote
        self._process = self._remote = None
        if process is None:
            return
        try:
            if remote is not None:
                with closing(remote):
                    remote.tell("Marionette:Quit", flags=["eAttemptQuit"])
                process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait(PATIENCE)

    @property
    def url(self) -> str:
        url: str = self.remote.tell("WebDriver:GetCurrentURL")["value"]
        return url

    @property
    def title(self) -> str:
        title: str = self.remote.tell("WebDriver:GetTitle")["value"]
        return title

    @property
    def remote(self) -> Marionette:
        """The connection that controls it."""
        assert self._remote is not None, "it does not run"
        return self._remote

    def type(self, url: str) -> None:
        self.remote.tell("WebDriver:Navigate", url=url)

    def follow(self, label: str) -> None:
        link = f"//a[normalize-space()={json.dumps(label)}]"
        self.remote.tell("WebDriver:ElementClick", id=self._find("xpath", link))

    def send(self, **fields: str) -> None:
        for name, value in fields.items():
            field = self._find("css selector", f"#{name}")
            self.remote.tell("WebDriver:ElementSendKeys", id=field, text=value)
        button = self._find("css selector", "main form button")
        self.remote.tell("WebDriver:ElementClick", id=button)

    def reload(self) -> None:
        self.remote.tell("WebDriver:Refresh")

    def back(self) -> None:
        self.remote.tell("WebDriver:Back")

    def settle(self) -> None:
        def is_complete() -> bool:
            script = "return document.readyState"
            state = self.remote.tell("WebDriver:ExecuteScript", script=script, args=[])["value"]
            return bool(state == "complete")

        wait_until(is_complete, PATIENCE, what="the page is there")

    def forget(self) -> None:
        self.remote.tell("Marionette:SetContext", value="chrome")
        script = "Services.cookies.removeAll(); return Services.cookies.cookies.length"
        left = self.remote.tell("WebDriver:ExecuteScript", script=script, args=[])["value"]
        self.remote.tell("Marionette:SetContext", value="content")
        assert left == 0

    def _find(self, using: str, value: str) -> str:
        found = self.remote.tell("WebDriver:FindElement", using=using, value=value)
        reference: str = found["value"][ELEMENT]
        return reference

    def _port(self, said: Path) -> int:
        assert self._process is not None
        assert self._process.poll() is None, f"Firefox ended by itself:\n{self._log.read_text()}"
        text = said.read_text() if said.exists() else ""
        return int(text or 0)
