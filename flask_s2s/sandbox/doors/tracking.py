"""`POST /conversion/xid`: what the advertiser's server reports."""

import json

from flask import Blueprint, Response, request

from flask_s2s.sandbox.books.customers import Conversion, Effect
from flask_s2s.sandbox.doors.network import network
from flask_s2s.sandbox.doors.shape import Attributes, Rule, ShapeError, Text, Texts, check, parse
from flask_s2s.sandbox.line import tell

blueprint = Blueprint("tracking", __name__)

DETAILS = ("email", "name", "provider_key", "origin", "ip_address", "user_agent", "external_type")

RULES: dict[str, Rule] = {
    "xid": Text(longest=512),
    "customer_key": Text(),
    **{name: Text(longest=1024) for name in DETAILS},
    "sub_ids": Texts(),
    "meta": Attributes(),
}

REFUSALS: dict[Effect, tuple[int, str]] = {
    "repeat refused": (409, "customer_key already exists"),
    "unknown click refused": (404, "xid not found"),
    "expired click refused": (400, "xid has expired"),
}


@blueprint.post("/conversion/xid")
def convert() -> Response:
    """Record a conversion, if a live tracking token says so."""
    test = _environment()
    if test is None:
        return _answer(401, "Unauthorized")
    try:
        given = check(parse(request.get_data()), RULES, required=("xid", "customer_key"))
    except ShapeError as error:
        tell(request.environ, "not understood")
        return _answer(400, str(error))
    conversion = Conversion(
        xid=given["xid"],
        customer_key=given["customer_key"],
        test=test,
        sub_ids=given.get("sub_ids", []),
        details={name: given[name] for name in DETAILS if name in given},
        meta=given.get("meta", {}),
    )
    switches = network().plan.switches
    effect = network().customers.convert(conversion, switches)
    tell(request.environ, effect)
    if effect in REFUSALS:
        return _answer(*REFUSALS[effect])
    # The same answer whether or not anything was created: a 200 proves nothing here either.
    return _answer(200, "Success") if switches.success_body == "json" else Response("", 200)


def _environment() -> bool | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return network().tokens.environment(token.strip()) if scheme.lower() == "bearer" else None


def _answer(status: int, message: str) -> Response:
    body = json.dumps({"message": message, "status": status})
    return Response(body, status, mimetype="application/json")
