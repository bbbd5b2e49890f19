"""Other sites in the developer's browser can neither read the stand-in nor write to it."""

import pytest

from flask_s2s.sandbox import create_sandbox
from tests.sandbox.caller import Caller


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:5001", "127.0.0.1:80", "127.9.9.9", "[::1]:5001", "partner.test:5001"],
)
def test_names_of_this_machine_are_served(caller: Caller, host: str) -> None:
    assert caller.http.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "192.168.1.7", "0.0.0.0", "test", "a b", "x@[::1]"],
)
@pytest.mark.parametrize("path", ["/", "/go/ada", "/sandbox/ledger", "/api/v2/customers"])
def test_foreign_names_are_refused(caller: Caller, host: str, path: str) -> None:
    assert caller.http.get(path, headers={"Host": host}).status_code == 400


def test_further_names_can_be_allowed() -> None:
    app = create_sandbox(allowed_hosts=["Network.Internal"])

    answer = app.test_client().get("/", headers={"Host": "network.internal:5001"})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:5000"},
        {"Origin": "https://localhost"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    ],
)
@pytest.mark.parametrize(
    "path", ["/sandbox/reset", "/sandbox/empty", "/sandbox/tokens", "/sandbox/faults"]
)
def test_writes_from_other_sites_are_refused(
    caller: Caller, path: str, headers: dict[str, str]
) -> None:
    caller.click()

    answer = caller.http.post(path, data={"name": "x"}, headers=headers)

    assert answer.status_code == 403
    assert len(caller.ledger()["clicks"]) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://localhost"},
    ],
)
def test_writes_from_its_own_pages_and_from_programs_work(
    caller: Caller, headers: dict[str, str]
) -> None:
    caller.click()

    caller.http.post("/sandbox/empty", headers=headers)

    assert caller.ledger()["clicks"] == []


def test_pages_run_nothing_and_cannot_be_framed(caller: Caller) -> None:
    headers = caller.http.get("/").headers

    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_redirect_does_not_take_the_partners_referrer_away(caller: Caller) -> None:
    assert "Referrer-Policy" not in caller.http.get("/go/ada").headers
