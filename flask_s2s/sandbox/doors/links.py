"""`/go/<partner>`: a partner's link. It records the click and redirects at once."""

import random
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from flask import Blueprint, Response, abort, request
from werkzeug.datastructures import MultiDict

from flask_s2s.sandbox.books.partners import PARTNERS, Partner
from flask_s2s.sandbox.doors.network import network
from flask_s2s.sandbox.guard import host_name, is_loopback
from flask_s2s.sandbox.line import tell

blueprint = Blueprint("links", __name__)

Pairs = list[tuple[str, str]]

#: Only the network writes these; a visitor who brings them along would forge a click.
OWN_PARAMETERS = frozenset({"ps_xid", "gsxid", "ps_partner_key", "gspk", "pscd"})


@blueprint.get("/go/<partner_slug>")
def follow(partner_slug: str) -> Response:
    """Record the click and send the visitor on to the advertiser."""
    partner = PARTNERS.get(partner_slug)
    if partner is None:
        abort(404, "There is no partner of this name.")
    target = network().target
    if request.method == "HEAD":
        return _redirect(target)  # somebody looks where the link leads: no visit, no click
    xid = network().clicks.record(partner.slug, *_sorted_out(request.args))
    tell(request.environ, f"click {xid}")
    # Bytes that are no UTF-8 survive the round trip: the visitor's parameters are not ours to mend.
    ascii_query = "".join(
        chr(byte) if byte < 128 else f"%{byte:02X}" for byte in request.query_string
    )
    theirs = parse_qsl(ascii_query, keep_blank_values=True, errors="surrogateescape")
    kept = [(name, value) for name, value in theirs if name not in OWN_PARAMETERS]
    return _redirect(landing_url(target, partner, xid, kept, _custom_domain(), random.Random()))


def landing_url(
    target: str,
    partner: Partner,
    xid: str,
    theirs: Pairs,
    link_host: str | None,
    order: random.Random,
) -> str:
    """Return the advertiser's page with a click in today's shape.

    The order of parameters is not fixed at the real network, so it is drawn; only parameters of
    the visitor keep their order among themselves.
    """
    own = [
        ("ps_partner_key", partner.encoded_key),
        ("gspk", partner.encoded_key),
        ("ps_xid", xid),
        ("gsxid", xid),
    ]
    if link_host is not None:
        own.append(("pscd", link_host))
    order.shuffle(own)
    places = set(order.sample(range(len(own) + len(theirs)), len(theirs)))
    mine, guests = iter(own), iter(theirs)
    merged = [next(guests if i in places else mine) for i in range(len(own) + len(theirs))]
    parts = urlsplit(target)
    query = urlencode(merged, errors="surrogateescape")
    joined = "&".join(piece for piece in (parts.query, query) if piece)
    return urlunsplit(parts._replace(query=joined))


def is_sub_id(name: str) -> bool:
    """Return whether a parameter is `sid`, `sid1`, `sid2` ..."""
    return name == "sid" or (name.startswith("sid") and name[3:].isdecimal())


def _sorted_out(args: MultiDict[str, str]) -> tuple[Sequence[str], dict[str, str]]:
    pairs = [(name, value) for name, value in args.items(multi=True) if value]
    sub_ids = [value for name, value in pairs if is_sub_id(name)]
    rest = {
        name: value for name, value in pairs if not is_sub_id(name) and name not in OWN_PARAMETERS
    }
    return sub_ids, rest


def _custom_domain() -> str | None:
    name = host_name(request.host)
    shared = name is None or name == "localhost" or (is_loopback(name) and "." not in name)
    is_address = name is not None and (":" in name or name.replace(".", "").isdecimal())
    return None if shared or is_address else name


def _redirect(location: str) -> Response:
    return Response("", 302, {"Location": location, "Cache-Control": "no-store"})
