"""A site's app with a runner for its commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from flask_s2s import S2S, Click, Delivery, Services
from flask_s2s.cli import s2s
from flask_s2s.testing import ManualClock, ScriptedTransport
from tests.cli.runner import cli_runner


class Site:
    """One app, its clock and its network."""

    def __init__(self, folder: Path, **config: object) -> None:
        self.clock = ManualClock()
        self.network = ScriptedTransport()
        self.app = Flask("site", instance_path=str(folder))
        own = {"SECRET_KEY": "for-tests-only-0123456789", "S2S_TOKEN": "tok"}
        self.app.config.update({**own, **config})
        S2S(self.app, clock=self.clock, transport=self.network)
        self.services: Services = self.app.extensions["s2s"]

    def sign_up(self, key: str | int = "42", click_id: str = "click1", **fields: Any) -> Delivery:
        self.services.supervisor.prepare()
        click = Click(click_id=click_id, at=self.clock.now())
        delivery = self.services.track_signup(customer_key=key, click=click, **fields)
        assert delivery
        return delivery

    def drain(self) -> int:
        return self.services.drain()

    def run(self, *command: str, **options: Any) -> Result:
        """Run `flask s2s ...` in this process."""
        return cli_runner(self.app).invoke(s2s, list(command), **options)

    def close(self) -> None:
        self.services.storage.engine().dispose()


@pytest.fixture
def open_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    opened: list[Site] = []

    def open_site(**config: object) -> Site:
        opened.append(Site(tmp_path, **config))
        return opened[-1]

    yield open_site
    for site in opened:
        site.close()


@pytest.fixture
def site(open_site: Callable[..., Site]) -> Site:
    return open_site()
