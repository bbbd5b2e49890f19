"""Chromium, driven by Playwright; its profile is written before it starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Error, Page, Playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The two sites are on this machine, and there is no other.
    "--host-resolver-rules=MAP *.test 127.0.0.1,MAP * ~NOTFOUND,EXCLUDE 127.0.0.1",
]
#: Values of the content setting "cookies".
BLOCKED, CLEARED_ON_EXIT = 2, 4

#: What blockers do, with the means that they have: an extension with a rule.
BLOCKER = {
    "manifest_version": 3,
    "name": "Blocks third parties",
    "version": "1",
    "permissions": ["declarativeNetRequest"],
    "declarative_net_request": {
        "rule_resources": [{"id": "rules", "enabled": True, "path": "rules.json"}]
    },
}
RULES = [
    {
        "id": 1,
        "action": {"type": "block"},
        "condition": {"domainType": "thirdParty", "excludedResourceTypes": ["main_frame"]},
    }
]


class Chromium:
    """One profile of Chromium."""

    def __init__(
        self,
        playwright: Playwright,
        path: str,
        folder: Path,
        *,
        cookies: int | None = None,
        scripts: bool = True,
        blocks_third_parties: bool = False,
        flags: list[str] = FLAGS,
    ) -> None:
        self._chromium = playwright.chromium
        self._profile = folder / "profile"
        self._options: dict[str, Any] = {"executable_path": path, "java_script_enabled": scripts}
        self._flags = flags
        self._context: BrowserContext | None = None
        if cookies is not None:
            settings = {"profile": {"default_content_setting_values": {"cookies": cookies}}}
            (self._profile / "Default").mkdir(parents=True)
            (self._profile / "Default" / "Preferences").write_text(json.dumps(settings))
        if blocks_third_parties:
            extension = folder / "blocker"
            extension.mkdir(parents=True)
            (extension / "manifest.json").write_text(json.dumps(BLOCKER))
            (extension / "rules.json").write_text(json.dumps(RULES))
            self._flags = [*flags, f"--load-extension={extension}"]

    def start(self) -> None:
        assert self._context is None, "it runs already"
        self._context = self._chromium.launch_persistent_context(
            self._profile,
            headless=True,
            ignore_default_args=["--enable-automation", "--disable-extensions"],
            args=self._flags,
            ignore_https_errors=True,
            **self._options,
        )

    def stop(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            context.close()

    @property
    def url(self) -> str:
        return self.page.url

    @property
    def title(self) -> str:
        try:
            return self.page.title()
        except Error:  # it leads elsewhere just now
            return ""

    @property
    def page(self) -> Page:
        """Its one tab."""
        assert self._context is not None, "it does not run"
        return self._context.pages[0]

    def type(self, url: str) -> None:
        self.page.goto(url)

    def follow(self, label: str) -> None:
        self.page.get_by_role("link", name=label, exact=True).first.click()
        self.page.wait_for_load_state()

    def send(self, **fields: str) -> None:
        for name, value in fields.items():
            self.page.locator(f"#{name}").fill(value)
        self.page.locator("main form button").click()
        self.page.wait_for_load_state()

    def reload(self) -> None:
        self.page.reload()

    def back(self) -> None:
        self.page.go_back()

    def settle(self) -> None:
        self.page.wait_for_load_state()

    def forget(self) -> None:
        assert self._context is not None, "it does not run"
        self._context.clear_cookies()
