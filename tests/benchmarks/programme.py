"""A programme with a past: seeded deliveries, tries and clicks of any number, in realistic shares.

Half a year of 300 partners, of whom a few bring most: of each hundred conversions 45 are sign-ups, 35
payments, 15 actions and 5 reversals, with three clicks for each. The same seed makes the same
programme. What has a parent has a real one, and what is credited a click that landed. The first
delivery is the sign-up of `c0` by `click000000000`, the second its payment `in_1`.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import islice
from random import Random
from typing import Any

from sqlalchemy import Engine, Table, select, text

from flask_s2s import Services
from flask_s2s.networks.network import lane_of
from flask_s2s.rules.identity import keyed_hash
from flask_s2s.store.dialects.statements import microseconds

SPAN = timedelta(days=180)
PARTNERS = 300
#: Of a partner's customers one in so many comes without a credited click.
_UNCREDITED = ("no_click", "no_click", "no_click", "expired", "consent_denied", "rule")
_SUB_IDS = ("newsletter", "review", "video", "footer", "banner", "podcast", "social", "forum")
_CAUSES = ("meta does not match", "unknown click", "email is not valid", "offer is closed")
_DETAILS = {"refused": _CAUSES, "expired": ("HTTP 503",), "missing": ("not on its record",)}
_AT_ONCE = 5000
#: How long before the end the newest is still open: the last of each thousand, at most.
_OPEN = 0.001

Row = dict[str, Any]


def populate(services: Services, deliveries: int, clicks: int, *, seed: int = 1) -> None:
    """Fill an empty outbox, and let its database count what it has."""
    engine, tables = services.storage.engine(), services.storage.tables
    named = select(tables.meta.c.value).where(tables.meta.c.name == "installation")
    with engine.connect() as connection:
        installation = connection.scalars(named).one()
        first = services.outbox.person(connection, "c0@example.com")
    past = _Past(services, (installation, str(first)), deliveries, clicks, seed)
    _write(engine, tables.click, past.clicks())
    _write(engine, tables.delivery, past.deliveries())
    _write(engine, tables.attempt, past.attempts())
    settle_down(engine, ("s2s_click", "s2s_delivery", "s2s_attempt"))


def settle_down(engine: Engine, tables: Iterable[str]) -> None:
    """Let the database look at what it has, as its own housekeeping would in time."""
    word = {"sqlite": "ANALYZE", "postgresql": "VACUUM ANALYZE", "mariadb": "ANALYZE TABLE"}
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in tables:
            connection.execute(text(f"{word[engine.dialect.name]} {table}")).close()
        if engine.dialect.name == "postgresql":
            # Keys that were given by hand: the next one comes after them.
            for table in tables:
                last = f"(SELECT max(id) FROM {table})"  # noqa: S608 - names of our own
                connection.execute(text(f"SELECT setval('{table}_id_seq', {last})"))


class _Past:
    """The events, in the order of time."""

    def __init__(
        self,
        services: Services,
        known_by: tuple[str, str],
        deliveries: int,
        clicks: int,
        seed: int,
    ) -> None:
        self._number, self._clicks = deliveries, clicks
        #: What hashes a conversion, and the hash of the first customer's address.
        self._installation, self._first = known_by
        self._random = Random(seed)
        self._end = microseconds(services.clock.now()) - 60_000_000
        self._begin = self._end - SPAN // timedelta(microseconds=1)
        network = next(iter(services.networks.values()))
        self._network = network.name
        self._lanes = {kind: lane_of(network, kind) for kind in _KINDS}
        #: Of each click its partner; of each sign-up its click, or less than nothing.
        self._partners = array("h", (self._partner() for _ in range(clicks)))
        self._signups: list[tuple[int, int]] = []
        #: Of what was paid and is not undone: the conversion, the customer, the click, the amount.
        self._payments: list[tuple[int, int, int, int]] = []
        #: Of what was tried: number, lane, when, how often, and what came of it.
        self._tried: list[tuple[int, str, int, int, str]] = []

    def clicks(self) -> Iterator[Row]:
        """Return the clicks."""
        for number in range(self._clicks):
            yield {
                "id": number + 1,
                "network": self._network,
                "click_id": f"click{number:09}",
                "partner_key": self._key(number),
                "sub_ids": json.dumps([self._sub_id(number)]),
                "link_host": None,
                "landing": None,
                "at": self._at(number, self._clicks),
            }

    def deliveries(self) -> Iterator[Row]:
        """Return the deliveries."""
        for number in range(self._number):
            drawn = self._random.random()
            at = self._at(number, self._number)
            if drawn < 0.45 or not number:
                made = self._signup(number)
            elif drawn < 0.80 or number == 1:
                made = self._payment(number)
            elif drawn < 0.95 or not self._payments:
                made = self._action(number)
            else:
                made = self._reversal(number)
            yield self._row(number, at, **made)

    def attempts(self) -> Iterator[Row]:
        """Return the tries of the deliveries that were made."""
        outcomes = {"pending": "retry", "expired": "retry", "refused": "refused"}
        for delivery, lane, at, tries, status in self._tried:
            outcome = outcomes.get(status, "accepted")
            for number in range(1, tries + 1):
                yield {
                    "delivery_id": delivery,
                    "number": number,
                    "lane": lane,
                    "lease_token": "0" * 32,
                    "opened_at": at,
                    "closed_at": at + 80_000,
                    "outcome": outcome,
                    "http_status": 200 if outcome == "accepted" else 503,
                    "duration_ms": 80,
                    "request": None,
                    "answer": "",
                }

    # -- each kind ------------------------------------------------------------------------------

    def _signup(self, number: int) -> Row:
        click = int(number / self._number * self._clicks) - self._random.randrange(1, 40_000)
        click = click if click >= 0 and self._random.random() < 0.6 else -1
        click = click if number else 0
        self._signups.append((number, click))
        fields = {"email": f"c{number}@example.com", "name": f"Customer {number}"}
        reason = "cookie" if click >= 0 else _UNCREDITED[self._random.randrange(6)]
        if not self._random.randrange(2000):
            reason = "handle_used" if click < 0 else reason
        return {"kind": "signup", "customer": number, "click": click, "reason": reason, **fields}

    def _payment(self, number: int) -> Row:
        customer, click = self._customer()
        amount = self._random.choice((1900, 4900, 9900, 19900))
        self._payments.append((number, customer, click, amount))
        made = {"kind": "transaction", "key": f"in_{number}", "amount": amount}
        return {**made, **_theirs(customer, click), "currency": _currency(customer)}

    def _action(self, number: int) -> Row:
        made = {"kind": "action", "key": f"act_{number}", "what": "demo"}
        return {**made, **_theirs(*self._customer())}

    def _reversal(self, _: int) -> Row:
        # Each payment is undone once.
        drawn = self._random.randrange(len(self._payments))
        self._payments[drawn], self._payments[-1] = self._payments[-1], self._payments[drawn]
        payment, customer, click, amount = self._payments.pop()
        made = {"kind": "reversal", "key": f"in_{payment}", "amount": -amount}
        made |= {**_theirs(customer, click), "currency": _currency(customer)}
        return {**made, "parent": ("transaction", f"in_{payment}")}

    def _customer(self) -> tuple[int, int]:
        return self._signups[int(self._random.random() ** 0.5 * len(self._signups))]

    # -- a row ----------------------------------------------------------------------------------

    def _row(self, number: int, at: int, **made: Any) -> Row:
        kind, click, key = made["kind"], made["click"], made.get("key")
        customer = f"c{made['customer']}"
        status = self._status(number, click, kind)
        identity = (kind, customer) if kind == "signup" else (kind, str(key))
        still_open = status in ("pending", "waiting", "held")
        tries = 0 if click < 0 else 5 if status == "expired" else int(status != "waiting")
        lane = self._lanes[kind]
        if tries:
            self._tried.append((number + 1, lane, at + 2_000_000, tries, status))
        credited = click >= 0
        first = kind == "signup" and credited
        details = _DETAILS.get(status)
        return {
            "id": number + 1,
            "network": self._network,
            "lane": lane,
            "kind": kind,
            "dedupe": self._dedupe(identity),
            "customer_key": customer,
            "conversion": json.dumps(_conversion(kind, customer, made)) if credited else None,
            "click_id": f"click{click:09}" if first else None,
            "click": json.dumps(self._dumped(click)) if first else None,
            "touches": None,
            "partner_key": self._key(click) if credited else None,
            "sub_id": self._sub_id(click) if credited else None,
            "click_at": self._at(click, self._clicks) if first else None,
            "amount": made.get("amount"),
            "currency": made.get("currency"),
            "key": key,
            "what": made.get("what"),
            "status": status,
            "reason": made["reason"],
            "detail": details[number % len(details)] if details else None,
            "attempts": tries,
            "created_at": at,
            "due_at": at + 3_600_000_000 if still_open else None,
            "deadline_at": at + 30 * 86_400_000_000,
            "settled_at": None if still_open else at + 2_080_000,
            "ambiguous_at": None,
            "lease_token": None,
            "parent": self._dedupe(made["parent"]) if "parent" in made else None,
            "verify_at": at + 86_400_000_000
            if status == "delivered" and number % 50 == 0
            else None,
            "checks": 0,
            "resent": 0,
            "read_to": None,
            "person": self._person_of(number) if kind == "signup" else None,
            "acked_at": None,
        }

    def _status(self, number: int, click: int, kind: str) -> str:
        if click < 0:
            return "unattributed"
        drawn = self._random.random()
        if number > self._number * (1 - _OPEN):
            return "waiting" if kind != "signup" and drawn < 0.5 else "pending"
        for status, share in (("refused", 0.008), ("expired", 0.010), ("missing", 0.012)):
            if drawn < share:
                return status
        return "confirmed" if drawn < 0.7 else "delivered"

    def _dumped(self, click: int) -> Row:
        at = self._at(click, self._clicks) / 1e6
        named = {"network": self._network, "click_id": f"click{click:09}", "link_host": None}
        return {
            **named,
            "partner_key": self._key(click),
            "sub_ids": [self._sub_id(click)],
            "at": at,
        }

    def _dedupe(self, identity: tuple[str, ...]) -> str:
        return keyed_hash(self._installation.encode(), *identity)

    def _person_of(self, number: int) -> str:
        return self._dedupe(("person", str(number))) if number else self._first

    def _partner(self) -> int:
        # A few bring most; one click in fifty names nobody.
        return -1 if self._random.random() < 0.02 else int(PARTNERS * self._random.random() ** 3)

    def _key(self, click: int) -> str | None:
        partner = self._partners[click]
        return None if partner < 0 else f"partner{partner:03}"

    def _sub_id(self, click: int) -> str:
        return _SUB_IDS[click % len(_SUB_IDS)]

    def _at(self, number: int, of: int) -> int:
        return self._begin + int((self._end - self._begin) * number / of)


_KINDS = ("signup", "action", "transaction", "reversal")


def _currency(customer: int) -> str:
    return ("USD", "USD", "USD", "EUR")[customer % 4]


def _theirs(customer: int, click: int) -> Row:
    reason = "by_customer" if click >= 0 else "parent"
    known = {"customer": customer, "click": click, "reason": reason}
    return {**known, "parent": ("signup", f"c{customer}")}


def _conversion(kind: str, customer: str, made: Row) -> Row:
    """Return what would be sent."""
    if kind == "signup":
        return {"customer_key": customer, "email": made["email"], "name": made["name"]}
    if kind == "action":
        return {"customer_key": customer, "type": made["what"], "key": made["key"]}
    if kind == "reversal":
        return {"customer_key": customer, "transaction_key": made["key"]}
    money = {"amount": made["amount"], "currency": made["currency"]}
    return {"customer_key": customer, **money, "key": made["key"]}


# -- writing many rows at once ------------------------------------------------------------------


def _write(engine: Engine, table: Table, rows: Iterator[Row]) -> None:
    """Write rows as fast as the database takes them: COPY, or many in one statement."""
    first = next(rows, None)
    if first is None:
        return
    names = list(first)

    def values() -> Iterator[tuple[Any, ...]]:
        yield tuple(first.values())
        for row in rows:
            yield tuple(row.values())

    listed = ", ".join(f'"{n}"' if engine.dialect.name != "mariadb" else f"`{n}`" for n in names)
    writing: Callable[..., None] = _copy if engine.dialect.name == "postgresql" else _insert
    writing(engine, f"{table.name} ({listed})", len(names), values())


def _copy(engine: Engine, place: str, _: int, values: Iterator[tuple[Any, ...]]) -> None:
    with engine.begin() as connection:
        cursor: Any = connection.connection.cursor()
        with cursor.copy(f"COPY {place} FROM STDIN") as copy:
            for row in values:
                copy.write_row(row)


def _insert(engine: Engine, place: str, width: int, values: Iterator[tuple[Any, ...]]) -> None:
    mark = "%s" if engine.dialect.name == "mariadb" else "?"
    marks = ", ".join([mark] * width)
    adding = f"INSERT INTO {place} VALUES ({marks})"  # noqa: S608 - names of our own
    with engine.begin() as connection:
        while some := list(islice(values, _AT_ONCE)):
            connection.exec_driver_sql(adding, some)
