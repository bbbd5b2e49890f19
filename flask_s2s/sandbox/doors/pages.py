"""The pages that a partner manager would look at. They need no script."""

from typing import Any

from flask import Blueprint, Response, abort, jsonify, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from flask_s2s.sandbox.books.moments import from_milliseconds
from flask_s2s.sandbox.books.paging import NEVER
from flask_s2s.sandbox.books.partners import PARTNERS
from flask_s2s.sandbox.books.tokens import API_KEYS
from flask_s2s.sandbox.doors.network import network
from flask_s2s.sandbox.doors.switchboard import GROUPS, LABELS, read_form
from flask_s2s.sandbox.switches import SwitchError

blueprint = Blueprint("pages", __name__)

PAGE_LENGTH = 50
LOG_LENGTH = 100


@blueprint.app_template_filter("moment")
def moment(value: int | None) -> str:
    """Return epoch milliseconds as people read them, in UTC."""
    return "" if value is None else f"{from_milliseconds(value):%d %b %Y, %H:%M:%S}"


@blueprint.app_template_filter("machine_moment")
def machine_moment(value: int) -> str:
    """Return epoch milliseconds for a `datetime` attribute."""
    return from_milliseconds(value).isoformat(timespec="milliseconds")


@blueprint.app_template_filter("share")
def share(part: int, whole: int) -> str:
    """Return a part of a whole in per cent; a dash of nothing."""
    return f"{part / whole:.1%}" if whole else "–"


@blueprint.app_template_filter("plain")
def plain(value: Any) -> Any:
    """Return a number without needless decimals."""
    return f"{value:g}" if isinstance(value, float) else value


@blueprint.app_context_processor
def frame() -> dict[str, Any]:
    """Give every page what its frame shows."""
    return {
        "partners": PARTNERS,
        "target": network().target,
        "striking": network().plan.switches.total_rate > 0,
    }


@blueprint.app_errorhandler(HTTPException)
def explain(error: HTTPException) -> Any:
    """Answer a person with a page and a program with JSON."""
    if error.response is not None:
        return error
    if not _wants_page():
        return jsonify(message=error.description, status=error.code), error.code
    return render_template("error.html", error=error), error.code


@blueprint.get("/")
def overview() -> str:
    return render_template(
        "overview.html",
        totals=network().reports.totals(),
        by_partner=network().reports.by_partner(),
        customers=network().customers.latest(5),
        base=request.host_url.rstrip("/"),
    )


@blueprint.get("/links")
def links() -> str:
    sid = request.args.get("sid", "newsletter")[:255]
    return render_template(
        "links.html",
        sid=sid,
        links=[
            (partner, url_for("links.follow", partner_slug=slug, sid=sid or None, _external=True))
            for slug, partner in PARTNERS.items()
        ],
        by_partner=network().reports.by_partner(),
    )


@blueprint.get("/clicks")
def clicks() -> str:
    found = network().clicks.latest(PAGE_LENGTH + 1, _before())
    return render_template("clicks.html", clicks=found[:PAGE_LENGTH], older=_older(found))


@blueprint.get("/customers")
def customers() -> str:
    found = network().customers.latest(PAGE_LENGTH + 1, _before())
    return render_template("customers.html", customers=found[:PAGE_LENGTH], older=_older(found))


@blueprint.get("/customers/<key>")
def customer(key: str) -> str:
    found = network().customers.by_own_key(key)
    if found is None:
        abort(404, "There is no such customer.")
    return render_template(
        "customer.html",
        customer=found,
        click=network().clicks.find(found.xid),
        rewards=network().rewards.of_customer(found.id),
    )


@blueprint.get("/sub-ids")
def sub_ids() -> str:
    return render_template("sub_ids.html", rows=network().reports.sources())


@blueprint.get("/requests")
def requests() -> str:
    return render_template(
        "requests.html",
        entries=network().log.latest(LOG_LENGTH),
        live="live" in request.args,
    )


@blueprint.get("/sandbox/tokens")
def tokens() -> str | Response:
    if not _wants_page():
        return jsonify(tokens=[_token_dict(token) for token in network().tokens.all()])
    return _tokens_page()


@blueprint.post("/sandbox/tokens")
def create_token() -> str | tuple[Response, int]:
    given = request.get_json() if request.is_json else request.form.to_dict()
    name = given.get("name") if isinstance(given, dict) else None
    if not isinstance(name, str) or not 1 <= len(name.strip()) <= 80:
        abort(400, "name: expected 1 to 80 characters")
    test = given.get("test") in (True, "on")
    token_id, token = network().tokens.create(name.strip(), test=test)
    if request.is_json:
        return jsonify(id=token_id, name=name.strip(), test=test, token=token), 201
    return _tokens_page(created=token, name=name.strip())


@blueprint.post("/sandbox/tokens/<int(max=2147483647):token_id>/revoke")
def revoke_token(token_id: int) -> BaseResponse:
    if not network().tokens.revoke(token_id):
        abort(404, "There is no such token.")
    return redirect(url_for("pages.tokens"), 303)


@blueprint.get("/sandbox/faults")
def faults() -> str | Response:
    if not _wants_page():
        return jsonify(network().plan.switches.as_dict())
    return _faults_page()


@blueprint.post("/sandbox/faults")
def set_faults() -> BaseResponse | tuple[str, int]:
    if "defaults" in request.form:
        network().plan.put(read_form({}, seed=network().seed))
        return redirect(url_for("pages.faults"), 303)
    try:
        network().plan.put(read_form(request.form, seed=network().seed))
    except SwitchError as error:
        return _faults_page(error=error), 400
    return redirect(url_for("pages.faults", saved=1), 303)


@blueprint.post("/sandbox/empty")
def empty() -> BaseResponse:
    network().reset()
    return redirect(url_for("pages.overview"), 303)


def _tokens_page(*, created: str | None = None, name: str = "") -> str:
    return render_template(
        "tokens.html",
        tokens=network().tokens.all(),
        api_keys=API_KEYS,
        created=created,
        created_name=name,
    )


def _faults_page(*, error: SwitchError | None = None) -> str:
    values = network().plan.switches.as_dict()
    if error is not None:
        values.update(request.form.to_dict())
    return render_template("faults.html", groups=GROUPS, labels=LABELS, values=values, error=error)


def _token_dict(token: Any) -> dict[str, Any]:
    names = ("id", "name", "hint", "test", "created_at", "revoked_at")
    return {name: getattr(token, name) for name in names}


def _wants_page() -> bool:
    return "text/html" in request.headers.get("Accept", "")


def _before() -> int | None:
    before = request.args.get("before", type=int)
    return None if before is None else max(0, min(before, NEVER))


def _older(found: list[Any]) -> int | None:
    return found[PAGE_LENGTH - 1].id if len(found) > PAGE_LENGTH else None
