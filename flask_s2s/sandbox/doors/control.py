"""`/sandbox/...` as JSON: how a test drives the stand-in, and reads its record."""

from typing import Any

from flask import Blueprint, Response, abort, jsonify, request

from flask_s2s.sandbox.doors.network import network
from flask_s2s.sandbox.switches import SwitchError, Switches

blueprint = Blueprint("control", __name__, url_prefix="/sandbox")


@blueprint.errorhandler(SwitchError)
def refuse(error: SwitchError) -> tuple[Response, int]:
    return jsonify(message=str(error), key=error.key), 400


def _object() -> dict[str, Any]:
    given = request.get_json(silent=True)
    if not isinstance(given, dict):
        abort(400, "Expected a JSON object.")
    return given


@blueprint.put("/faults")
def put_faults() -> Response:
    """Set all switches: what the body leaves out goes back to its default."""
    network().plan.put(Switches.read(_object(), seed=network().seed))
    return jsonify(network().plan.switches.as_dict())


@blueprint.patch("/faults")
def change_faults() -> Response:
    """Set the switches in the body and keep the others."""
    kept = network().plan.switches.as_dict()
    network().plan.put(Switches.read({**kept, **_object()}))
    return jsonify(network().plan.switches.as_dict())


@blueprint.delete("/tokens/<int(max=2147483647):token_id>")
def revoke_token(token_id: int) -> Response:
    """Revoke a token; it answers 401 from now on."""
    if not network().tokens.revoke(token_id):
        abort(404, "There is no such token.")
    return jsonify(id=token_id, revoked=True)


@blueprint.post("/reset")
def reset() -> Response:
    """Empty all data and start the faults' stream anew; switches and tokens stay."""
    network().reset()
    return jsonify(network().reports.totals())


@blueprint.get("/ledger")
def ledger() -> Response:
    """Return the network's own record; with `?totals=1` only its counts."""
    if request.args.get("totals"):
        return jsonify({"totals": network().reports.totals()})
    return Response(network().reports.ledger(), mimetype="application/json")


@blueprint.get("/elsewhere")
def elsewhere() -> tuple[str, int]:
    """Where the redirect fault leads: a client that follows it finds a page, not an answer."""
    return "Moved", 200
