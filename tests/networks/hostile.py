"""Answers that no honest network gives, from a seed: `python -m tests.networks.hostile COUNT [SEED]`.

Each goes through everything that reads one; the count of exceptions and what came out are printed.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from flask_s2s import Action, Click, Reversal, Settings, Signup, Transaction
from flask_s2s.networks.credentials import Credentials
from flask_s2s.networks.exchange import Exchange
from flask_s2s.networks.messages import Exchanged, Request, Response
from flask_s2s.networks.partnerstack.conversions import API, PartnerStack
from flask_s2s.networks.partnerstack.records import Records
from flask_s2s.networks.readback import ReadBack
from flask_s2s.networks.reading import Reading

NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)
CONVERSIONS = (
    Signup(customer_key="42", email="ada@example.org", name="Ada Lee", meta={"note": "Geheim"}),
    Action(customer_key="42", type="a"),
    Transaction(customer_key="42", amount=1, currency="USD", key="inv-1"),
    Reversal(customer_key="42", transaction_key="inv-1"),
)
_URL = "http://127.0.0.1:9"
_SETTINGS = Settings.from_mapping(
    {
        "SECRET_KEY": "a-key-for-tests-only-0123456789",
        "S2S_TOKEN": "tok-of-the-tests",
        "S2S_PARTNERSTACK_URL": _URL,
        "S2S_PARTNERSTACK_API_URL": _URL,
        "S2S_PARTNERSTACK_PUBLIC_KEY": "pk-of-the-tests",
        "S2S_PARTNERSTACK_SECRET_KEY": "sk-of-the-tests",
    }
)
_STATUSES = (
    *(200,) * 6,
    201,
    204,
    100,
    301,
    400,
    401,
    403,
    404,
    408,
    409,
    422,
    429,
    500,
    503,
    0,
    999,
)
_TEXTS = (
    "",
    "\x00",
    "\ud800",
    "\x1b[2Jx",
    "is a required property",
    "is too long \x00\x1b]0;x\x07",
    "Not found",
    "42",
    "inv-1",
    "x" * 5000,
    "\u202e",
    "\r\nX",
    "error",
    "&#0;&#x110000;&nosuch;%ff%00\\ud800\\u0000",
    "ada%40example.org",
)
_NUMBERS = (0, -1, 200, 404, 10**400, 1.5, float("inf"), float("-inf"), float("nan"), 2**63, True)
_NAMES = (
    "message status data items has_more key external_key customer_key test type value amount currency"
    " target_key error errors success code results"
).split()
_DATES = (
    "",
    "0",
    "-1",
    "1",
    "9" * 5000,
    "1.5",
    "\N{ARABIC-INDIC DIGIT THREE}",
    "\N{SUPERSCRIPT TWO}",
    "Mon, 01 Jan 2024 00:00:00 GMT",
    "Mon, 01 Jan 2024 00:00:00 -0000",
    "Mon, 01 Jan 2024 00:00:00 +99999999999999",
    "Mon, 01 Jan 99999 00:00:00 GMT",
    "Mon, 32 Jan 2024",
    "Mon, 01 Jan 0001 00:00:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 -2359",
    "1 Jan 2024 25:61:61 +0000",
    "Mon, 01 Jan 2024 00:00:00 " + "(" * 5000,
    "\x00",
    ",",
    "Mon,",
)
_ODD_BODIES = (
    b"",
    b" ",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b"\x00" * 100,
    b"<html>",
    '{"status":200}'.encode("utf-16"),
    '{"status":200}'.encode("utf-32"),
    b"null",
    b"-0",
    b"1e999",
    b"NaN",
    b"[" * 3000 + b"]" * 3000,
    b"[" * 60000,
    b'{"a":' * 12000,
    b'{"data":' * 999 + b"1" + b"}" * 999,
    b'{"status":' + b"9" * 4299 + b"}",
    b'{"status":' + b"9" * 60000 + b"}",
    b"%" * 60000,
    b"&amp;" * 12000,
)


def responses(seed: int, count: int) -> Iterator[Response]:
    """Yield `count` answers; the same ones for the same seed."""
    chance = random.Random(seed)
    for _ in range(count):
        headers = {"retry-after": chance.choice(_DATES), "date": chance.choice(_DATES)}
        if chance.random() < 0.1:
            headers["content-encoding"] = chance.choice(["gzip", "br, gzip", "identity", ""])
        status = chance.choice(_STATUSES)
        yield Response(status=status, headers=headers, body=_body(chance)[:65536])


def _body(chance: random.Random) -> bytes:
    kind = chance.random()
    if kind < 0.1:
        return chance.choice(_ODD_BODIES)
    if kind < 0.3:
        return chance.randbytes(chance.randrange(300))
    shaped = _shaped(chance) if kind < 0.7 else _value(chance, 0)
    body = json.dumps(shaped).encode("utf-8", "surrogatepass")
    if kind < 0.5:
        at = chance.randrange(len(body))
        body = body[:at] + chance.randbytes(1) + body[at + 1 :]
    return body


def _shaped(chance: random.Random) -> Any:
    """Return what the network's own API says, but for one thing or another."""
    records = [
        {"key": chance.choice(_TEXTS), "external_key": chance.choice(("inv-1", "other", None))},
        {"key": chance.choice(("inv-1", "k7")), "amount": 1, "currency": "USD", "type": "a"},
    ]
    return chance.choice(
        (
            {"message": chance.choice(_TEXTS), "status": chance.choice((400, 404, 200, "404"))},
            {"data": {"customer_key": chance.choice(("42", "43")), "test": _value(chance, 4)}},
            {"data": {"items": records[: chance.randrange(3)], "has_more": chance.random() < 0.5}},
            {"data": {"items": [_value(chance, 2)], "has_more": _value(chance, 4)}, "status": 200},
        )
    )


def _value(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(12)
    if kind < 2 or depth > 4:
        return chance.choice(_NUMBERS)
    if kind < 5:
        return chance.choice(_TEXTS)
    if kind < 9:
        count = chance.randrange(5)
        return {chance.choice(_NAMES): _value(chance, depth + 1) for _ in range(count)}
    if kind < 11:
        return [_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return None


class _Says:
    """A transport that gives one answer to everything."""

    def __init__(self) -> None:
        self.answer = Response(status=200)

    def send(self, request: Request, *, seconds: float) -> Response:
        return self.answer


class Readers:
    """Everything of ours that reads an answer."""

    def __init__(self) -> None:
        self._says = _Says()
        network = PartnerStack(_SETTINGS.of(PartnerStack))
        credentials = Credentials([network])
        self._exchange = Exchange(network, self._says, credentials, seconds=5)
        self._reads = ReadBack(Records(network), API, self._says, credentials, seconds=5)

    def outcomes(self, response: Response) -> Iterator[Exchanged]:
        """Yield what becomes of each kind of conversion."""
        self._says.answer = response
        click = Click(click_id="abc", at=NOW)
        for conversion in CONVERSIONS:
            yield self._exchange.send(conversion, click)

    def readings(self, response: Response) -> Iterator[Reading]:
        """Yield what each kind of record is read as."""
        self._says.answer = response
        yield self._reads.customer("42")
        for conversion in CONVERSIONS[1:3]:
            yield from self._reads.find([conversion], NOW, NOW, "somewhere")


def main(count: int, seed: int) -> None:
    readers, seen, raised = Readers(), Counter[str](), Counter[str]()
    for response in responses(seed, count):
        try:
            seen.update(found.outcome.word for found in readers.outcomes(response))
            seen.update(type(found).__name__ for found in readers.readings(response))
        except Exception as error:  # noqa: BLE001 - they are what is counted
            raised[type(error).__name__] += 1
    print(f"{count} answers, seed {seed}: {raised.total()} exceptions {dict(raised)}")  # noqa: T201
    print(dict(seen))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
