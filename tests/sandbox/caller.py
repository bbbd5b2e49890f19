"""A client of the stand-in in process: follows links, posts conversions, calls the vendor API."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flask import Flask
from werkzeug.test import TestResponse

KEYS = ("pk_sandbox", "sk_sandbox")
TEST_KEYS = ("pk_sandbox_test", "sk_sandbox_test")


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **span: float) -> None:
        self.now += timedelta(**span)

    @property
    def milliseconds(self) -> int:
        return round(self.now.timestamp() * 1000)


class Caller:
    """Calls one stand-in through its front door."""

    def __init__(self, app: Flask, clock: Clock) -> None:
        self.http = app.test_client()
        self.clock = clock

    def click(self, partner: str = "ada", query: str = "") -> str:
        """Follow a partner's link and return the click ID of the landing URL."""
        location = self.http.get(f"/go/{partner}?{query}").headers["Location"]
        return parse_qs(urlsplit(location).query)["ps_xid"][0]

    def convert(
        self, xid: str, key: str, *, token: str = "sandbox-token", **more: Any
    ) -> TestResponse:
        """Post a conversion."""
        return self.http.post(
            "/conversion/xid",
            json={"xid": xid, "customer_key": key, **more},
            headers={"Authorization": f"Bearer {token}"},
        )

    def api(
        self, method: str, path: str, *, keys: tuple[str, str] = KEYS, **more: Any
    ) -> TestResponse:
        """Call the vendor API."""
        return self.http.open(f"/api/v2{path}", method=method, auth=keys, **more)

    def read(self, key: str, *, keys: tuple[str, str] = KEYS) -> dict[str, Any]:
        """Return a customer as the vendor API shows it."""
        answer = self.api("GET", f"/customers/{key}", keys=keys).get_json()
        data: dict[str, Any] = answer["data"]
        return data

    def switch(self, **switches: Any) -> TestResponse:
        """Set the switches; those left out go back to their defaults."""
        return self.http.put("/sandbox/faults", json=switches)

    def ledger(self) -> dict[str, Any]:
        """Return the network's own record."""
        record: dict[str, Any] = self.http.get("/sandbox/ledger").get_json()
        return record
