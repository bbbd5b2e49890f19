"""Real sites of other frameworks: from a partner's link to the customer credited, over HTTP."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.recording.rows import conversions
from tests.servers.network import StandIn
from tests.servers.running import PATIENCE, Kind, Server, environment
from tests.waiting import wait_until
from tests.wsgi.visitor import Visitor

pytestmark = pytest.mark.slow

SETTINGS = {"SECRET_KEY": "a-key-for-tests-only-0123456789", "S2S_TOKEN": "sandbox-token"}
#: The module that makes each site, and the file that its outbox is in.
SITES = {
    "bottle": ("tests.wsgi.bottle_site", "flask_s2s.sqlite3"),
    "pyramid": ("tests.wsgi.pyramid_site", "site.sqlite3"),
    "django": ("shop.wsgi", "flask_s2s.sqlite3"),
}
Serve = Callable[[str, str], Server]


@pytest.fixture
def network() -> Iterator[StandIn]:
    network = StandIn()
    yield network
    network.close()


@pytest.fixture
def serve(tmp_path: Path, network: StandIn) -> Iterator[Serve]:
    """Serves a module's `application` on one of the servers; `serve("shop.wsgi", "waitress")`."""
    servers: list[Server] = []

    def start(module: str, server: str) -> Server:
        command = [sys.executable, "-m", "tests.wsgi.serving", module, server]
        settings = {"S2S_PARTNERSTACK_URL": network.url, "FOLDER": str(tmp_path), **SETTINGS}
        kind = Kind(lambda port: [*command, str(port)])
        servers.append(Server(kind, tmp_path, settings))
        return servers[-1].wait()

    yield start
    for server in servers:
        server.kill()


def start_project(folder: Path) -> None:
    """Make a stock Django project, put our three files into it, and make its tables."""
    django = [sys.executable, "-m", "django", "startproject", "shop", str(folder)]
    subprocess.run(django, check=True, timeout=PATIENCE)
    for name in ("tracking.py", "urls.py", "wsgi.py"):
        shutil.copy(Path(__file__).with_name("django_project") / name, folder / "shop" / name)
    migrate = [sys.executable, str(folder / "manage.py"), "migrate", "--verbosity=0"]
    settings = {"S2S_TOKEN": "x", "S2S_PARTNERSTACK_URL": "http://127.0.0.1:9"}
    subprocess.run(migrate, check=True, timeout=PATIENCE, env=environment(settings))


def recorded(folder: Path, name: str) -> list[str]:
    """Return the customer keys in a site's outbox."""
    return [key for key, _ in conversions(f"sqlite:///{folder / SITES[name][1]}")]


def customer_of(answer_text: str) -> str:
    greeting, _, key = answer_text.partition(" ")
    assert greeting == "welcome", answer_text
    return key


@pytest.mark.parametrize("server", ["wsgiref", "waitress"])
@pytest.mark.parametrize("name", SITES)
def test_a_visitor_who_signs_up_is_credited_once(
    serve: Serve, network: StandIn, tmp_path: Path, name: str, server: str
) -> None:
    if name == "django":
        start_project(tmp_path)
    running = serve(SITES[name][0], server)
    proxied = server == "waitress"
    visitor = Visitor(running, proxied=proxied)
    assert visitor.get("/").text == "click: None"

    click = visitor.land(network)
    assert visitor.get("/").text == f"click: {click}"
    assert "path=/; httponly" in visitor.set_cookie
    assert ("; domain=shop.localhost; secure" in visitor.set_cookie) is proxied
    assert ("domain" in visitor.set_cookie) is proxied

    key = customer_of(visitor.sign_up("grace").text)
    wait_until(lambda: key in network.ledger()["accepted_posts"], PATIENCE, what="the delivery")
    network.expect_credited_once(key)
    assert recorded(tmp_path, name) == [key]

    stranger = Visitor(running, proxied=proxied)
    assert stranger.get("/").text == "click: None"
    assert "s2s" not in stranger.cookies
    assert running.get("/modules").text == "no flask"
    assert running.complaints() == []
    assert "garbage collected without being closed" not in running.output()


@pytest.mark.parametrize(
    ("name", "taken_back"), [("django", "taken-back"), ("pyramid", "taken back")]
)
def test_a_rollback_in_the_sites_transaction_records_nothing(
    serve: Serve, network: StandIn, tmp_path: Path, name: str, taken_back: str
) -> None:
    if name == "django":
        start_project(tmp_path)
    visitor = Visitor(serve(SITES[name][0], "wsgiref"), proxied=False)
    visitor.land(network)
    assert visitor.sign_up(taken_back).text == "sorry"
    assert recorded(tmp_path, name) == []
    key = customer_of(visitor.sign_up("grace").text)
    assert recorded(tmp_path, name) == [key]


def test_a_form_that_django_shows_again_records_nothing(
    serve: Serve, network: StandIn, tmp_path: Path
) -> None:
    start_project(tmp_path)
    visitor = Visitor(serve("shop.wsgi", "wsgiref"), proxied=False)
    visitor.land(network)
    visitor.sign_up("grace")
    again = visitor.sign_up("grace")
    assert "already exists" in again.text
    assert len(recorded(tmp_path, "django")) == 1


def test_flasks_pages_keep_to_the_protocol(serve: Serve, network: StandIn) -> None:
    running = serve("tests.wsgi.flask_site", "wsgiref")
    visitor = Visitor(running, proxied=False)
    assert visitor.get("/").text == "click: None"
    click = visitor.land(network)
    assert visitor.get("/").text == f"click: {click}"
    assert visitor.get("/missing").status_code == 404
    assert running.complaints() == []
    assert "garbage collected without being closed" not in running.output()
