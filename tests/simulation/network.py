"""A model of the network: what it has been told, what it answers, and what it really did.

It is stricter than any network is known to be. A customer counts only once its record can be read,
which may take ten minutes; an action or a transaction of a customer that does not count is answered
with 200 and lost; a repeated key is ignored, or rewarded a second time, as the history has it, and what
is reversed already is then not there any more.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from flask_s2s.errors import TransportError
from flask_s2s.networks.messages import Request, Response
from tests.simulation.world import SECOND, World

#: How much later than written a record becomes readable, at most, in seconds.
LONGEST_LAG = 600.0
_TRACKING = "/conversion/xid"
#: How often one customer's sign-up is answered with 200 and dropped: as often as is made good.
_MOST_DROPS = 2


@dataclass(slots=True)
class Customer:
    xid: str
    readable_at: int
    test: bool = False


@dataclass(slots=True)
class Fault:
    """A fault of the next requests of one sort."""

    sort: str
    how: str
    left: int


@dataclass(slots=True)
class Ledger:
    """The network's real records, and the requests that reached it."""

    customers: dict[str, Customer] = field(default_factory=dict)
    rewards: Counter[str] = field(default_factory=Counter)
    reversed: set[str] = field(default_factory=set)
    #: Keys of what was sent for a customer that did not count: lost, and our fault.
    too_early: list[str] = field(default_factory=list)
    #: Every xid that was sent for a customer.
    xids: dict[str, set[str]] = field(default_factory=dict)
    #: What was written down, and what was answered with a 2xx, by key.
    written: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    #: Actions and transactions that were answered with 200, and are not on record.
    dropped: set[str] = field(default_factory=set)
    #: Whatever arrived, or may have.
    reached: Counter[str] = field(default_factory=Counter)


class ModelNetwork:
    """The transport of every process of one history."""

    def __init__(self, world: World, *, second_reward: bool, lag: float) -> None:
        self._world = world
        self._second_reward = second_reward
        self._lag = lag
        self._records: list[tuple[str, dict[str, Any], int]] = []
        self._drops: Counter[str] = Counter()
        self.ledger = Ledger()
        self.faults: list[Fault] = []
        #: Hosts that cannot be reached, and how: "refused" or "silent".
        self.down: dict[str, str] = {}
        #: Credentials that are revoked, by host.
        self.revoked: set[str] = set()
        self._well_since: int | None = None
        #: Customers whose sign-up is always answered with a 500.
        self.poison: set[str] = set()

    def knows(self, key: str) -> None:
        """A customer that is older than the installation."""
        self.ledger.customers[key] = Customer("older", 0)

    def heal(self) -> None:
        """From now on all is well."""
        self.faults.clear()
        self.down.clear()
        self.revoked.clear()
        self.poison.clear()
        self._well_since = self._world.micros

    def _long_well(self) -> bool:
        """Whether whatever was to come has come: what is not there then never was."""
        since = self._well_since
        return since is not None and self._world.micros > since + 3600 * SECOND

    # -- the seam -----------------------------------------------------------------------------

    def send(self, request: Request, *, seconds: float) -> Response:
        world = self._world
        world.seam("transport.before")
        path = urlsplit(request.url).path
        host = "tracking" if path.endswith(_TRACKING) else "api"
        reading = request.method == "GET"
        how = self._fault("read" if reading else "signup" if host == "tracking" else "api")
        down = self.down.get(host)
        if down is not None or how == "refused":
            if down == "silent":
                world.park(seconds)
                raise TransportError("no answer", sent=True)
            raise TransportError("could not connect", sent=False)
        if how == "lost_request":
            world.park(seconds)
            raise TransportError("no answer", sent=True)
        world.park(seconds * 0.95 if how == "slow" else world.random.random() * 0.2)
        if host in self.revoked:
            return _answer(401)
        if how in _INSTEAD:
            return _INSTEAD[how]
        if reading:
            answer = self._read(path, parse_qs(urlsplit(request.url).query))
            world.seam("transport.after")
            return answer
        if (request.body or {}).get("customer_key") in self.poison:
            return _answer(500)
        answer = self._write(request, path, dropped=how == "dropped")
        world.seam("transport.written")
        if how == "lost_answer":
            world.park(seconds)
            raise TransportError("the connection broke", sent=True)
        world.park(world.random.random() * 0.05)
        world.seam("transport.after")
        return _AFTERWARDS.get(how, answer)

    def _fault(self, sort: str) -> str:
        for fault in self.faults:
            if fault.sort == sort:
                fault.left -= 1
                if not fault.left:
                    self.faults.remove(fault)
                return fault.how
        return ""

    # -- writing ------------------------------------------------------------------------------

    def _write(self, request: Request, path: str, *, dropped: bool) -> Response:
        body = dict(request.body or {})
        if path.endswith(_TRACKING):
            return self._sign_up(body["customer_key"], body["xid"], dropped)
        if request.method == "DELETE":
            return self._reverse(unquote(path.rsplit("/", 1)[1]))
        kind = "action" if path.endswith("/actions") else "transaction"
        customer = body["target_key"] if kind == "action" else body["customer_external_key"]
        return self._reward(f"{kind}:{body['key']}", kind, customer, body, dropped)

    def _sign_up(self, key: str, xid: str, dropped: bool) -> Response:
        name = f"signup:{key}"
        ledger = self.ledger
        ledger.reached[name] += 1
        ledger.xids.setdefault(key, set()).add(xid)
        ledger.answered[name] += 1
        if dropped and self._drops[key] < _MOST_DROPS and key not in ledger.customers:
            self._drops[key] += 1
        elif key not in ledger.customers:
            ledger.customers[key] = Customer(xid, self._readable_at())
            ledger.written[name] += 1
        return _answer(200)

    def _reward(
        self, name: str, kind: str, customer: str, body: dict[str, Any], dropped: bool
    ) -> Response:
        ledger = self.ledger
        ledger.reached[name] += 1
        ledger.answered[name] += 1
        known = ledger.customers.get(customer)
        if known is None or known.readable_at > self._world.micros:
            ledger.too_early.append(name)
            return _answer(200)
        if dropped and not ledger.rewards[name]:
            ledger.dropped.add(name)
            return _answer(200, {"data": {}, "status": 200})
        if self._second_reward or not ledger.rewards[name]:
            ledger.rewards[name] += 1
            number = len(self._records)
            record = {**body, "external_key": body["key"], "key": f"{kind}{number}"}
            self._records.append((kind, record, self._readable_at()))
        ledger.written[name] += 1
        return _answer(200, {"data": {}, "status": 200})

    def _reverse(self, key: str) -> Response:
        name = f"reversal:{key}"
        self.ledger.reached[name] += 1
        again = key in self.ledger.reversed
        if again or not self.ledger.rewards[f"transaction:{key}"]:
            gone = again and self._second_reward
            if not gone and (again or self._long_well()):
                self.ledger.answered[name] += 1
                return _answer(200)
            return _answer(404, {"message": "not found", "status": 404})
        self.ledger.reversed.add(key)
        self._records = [one for one in self._records if one[1]["external_key"] != key]
        self.ledger.written[name] += 1
        self.ledger.answered[name] += 1
        return _answer(200)

    def _readable_at(self) -> int:
        lag = self._world.random.random() * self._lag
        return self._world.micros + int(lag * SECOND)

    # -- reading ------------------------------------------------------------------------------

    def _read(self, path: str, query: dict[str, list[str]]) -> Response:
        now = self._world.micros
        if "/customers/" in path:
            key = unquote(path.rsplit("/", 1)[1])
            customer = self.ledger.customers.get(key)
            if customer is None or customer.readable_at > now:
                return _answer(404, {"message": "not found", "status": 404})
            return _answer(200, {"data": {"customer_key": key, "test": False}, "status": 200})
        kind = path.rsplit("/", 1)[1].rstrip("s")
        items = [body for sort, body, at in self._records if sort == kind and at <= now]
        return _answer(200, {"data": {"items": items, "has_more": False}, "status": 200})


def _answer(status: int, body: object = None, **headers: str) -> Response:
    content = b"" if body is None else json.dumps(body).encode()
    return Response(status=status, body=content, headers=headers)


#: Answered instead of doing anything.
_INSTEAD = {
    "500_before": _answer(500),
    "429": _answer(429),
    "429_after": Response(status=429, headers={"retry-after": "600"}),
    "html_before": Response(status=200, body=b"<html>sign in to this network</html>"),
    "404": Response(status=404, body=b"<html>not here</html>"),
}
#: Answered after it was done.
_AFTERWARDS = {
    "500_after": _answer(503),
    "503_after": Response(status=503, headers={"retry-after": "120"}),
    "html_after": Response(status=200, body=b"<html>well done</html>"),
}
WRITE_FAULTS = (
    "lost_answer",
    "lost_request",
    "refused",
    "slow",
    "html_before",
    "html_after",
    "500_before",
    "500_after",
    "503_after",
    "429",
    "429_after",
)
READ_FAULTS = ("refused", "lost_request", "500_before", "429", "slow", "404")
