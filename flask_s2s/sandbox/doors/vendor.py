"""`/api/v2`: the advertiser reads customers back, and reports actions and transactions."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from flask_s2s.sandbox.books.customers import Customer
from flask_s2s.sandbox.books.moments import milliseconds
from flask_s2s.sandbox.books.paging import NEVER, Span
from flask_s2s.sandbox.books.rewards import Kind
from flask_s2s.sandbox.books.tokens import api_environment
from flask_s2s.sandbox.doors import envelopes
from flask_s2s.sandbox.doors.network import network
from flask_s2s.sandbox.doors.shape import Attributes, Rule, ShapeError, Text, Whole, check, parse
from flask_s2s.sandbox.line import tell

blueprint = Blueprint("vendor", __name__, url_prefix="/api/v2")

ACTION_RULES: dict[str, Rule] = {
    "target_key": Text(),
    "target_type": Text(choices=("customer", "partnership")),
    "type": Text(),
    "value": Whole(low=1),
    # The documentation calls it the external key of the record without showing its name.
    "key": Text(),
    "external_key": Text(),
}

CUSTOMER_REFERENCES = ("customer_external_key", "customer_key", "customer_email")

#: The end of the year 9999, epoch milliseconds.
LAST_MOMENT = 253_402_300_799_999

TRANSACTION_RULES: dict[str, Rule] = {
    **{name: Text() for name in CUSTOMER_REFERENCES},
    "amount": Whole(low=-50_000_000_000, high=50_000_000_000),
    "currency": Text(shortest=3, longest=3),
    "key": Text(shortest=4),
    "product_key": Text(),
    "category_key": Text(),
    "metadata": Attributes(most=25, longest_name=30, longest_value=100),
    "created_at": Whole(low=0, high=LAST_MOMENT),
}


class Refusal(Exception):
    """The call is refused with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@blueprint.errorhandler(Refusal)
def refuse(refusal: Refusal) -> Response:
    return envelopes.error(refusal.status, str(refusal))


@blueprint.errorhandler(ShapeError)
def refuse_shape(error: ShapeError) -> Response:
    return envelopes.error(400, str(error))


@blueprint.errorhandler(HTTPException)
def refuse_http(error: HTTPException) -> Response:
    return envelopes.error(error.code or 500, error.name)


def _environment() -> bool:
    """Return whether the call's key pair is the test pair."""
    pair = request.authorization
    if pair is None or pair.type != "basic":
        raise Refusal(401, "Unauthorized")
    test = api_environment(pair.username or "", pair.password or "")
    if test is None:
        raise Refusal(401, "Unauthorized")
    return test


def _seen_by() -> int:
    """Return the moment up to which new customers can be read."""
    lag = network().plan.switches.readable_after_seconds
    return milliseconds(network().now()) - round(lag * 1000)


@blueprint.get("/customers")
def list_customers() -> Response:
    test = _environment()

    def cursor(key: str) -> int | None:
        found = network().customers.find(key, test=test)
        return None if found is None else found.id

    span = _span(cursor, latest=_seen_by())
    customers, more = network().customers.page(span, test=test)
    return envelopes.listing([envelopes.customer(customer) for customer in customers], more)


@blueprint.get("/customers/<path:key>")
def get_customer(key: str) -> Response:
    customer = network().customers.find(key, test=_environment(), seen_by=_seen_by())
    if customer is None:
        raise Refusal(404, "Customer not found")
    return envelopes.success(envelopes.customer(customer), "Customer retrieved")


@blueprint.delete("/customers/<path:key>")
def delete_customer(key: str) -> Response:
    if not network().customers.delete(key, test=_environment()):
        raise Refusal(404, "Customer not found")
    tell(request.environ, "customer deleted")
    return envelopes.success({}, "Customer deleted")


@blueprint.post("/actions")
def record_action() -> Response:
    test = _environment()
    body = check(
        parse(request.get_data()),
        ACTION_RULES,
        required=("target_key", "target_type", "type", "value"),
    )
    key = body.pop("key", None) or body.pop("external_key", None)
    customer = None
    if body["target_type"] == "customer":
        customer = network().customers.find(body["target_key"], test=test)
        if customer is None:
            return _without_customer()
    elif not envelopes.is_partner_key(body["target_key"]):
        raise Refusal(404, "Partnership not found")
    return _record("action", body, key, customer, test=test)


@blueprint.post("/transactions")
def record_transaction() -> Response:
    test = _environment()
    body = check(parse(request.get_data()), TRANSACTION_RULES, required=("amount", "currency"))
    given = [name for name in CUSTOMER_REFERENCES if name in body]
    if len(given) != 1:
        names = ", ".join(repr(name) for name in CUSTOMER_REFERENCES)
        raise Refusal(400, f"exactly one of {names} is a required property")
    customer = network().customers.find_for_transaction(given[0], body[given[0]], test=test)
    if customer is None:
        return _without_customer()
    key = body.pop("key", None)
    return _record("transaction", body, key, customer, test=test)


def _without_customer() -> Response:
    if network().plan.switches.unknown_customer == "reject":
        raise Refusal(404, "Customer not found")
    tell(request.environ, "unknown customer ignored")
    return envelopes.success({}, "Success")


def _record(
    kind: Kind, body: dict[str, Any], key: str | None, customer: Customer | None, *, test: bool
) -> Response:
    reward = network().rewards.record(
        kind,
        body,
        key=key,
        customer_id=None if customer is None else customer.id,
        test=test,
        switches=network().plan.switches,
    )
    if reward is None:
        raise Refusal(409, "key already exists")
    tell(request.environ, f"{kind} {reward.key}")
    return envelopes.success(envelopes.reward(reward, customer), f"{kind.capitalize()} created")


@blueprint.get("/actions", defaults={"kind": "action"})
@blueprint.get("/transactions", defaults={"kind": "transaction"})
def list_rewards(kind: Kind) -> Response:
    test = _environment()

    def cursor(key: str) -> int | None:
        found = network().rewards.find(kind, key, test=test)
        return None if found is None else found.id

    rewards, more = network().rewards.page(kind, _span(cursor, latest=NEVER), test=test)
    items = []
    for reward in rewards:
        owner = reward.customer_id
        customer = None if owner is None else network().customers.by_id(owner)
        items.append(envelopes.reward(reward, customer))
    return envelopes.listing(items, more)


@blueprint.delete("/actions/<path:key>", defaults={"kind": "action"})
@blueprint.delete("/transactions/<path:key>", defaults={"kind": "transaction"})
def archive_reward(kind: Kind, key: str) -> Response:
    if not network().rewards.archive(kind, key, test=_environment()):
        raise Refusal(404, f"{kind.capitalize()} not found")
    tell(request.environ, f"{kind} archived")
    return envelopes.success({}, f"{kind.capitalize()} archived")


def _span(cursor: Callable[[str], int | None], *, latest: int) -> Span:
    after, before = request.args.get("starting_after"), request.args.get("ending_before")
    if after is not None and before is not None:
        raise Refusal(400, "'starting_after' and 'ending_before' exclude each other")
    key = after if after is not None else before
    edge = None if key is None else cursor(key)
    if key is not None and edge is None:
        raise Refusal(400, "the cursor names no item")
    order = request.args.get("order_by", "-created_at")
    if order not in ("created_at", "-created_at"):
        raise Refusal(400, f"{order!r} is not one of ['created_at', '-created_at']")
    return Span(
        limit=_number("limit", 10, low=1, high=250),
        cursor=edge,
        backwards=before is not None,
        newest_first=order == "-created_at",
        low=_number("min_created", 0, low=0, high=NEVER),
        high=min(latest, _number("max_created", NEVER, low=0, high=NEVER)),
    )


def _number(name: str, default: int, *, low: int, high: int) -> int:
    given = request.args.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdecimal()):
        raise Refusal(400, f"{given!r} is not of type 'integer'")
    number = int(given[:20])
    if number < low:
        raise Refusal(400, f"{number} is less than the minimum of {low}")
    if number > high:
        raise Refusal(400, f"{number} is greater than the maximum of {high}")
    return number
