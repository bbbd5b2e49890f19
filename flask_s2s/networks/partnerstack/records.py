"""PartnerStack's vendor API, read: who asks for what, and what an answer proves. No I/O.

Sources: docs.partnerstack.com (D), one advertiser's field report (F), and airbytehq/airbyte's
source-partnerstack (C): it reads `/customers` and `/transactions` by pages of 250, each behind the last
item's `key`, and knows of a customer `key`, `customer_key`, `partner_key`, `test` and `created_at`, of
a transaction `key`, `amount`, `currency`, `customer_key`, `customer` and `created_at`.

Only customers are known to be readable by our own key (F). Actions and transactions are looked for
in the documented lists (D: `min_created` and `max_created` in epoch milliseconds, `limit`,
`starting_after`, `has_more`). "Not there" is a strong word: a record that might be ours under another
name makes the answer unknown, and so does a 404 without the API's own envelope (D: `{"message",
"status"}`), which may come from anything between us and the network. "There" is one too: under which
field a customer shows our key is not documented, so one of those that are known must have it,
or none may be shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, urlencode

from ...conversion import Action, Conversion, Signup, Transaction
from ..messages import Request, Response, Secret
from ..reading import Absent, Listed, More, Page, Present, Reading, Record, Unknown
from .conversions import PartnerStack, is_not_found, object_of

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
#: How far the network's clock may be off ours, either way.
_CLOCKS_APART = timedelta(hours=1)
#: What an HTTP client makes another path of, however it is quoted.
_NOT_A_PATH = frozenset({".", ".."})
#: Characters that servers and proxies decode before they look at the path, however they are quoted.
_DECODED_TWICE = frozenset("/\\%")
#: The lists of all records (C; that of actions D).
_LISTS = {Signup.kind: "customers", Transaction.kind: "transactions", Action.kind: "actions"}
_OUR_KEYS = ("customer_key", "customer_external_key", "external_key")


class Records:
    """Asks for PartnerStack's records: its `Readable`."""

    def __init__(self, network: PartnerStack) -> None:
        self._network = network

    def customer_request(self, customer_key: str, secret: Secret) -> Request:
        return self._network.api("GET", _customer_path(customer_key), secret, None)

    def read_customer(self, customer_key: str, response: Response) -> Reading:
        return read_customer(customer_key, response)

    def records_request(self, conversion: Conversion, page: Page, secret: Secret) -> Request | None:
        path = _records_path(conversion, page)
        return None if path is None else self._network.api("GET", path, secret, None)

    def read_records(self, conversion: Conversion, response: Response) -> Reading | More:
        return read_records(conversion, response)

    def listing_request(self, kind: str, page: Page, secret: Secret) -> Request | None:
        name = _LISTS.get(kind)
        if name is None:
            return None
        path = f"/{name}?{urlencode(_query(page, page.since, page.until))}"
        return self._network.api("GET", path, secret, None)

    def read_listing(self, kind: str, response: Response) -> Listed | Unknown:
        return read_listing(kind, response)


def _customer_path(customer_key: str) -> str:
    """Return the path of one customer, by our key."""
    return f"/customers/{quote(customer_key, safe='')}"


def _records_path(conversion: Conversion, page: Page) -> str | None:
    """Return the path of one page of the list that `conversion` would be in."""
    since, until = page.since, page.until
    match conversion:
        case Action():
            name = "actions"
        case Transaction():
            name = "transactions"
            if conversion.created_at is not None:
                # Which of the two times the network lists it under is not documented.
                dated = _EPOCH + timedelta(milliseconds=conversion.created_at)
                since, until = min(since, dated), None if until is None else max(until, dated)
        case _:
            return None
    return f"/{name}?{urlencode(_query(page, since, until))}"


def _query(page: Page, since: datetime, until: datetime | None) -> dict[str, Any]:
    query: dict[str, Any] = {"limit": page.limit}
    query["min_created"] = _milliseconds(max(since - _CLOCKS_APART, _EPOCH))
    if until is not None:
        query["max_created"] = _milliseconds(until + _CLOCKS_APART)
    if page.cursor is not None:
        query["starting_after"] = page.cursor
    return query


def read_customer(customer_key: str, response: Response) -> Reading:
    """200 with this customer: there. 404 in the API's envelope: absent. All else: unknown."""
    if customer_key in _NOT_A_PATH:
        return Unknown(detail="this customer key cannot be asked for", lasting=True)
    if response.status == 404:
        return _read_not_found(customer_key, response)
    if response.status != 200:
        return unread(response)
    answer = object_of(response)
    data = None if answer is None else answer.get("data")
    if not isinstance(data, dict) or "items" in data:
        return Unknown(detail="answered 200 without a customer")
    if not _is_customer(customer_key, data):
        return Unknown(detail="answered 200 with another customer, or with none")
    return Present(test=_test(data))


def _is_customer(customer_key: str, data: Mapping[str, Any]) -> bool:
    """A record that shows no key of ours is a customer's if it says whether it is a test (F)."""
    shown = [data[name] for name in _OUR_KEYS if name in data]
    named = customer_key in (*shown, data.get("key"))
    return named or (not shown and _test(data) is not None)


def _read_not_found(customer_key: str, response: Response) -> Reading:
    if _DECODED_TWICE.intersection(customer_key):
        return Unknown(detail="a 404 proves nothing about a customer key with / \\ or %")
    if not is_not_found(response):
        return Unknown(detail="answered 404, but not by the network's API: is its URL right?")
    return Absent()


def read_records(conversion: Conversion, response: Response) -> Reading | More:
    """Compare one page with `conversion`."""
    listed = _items(response)
    if isinstance(listed, Unknown):
        return listed
    items, more = listed
    unlike = [_is_another(conversion, item) for item in items]
    for item, another in zip(items, unlike, strict=True):
        if another is False:
            return Present(test=_test(item))
    doubt = "a record that may be this one has no key to tell by" if None in unlike else None
    if not more:
        return Absent() if doubt is None else Unknown(detail=doubt)
    cursor = _cursor(items)
    if cursor is None:
        return Unknown(detail=doubt or "the list cannot be read on")
    return More(cursor=cursor, doubt=doubt)


def read_listing(kind: str, response: Response) -> Listed | Unknown:
    """Return the records of one page. One that is no object is no list of records."""
    listed = _items(response)
    if isinstance(listed, Unknown):
        return listed
    items, more = listed
    if not all(isinstance(item, dict) for item in items):
        return Unknown(detail="answered 200 without a list")
    cursor = _cursor(items) if more else None
    if more and cursor is None:
        return Unknown(detail="the list cannot be read on")
    return Listed(records=tuple(_record(kind, item) for item in items), cursor=cursor)


def _items(response: Response) -> tuple[list[Any], bool] | Unknown:
    """Return what one page has, and whether more follows."""
    if response.status != 200:
        return unread(response)
    answer = object_of(response)
    data = None if answer is None else answer.get("data")
    items = data.get("items") if isinstance(data, dict) else None
    more = data.get("has_more") if isinstance(data, dict) else None
    if not isinstance(items, list) or not isinstance(more, bool):
        return Unknown(detail="answered 200 without a list")
    return items, more


def _cursor(items: list[Any]) -> str | None:
    """Return what the next page begins behind; None where the last item has no such key."""
    last = items[-1] if items else None
    cursor = last.get("key") if isinstance(last, dict) else None
    if not isinstance(cursor, str) or not cursor.isprintable() or not cursor:
        # It is kept with the delivery: no database takes a NUL, or half of a pair.
        return None
    return cursor


def _record(kind: str, item: Mapping[str, Any]) -> Record:
    if kind == Signup.kind:
        keys = customers = _texts(item, *_OUR_KEYS) or _texts(item, "key")
    else:
        keys = _texts(item, "external_key", "key")
        nested = item.get("customer")
        customers = _texts(item, "target_key", *_OUR_KEYS)
        customers += _texts(nested, *_OUR_KEYS, "key") if isinstance(nested, dict) else ()
    amount, currency = item.get("amount"), item.get("currency")
    return Record(
        kind=kind,
        id=next(iter(_texts(item, "key")), None),
        keys=keys,
        customer_keys=customers,
        partner_key=next(iter(_texts(item, "partner_key")), None),
        what=next(iter(_texts(item, "type")), None),
        amount=amount if type(amount) is int else None,
        currency=currency.upper() if isinstance(currency, str) else None,
        test=_test(item),
        created_at=_moment(item.get("created_at")),
    )


def _texts(item: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    """Return the texts under these names, each once."""
    found = (item.get(name) for name in names)
    return tuple(dict.fromkeys(text for text in found if isinstance(text, str) and text))


def _moment(milliseconds: Any) -> datetime | None:
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds) if type(milliseconds) is int else None
    except OverflowError:
        return None


def unread(response: Response) -> Unknown:
    """Say what an answer was that tells nothing about the record."""
    if response.status in (401, 403):
        return Unknown(detail=f"the API keys were answered with {response.status}", refused=True)
    return Unknown(detail=f"the network's records were answered with {response.status}")


def _is_another(conversion: Conversion, item: Any) -> bool | None:
    """Say whether a listed record is another one than `conversion`; None when nobody can tell."""
    if not isinstance(item, dict):
        return None
    match conversion:
        case Action():
            return _is_another_action(conversion, item)
        case Transaction():
            return _is_another_transaction(conversion, item)
        case _:
            return None


def _is_another_action(action: Action, item: Mapping[str, Any]) -> bool | None:
    keys = (item.get("external_key"), item.get("key"))
    if action.key is not None and action.key in keys:
        return False
    if action.key is not None and isinstance(keys[0], str) and keys[0]:
        return True
    kind, value, target = item.get("type"), item.get("value"), item.get("target_key")
    if isinstance(kind, str) and kind != action.type:
        return True
    if isinstance(value, int) and value != action.value:
        return True
    if action.key is None and kind == action.type and target == action.customer_key:
        return False
    # Its target may be ours under the network's own key.
    return None


def _is_another_transaction(transaction: Transaction, item: Mapping[str, Any]) -> bool | None:
    keys = (item.get("key"), item.get("external_key"))
    if transaction.key in keys:
        return False
    if any(isinstance(key, str) and key for key in keys):
        return True
    amount, currency = item.get("amount"), item.get("currency")
    if isinstance(amount, int) and amount != transaction.amount:
        return True
    if isinstance(currency, str) and currency.upper() != transaction.currency:
        return True
    return None


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _test(data: Mapping[str, Any]) -> bool | None:
    test = data.get("test")
    return test if isinstance(test, bool) else None
