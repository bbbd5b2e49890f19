"""The tests that every network passes: inherit `NetworkContract` in a test of your own.

::

    class TestMine(NetworkContract):
        network = Mine
        config = {"S2S_MINE_KEY": "key-for-tests-only"}
        landings = {"click=abc123": "abc123"}
        accepted = answered(200, "OK")

Nothing is sent. The checks hold what the delivery relies on: a credential that leaves for its own
host only, an answer that is never taken for a yes that nobody said, and no answer that escapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

from ..click import Click
from ..click.formats import Clicks
from ..config.settings import Settings
from ..conversion import Action, Conversion, Reversal, Signup, Transaction
from ..networks.credentials import Credentials, OwnHostOnly
from ..networks.messages import (
    Accepted,
    Ambiguous,
    Duplicate,
    Request,
    Response,
    RetryLater,
    Secret,
    Unauthorised,
)
from ..networks.network import Network, Report, by_name, report_of
from ..networks.reading import Absent, Page, Present, Readable, Unknown

_NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
_KEY = "a-key-for-tests-only-0123456789"
#: Of each kind an example, the ones with every optional field apart.
_EXAMPLES: tuple[Conversion, ...] = (
    Signup(customer_key="42"),
    Signup(customer_key="a/ü %2F", email="ada@example.com", name="Ada", meta={"plan": "pro"}),
    Action(customer_key="42", type="activated", key="act-0001"),
    Transaction(customer_key="42", amount=1234, currency="USD", key="inv-0001"),
    Transaction(customer_key="42", amount=-500, currency="JPY", key="inv-0002", refunds="inv-0001"),
    Reversal(customer_key="42", transaction_key="inv-0001"),
)
#: What gateways, outages and attackers answer with.
_BODIES = (
    b"",
    b"OK",
    b"null",
    b"[]",
    b"{}",
    b'{"success": false}',
    b'{"error": "no"}',
    b"<html>Maintenance</html>",
    b"\xff\xfe\x00",
    b"[" * 5000,
    b'{"data": {"items": [null], "has_more": true}}',
)
_STATUSES = (100, 200, 202, 204, 301, 302, 400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503)
_QUERIES = ("", "&&==", "%", "a=%ff", "=" * 70000, "x=\x00", "id=1&page=2", "\u00ff=\u00fe")


class NetworkContract:
    """The contract of every network. Inherit, and fill in the values that it is tried with."""

    #: The class that is tried.
    network: ClassVar[type[Network]]
    #: Its credentials, of eight characters or more; other settings as they are needed.
    config: ClassVar[Mapping[str, Any]]
    #: Query strings of its links, and the click ID that each brings.
    landings: ClassVar[Mapping[str, str]]
    #: Its own answer to a conversion that it took.
    accepted: ClassVar[Response]
    #: Keys of its settings without its name, which no other network may have.
    unnamed: ClassVar[frozenset[str]] = frozenset()

    # -- what it is tried with ------------------------------------------------------------------

    def _made(self, **config: Any) -> Network:
        given = {"SECRET_KEY": _KEY, **self.config, **config}
        return self.network(self._settings(given).of(self.network))

    def _settings(self, config: Mapping[str, Any]) -> Settings:
        try:
            return Settings.from_mapping(config)
        except Exception:  # noqa: BLE001 - it is none of the built-in ones, whose keys are known
            return Settings.from_mapping(config, [self.network])

    def _click(self) -> Click:
        return Click(
            network=self.network.name, click_id="abc123", partner_key="ada", sub_ids=("s",), at=_NOW
        )

    def _reports(self, network: Network) -> Iterator[Report]:
        for one in _EXAMPLES:
            if one.kind in network.traits:
                yield report_of(network, one, self._click())

    def _requests(self, network: Network) -> Iterator[tuple[Report, Request, str]]:
        credentials = Credentials([network])
        for report in self._reports(network):
            lane = network.traits[report.conversion.kind].lane
            (secret, *_) = credentials.for_lane(lane)
            yield report, network.request(report, secret), lane

    def _records(self, network: Network) -> tuple[Readable, str]:
        records, lane = network.records, network.reading_lane
        assert records is not None and lane is not None, "it verifies, and has no records"  # noqa: PT018
        return records, lane

    # -- its declaration ------------------------------------------------------------------------

    def test_its_names_are_its_own(self) -> None:
        network, name = self._made(), self.network.name
        assert name.isidentifier() and name == name.lower()  # noqa: PT018
        by_name([network])
        for setting in self.network.settings:
            own = setting.key.startswith(f"S2S_{name.upper()}_") or setting.key in self.unnamed
            assert own, f"{setting.key} has not the network's name"
            assert setting.help.endswith("."), f"{setting.key} is not explained by a sentence"

    def test_its_traits_name_lanes_and_kinds_that_there_are(self) -> None:
        network = self._made()
        kinds = {one.kind for one in _EXAMPLES}
        assert set(network.traits) <= kinds
        for traits in network.traits.values():
            assert traits.lane in network.lanes
            assert traits.depends_on <= set(network.traits)
            assert traits.absent_after >= timedelta(0)
        assert network.reading_lane is None or network.reading_lane in network.lanes

    def test_without_credentials_every_lane_is_empty(self) -> None:
        none = dict.fromkeys(self.config)
        network = self._made(**none)
        credentials = Credentials([network])
        for name, lane in network.lanes.items():
            assert not lane.configured
            assert credentials.for_lane(name) == ()
            assert lane.settings and lane.credential  # noqa: PT018

    # -- its clicks -----------------------------------------------------------------------------

    def test_a_landing_is_read(self) -> None:
        clicks = Clicks([self.network.clicks])
        for query, click_id in self.landings.items():
            assert clicks.may_be_in(query), f"no sign of it is in {query}"
            assert clicks.may_be_in(query.upper())
            click = clicks.read(query, _NOW)
            assert click is not None, f"{query} was not read"
            assert (click.network, click.click_id, click.at) == (self.network.name, click_id, _NOW)
            named = [piece.partition("=")[0].lower() for piece in query.split("&")]
            assert any(map(clicks.is_click_id, named)), f"no parameter of {query} is its click ID"

    def test_no_address_makes_a_click_that_was_not_told_or_an_error(self) -> None:
        form = self.network.clicks
        for query in _QUERIES:
            assert form.read(query, _NOW) is None
            assert form.read_cookies(query, lambda name: (), _NOW) is None
        for query in self.landings:
            name = query.partition("=")[0]
            assert form.read(f"{name}=", _NOW) is None
            assert form.read(f"{name}={{click_id}}", _NOW) is None

    # -- its requests ---------------------------------------------------------------------------

    def test_every_kind_goes_to_its_own_lane_with_its_credential(self) -> None:
        network = self._made()
        for report, request, lane in self._requests(network):
            kind = report.conversion.kind
            assert request.url.startswith(network.lanes[lane].base_url), f"{kind}: {request.url}"
            assert request.content is None or isinstance(request.content, bytes)
            bare = network.request(report, Secret(""))
            with_it = (request.url, dict(request.headers), request.body)
            assert with_it != (bare.url, dict(bare.headers), bare.body), f"{kind}: no credential"

    def test_a_request_is_the_same_each_time(self) -> None:
        network = self._made()
        first = [request for _, request, _ in self._requests(network)]
        assert first == [request for _, request, _ in self._requests(network)]

    def test_its_credential_passes_to_its_own_host_and_is_in_no_repr(self) -> None:
        network, sent = self._made(), _Sent()
        credentials = Credentials([network])
        secrets = [one.value for name in network.lanes for one in credentials.for_lane(name)]
        guarded = OwnHostOnly(sent, credentials)
        for _, request, _ in self._requests(network):
            guarded.send(request, seconds=1)
            assert not any(secret in repr(request) for secret in secrets)
        assert not any(secret in repr(network.lanes) for secret in secrets)
        assert sent.count

    # -- its answers ----------------------------------------------------------------------------

    def test_its_own_yes_is_one(self) -> None:
        network = self._made()
        for report in self._reports(network):
            assert isinstance(network.outcome(report, self.accepted), Accepted)

    def test_no_answer_escapes_or_is_taken_for_a_yes_that_nobody_said(self) -> None:
        network = self._made()
        for report in self._reports(network):
            for response in _answers():
                outcome = network.outcome(report, response)
                assert isinstance(outcome.detail, str)
                if isinstance(outcome, Accepted):
                    assert 200 <= response.status < 300, f"{response.status} was accepted"
                    assert b"<html" not in response.body, "a page was accepted"
                    assert b"false" not in response.body, "a no was accepted"
                if isinstance(outcome, Duplicate):
                    assert response.status in (200, 409)

    def test_a_refused_credential_holds_the_lane_and_an_outage_refuses_nothing(self) -> None:
        network = self._made()
        for report in self._reports(network):
            for status in (401, 403):
                refused = network.outcome(report, Response(status=status))
                assert isinstance(refused, Unauthorised), f"{status} is {refused.word}"
            for status in (408, 429, 500, 502, 503, 504):
                outcome = network.outcome(report, Response(status=status))
                later = isinstance(outcome, Ambiguous | RetryLater)
                assert later, f"{status} is {outcome.word}"

    # -- its records ----------------------------------------------------------------------------

    def test_its_records_are_asked_of_their_own_lane(self) -> None:
        network = self._made()
        for _, request in self._questions(network):
            lane = network.lanes[network.reading_lane or ""]
            assert request.url.startswith(lane.base_url)

    def test_no_answer_about_its_records_escapes_or_proves_what_it_does_not(self) -> None:
        network = self._made()
        for conversion, _ in self._questions(network):
            records, _ = self._records(network)
            for response in _answers():
                if network.traits[conversion.kind].verified_by == "customer":
                    reading = records.read_customer(conversion.customer_key, response)
                else:
                    found = records.read_records(conversion, response)
                    reading = found if isinstance(found, Present | Absent) else Unknown(detail="")
                if isinstance(reading, Present):
                    assert 200 <= response.status < 300
                if isinstance(reading, Absent):
                    assert response.status < 400 or response.status in (404, 410)
                    assert b"<html" not in response.body

    def _questions(self, network: Network) -> Iterator[tuple[Conversion, Request]]:
        """Yield what is asked of its records, of each kind that is verified."""
        for report in self._reports(network):
            how, conversion = network.traits[report.conversion.kind].verified_by, report.conversion
            if how is None:
                continue
            records, lane = self._records(network)
            (secret, *_) = Credentials([network]).for_lane(lane)
            page = Page(since=_NOW, limit=10)
            asked: Request | None = (
                records.customer_request(conversion.customer_key, secret)
                if how == "customer"
                else records.records_request(conversion, page, secret)
            )
            assert asked is not None, f"a {conversion.kind} is verified by a list that there is not"
            yield conversion, asked


class _Sent:
    """Counts what passes."""

    def __init__(self) -> None:
        self.count = 0

    def send(self, request: Request, *, seconds: float) -> Response:
        self.count += 1
        return Response(status=200)


def _answers() -> Iterator[Response]:
    for status in _STATUSES:
        for body in _BODIES:
            yield Response(status=status, body=body)
