"""A site whose conversions reach the stand-in network in process, on a clock that is set."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flask import Flask
from werkzeug.test import Client

from flask_s2s import Click, Delivery, Services, Settings, Status
from flask_s2s.clock import Clock
from flask_s2s.conversion import Conversion
from flask_s2s.errors import TransportError
from flask_s2s.networks.messages import Request, Response, Transport
from flask_s2s.sandbox import create_sandbox
from flask_s2s.store.outbox.ledger import Attempt
from flask_s2s.testing import ManualClock

ADDRESS = "http://127.0.0.1:5001"
CONFIG = {
    # However loaded the machine is, a report is there when the call returns.
    "S2S_RECORD_WAIT": 60,
    "SECRET_KEY": "a-key-for-tests-only-0123456789",
    "S2S_TOKEN": "sandbox-token",
    "S2S_PARTNERSTACK_URL": ADDRESS,
    "S2S_PARTNERSTACK_API_URL": f"{ADDRESS}/api/v2",
}
KEYS = {
    "S2S_PARTNERSTACK_PUBLIC_KEY": "pk_sandbox",
    "S2S_PARTNERSTACK_SECRET_KEY": "sk_sandbox",
}


class WsgiTransport:
    """Sends to a WSGI app in this process: for tests against the sandbox without a socket."""

    def __init__(self, app: Callable[..., object]) -> None:
        self._client = Client(app)  # type: ignore[arg-type]

    def send(self, request: Request, *, seconds: float) -> Response:
        try:
            answer = self._client.open(
                urlsplit(request.url).path,
                query_string=urlsplit(request.url).query,
                base_url="http://127.0.0.1",
                method=request.method,
                headers=dict(request.headers),
                data=request.content,
                content_type=None if request.body is None else request.content_type,
            )
        except (TimeoutError, ConnectionError) as error:
            # How an app in the same process shows a network's silence.
            raise TransportError("no answer", sent=True) from error
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(status=answer.status_code, headers=headers, body=answer.get_data())


class Line:
    """The wire to the stand-in: it tells lost answers as HTTP would, and can be cut or answer."""

    def __init__(self, app: Flask) -> None:
        self._wire = WsgiTransport(app)
        self.requests: list[Request] = []
        #: Answers instead of the network, or raises, where it returns something.
        self.instead: Callable[[Request], Response | None] = lambda request: None

    def send(self, request: Request, *, seconds: float) -> Response:
        self.requests.append(request)
        answer = self.instead(request)
        if answer is not None:
            return answer
        try:
            return self._wire.send(request, seconds=seconds)
        except (TimeoutError, ConnectionResetError) as error:
            raise TransportError("no answer", sent=True) from error

    def asked(self, path: str) -> list[Request]:
        """Return what was sent to this path, by the end of it."""
        return [one for one in self.requests if urlsplit(one.url).path.endswith(path)]

    def cut_api(self) -> None:
        """Let nothing reach the vendor API."""

        def refuse(request: Request) -> None:
            if "/api/" in request.url:
                raise TransportError("could not connect", sent=False)

        self.instead = refuse

    def mend(self) -> None:
        self.instead = lambda request: None


class Site:
    """One advertiser's services, and the network as it sees itself."""

    def __init__(
        self,
        url: str,
        *,
        keys: bool = True,
        network_clock: ManualClock | None = None,
        **config: object,
    ) -> None:
        """`network_clock` is the network's own: without it both have one."""
        self.clock = ManualClock()
        self.sandbox = create_sandbox(now=(network_clock or self.clock).now)
        self.http = self.sandbox.test_client()
        self.line = Line(self.sandbox)
        self.url = url
        self.config: dict[str, object] = {**CONFIG, **(KEYS if keys else {}), **config}
        self._open: list[Services] = []
        self.services = self.another()

    def another(
        self, transport: Transport | None = None, clock: Clock | None = None, /, **config: object
    ) -> Services:
        """Return the services of another process of the site."""
        settings = Settings.from_mapping({**self.config, "S2S_DATABASE_URI": self.url, **config})
        services = Services.build(
            settings, transport=transport or self.line, clock=clock or self.clock
        )
        services.storage.create()
        services.supervisor.prepare()
        self._open.append(services)
        return services

    def close(self) -> None:
        for services in self._open:
            services.storage.engine().dispose()

    # -- what happens -------------------------------------------------------------------------

    def click(self) -> Click:
        """Follow a partner's link."""
        location = self.http.get("/go/ada").headers["Location"]
        xid = parse_qs(urlsplit(location).query)["ps_xid"][0]
        return Click(click_id=xid, at=self.clock.now())

    def sign_up(self, key: str | int = "42", click: Click | None = None) -> Delivery:
        delivery = self.services.track_signup(customer_key=key, click=click or self.click())
        assert delivery
        return delivery

    def track(self, conversion: Conversion) -> Delivery:
        delivery = self.services.track(conversion)
        assert delivery
        return delivery

    def after(self, **span: float) -> int:
        """Let time pass, then do all that is due."""
        self.clock.advance(timedelta(**span))
        return self.services.drain()

    def switch(self, **switches: Any) -> None:
        answer = self.http.put("/sandbox/faults", json=switches)
        assert answer.status_code == 200, answer.get_json()

    def forget(self, key: str) -> None:
        """Let the network lose a customer."""
        answer = self.http.delete(f"/api/v2/customers/{key}", auth=tuple(KEYS.values()))
        assert answer.status_code == 200

    # -- what is ------------------------------------------------------------------------------

    def row(self, delivery: Delivery) -> Delivery:
        return self._found(delivery)[0]

    def status(self, delivery: Delivery) -> Status:
        return self.row(delivery).status

    def detail(self, delivery: Delivery) -> str:
        return self.row(delivery).detail or ""

    def attempts(self, delivery: Delivery) -> list[Attempt]:
        return self._found(delivery)[1]

    def ledger(self) -> dict[str, Any]:
        ledger: dict[str, Any] = self.http.get("/sandbox/ledger").get_json()
        return ledger

    def _found(self, delivery: Delivery) -> tuple[Delivery, list[Attempt]]:
        found = self.services.ledger.get(delivery.id)
        assert found is not None
        return found
