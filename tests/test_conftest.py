"""The rules in conftest.py are protections, so each is seen to bite."""

from __future__ import annotations

import itertools
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading

import pytest

from tests.loopback import LoopbackOnly
from tests.waiting import wait_until

SKIPPING = """
import pytest

def test_skips():
    pytest.skip("not today")

@pytest.mark.skip(reason="never")
def test_marked():
    pass

@pytest.mark.xfail(raises=ZeroDivisionError, strict=True)
def test_expected_failure():
    1 / 0
"""
WITHOUT_REDIS = "def test_redis(redis_url): pass\n"
SWALLOWING = """
import socket

def test_swallows():
    try:
        socket.create_connection(("192.0.2.1", 80))
    except BaseException:
        pass
"""


def run_pytest(folder: pathlib.Path, source: str, **environ: str) -> tuple[int, str]:
    """Run `source` as a test beside a copy of this folder's rules; its exit code and output."""
    rules = pathlib.Path(__file__).parent
    copy = folder / "tests"
    copy.mkdir()
    for name in (
        "__init__",
        "conftest",
        "garbage",
        "loopback",
        "once",
        "private",
        "requiring",
        "services",
        "table",
        "waiting",
    ):
        shutil.copy(rules / f"{name}.py", copy)
    (copy / "test_it.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\naddopts = -p no:cacheprovider\n")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("S2S_TEST_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", str(copy)],
        cwd=folder,
        env=clean | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


class TestLoopbackGuard:
    # 192.0.2.0/24 is reserved for documentation: nothing answers there even if the guard is broken.
    def test_a_connection_off_this_machine_is_refused(self, loopback_only: LoopbackOnly) -> None:
        with (
            loopback_only.expecting_refusals() as refused,
            socket.socket() as sock,
            pytest.raises(AssertionError, match=r"connect to 192\.0\.2\.1 port 443"),
        ):
            sock.connect(("192.0.2.1", 443))
        assert refused == ["connect to 192.0.2.1 port 443"]

    def test_a_datagram_off_this_machine_is_refused(self, loopback_only: LoopbackOnly) -> None:
        with (
            loopback_only.expecting_refusals(),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
            pytest.raises(AssertionError, match="connect to"),
        ):
            sock.sendto(b"hello", ("192.0.2.1", 53))

    @pytest.mark.parametrize("host", ["partnerlinks.io", "api.partnerstack.com", "test.io"])
    def test_looking_up_a_live_name_is_refused(
        self, host: str, loopback_only: LoopbackOnly
    ) -> None:
        with loopback_only.expecting_refusals():
            with pytest.raises(AssertionError, match="look up"):
                socket.getaddrinfo(host, 443)

    @pytest.mark.parametrize("address", ["127.0.0.1", "127.4.5.6"])
    def test_loopback_is_reached(self, address: str) -> None:
        with socket.create_server((address, 0)) as server:
            with socket.create_connection(server.getsockname(), timeout=5) as client:
                assert client.getpeername() == server.getsockname()

    def test_a_unix_socket_is_reached(self, tmp_path: pathlib.Path) -> None:
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(str(tmp_path / "socket"))
            server.listen()
            client.connect(str(tmp_path / "socket"))
            assert client.getpeername() == str(tmp_path / "socket")

    def test_a_refusal_that_the_code_swallows_still_fails_the_test(
        self, tmp_path: pathlib.Path
    ) -> None:
        code, output = run_pytest(tmp_path, SWALLOWING)
        assert code == 1
        assert "connect to 192.0.2.1 port 80" in output


class TestRequiredServices:
    def test_skips_are_skips_by_default(self, tmp_path: pathlib.Path) -> None:
        code, output = run_pytest(tmp_path, SKIPPING)
        assert code == 0
        assert "2 skipped, 1 xfailed" in output

    def test_where_everything_is_required_every_skip_fails(self, tmp_path: pathlib.Path) -> None:
        code, output = run_pytest(tmp_path, SKIPPING, S2S_TEST_REQUIRE="all")
        assert code == 1
        assert "1 failed, 1 xfailed, 1 error" in output
        assert "never" in output
        assert "not today" in output

    def test_a_module_that_skips_itself_fails_too(self, tmp_path: pathlib.Path) -> None:
        source = "import pytest\npytest.importorskip('no_such_module')\ndef test_it(): pass\n"
        code, output = run_pytest(tmp_path, source, S2S_TEST_REQUIRE="all")
        assert code != 0
        assert "forbids to skip" in output

    def test_a_missing_service_skips_and_says_what_to_set(self, tmp_path: pathlib.Path) -> None:
        code, output = run_pytest(tmp_path, WITHOUT_REDIS, S2S_TEST_REDIS=nothing_listens())
        assert code == 0
        assert "needs redis" in output
        assert "Set S2S_TEST_REDIS" in output

    @pytest.mark.parametrize(("names", "expected"), [("mariadb, Redis", 1), ("mariadb", 0)])
    def test_a_missing_service_fails_where_it_is_required_by_name(
        self, names: str, expected: int, tmp_path: pathlib.Path
    ) -> None:
        code, _ = run_pytest(
            tmp_path, WITHOUT_REDIS, S2S_TEST_REDIS=nothing_listens(), S2S_TEST_REQUIRE=names
        )
        assert code == expected


def nothing_listens() -> str:
    """The address of a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"redis://127.0.0.1:{server.getsockname()[1]}/0"


class TestWaiting:
    def test_the_answer_is_returned_once_it_is_true(self) -> None:
        numbers = itertools.count(-2)
        assert wait_until(lambda: next(numbers), interval=0.001) == -2

    def test_a_falsy_answer_is_asked_again(self) -> None:
        numbers = iter([0, None, "here"])
        assert wait_until(lambda: next(numbers), interval=0.001) == "here"

    def test_another_threads_work_is_seen(self) -> None:
        done = threading.Event()
        threading.Thread(target=done.set).start()
        assert wait_until(done.is_set) is True

    def test_giving_up_says_what_was_waited_for_and_the_last_answer(self) -> None:
        with pytest.raises(AssertionError, match=r"the customer: .* last answer 0"):
            wait_until(lambda: 0, timeout=0.01, what="the customer")

    def test_a_condition_is_asked_even_when_there_is_no_time(self) -> None:
        assert wait_until(lambda: 7, timeout=0) == 7
