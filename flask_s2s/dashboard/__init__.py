"""The advertiser's dashboard: what the programme earns, why a customer is credited, what failed.

Decisions: plain HTML that is complete without a script, made by a Jinja environment of its own, so
that nothing of the host's templates or filters changes it. Its own Content-Security-Policy allows
nothing but its own files. Who may see it is the host's decision, and there is no default.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from ..errors import StorageError, TooSlow, UsageError
from ..services import Services
from .access import Access
from .access import Act as Act
from .access import View as View
from .conversions import Conversions
from .frame import Frame
from .model import Model
from .operation import Operation
from .programme import Programme
from .rendering import STATIC
from .safety import protect

__all__ = ["Act", "View", "dashboard"]


def dashboard(
    services: Callable[[], Services],
    *,
    access: Access,
    title: str = "Partner programme",
    partner_name: Callable[[str], str | None] | None = None,
    name: str = "s2s_dashboard",
) -> Blueprint:
    """Return the blueprint; see `S2S.dashboard`."""
    model = Model(services)
    frame = Frame(services, access, title, partner_name, model.around)
    conversions, programme = Conversions(frame, model), Programme(frame, model)
    operation = Operation(frame, model)
    blueprint = Blueprint(name, __name__, static_folder=str(STATIC))
    blueprint.before_request(frame.let_in)
    blueprint.after_request(_protected)
    for rule, view, methods in (
        ("/", programme.overview, ["GET"]),
        ("/conversions", conversions.conversions, ["GET"]),
        ("/conversions.csv", conversions.conversions_csv, ["GET"]),
        ("/conversions/<int:number>", conversions.conversion, ["GET"]),
        ("/conversions/<int:number>/retry", conversions.retry_one, ["POST"]),
        ("/conversions/<int:number>/ask", conversions.ask, ["POST"]),
        ("/customers", conversions.customers, ["GET"]),
        ("/customer", conversions.customer, ["GET"]),
        ("/customer/credit", conversions.credit, ["POST"]),
        ("/partners", programme.partners, ["GET"]),
        ("/partners.csv", programme.partners_csv, ["GET"]),
        ("/partner", programme.partner, ["GET"]),
        ("/fraud", programme.fraud, ["GET"]),
        ("/fraud/block", programme.block, ["POST"]),
        ("/fraud/unblock", programme.unblock, ["POST"]),
        ("/reconciliation", programme.reconciliation, ["GET"]),
        ("/reconciliation/compare", programme.compare, ["POST"]),
        ("/reconciliation/explained", programme.explained, ["POST"]),
        ("/failed", operation.failed, ["GET"]),
        ("/failed/retry", operation.retry, ["GET", "POST"]),
        ("/failed/ack", operation.ack, ["GET", "POST"]),
        ("/failed/discard", operation.discard, ["GET", "POST"]),
        ("/delivery", operation.delivery, ["GET"]),
        ("/delivery/pause", operation.pause, ["GET", "POST"]),
        ("/delivery/resume", operation.resume, ["POST"]),
        ("/acts", operation.acts, ["GET"]),
        ("/acts/<int:number>", operation.progress, ["GET"]),
        ("/settings", operation.settings, ["GET"]),
        ("/settings/check", operation.check, ["POST"]),
        ("/counted", operation.counted, ["GET"]),
    ):
        blueprint.add_url_rule(rule, view.__name__, view, methods=methods)
        if methods == ["POST"]:
            blueprint.add_url_rule(rule, f"form_of_{view.__name__}", frame.back)
    blueprint.register_error_handler(HTTPException, frame.on_http_error)
    blueprint.register_error_handler(UsageError, frame.on_usage)
    blueprint.register_error_handler(TooSlow, frame.on_slow)
    # What is no answer of a database's is a mistake of ours, and no reason to come again.
    for error in (DBAPIError, PoolTimeout, StorageError):
        blueprint.register_error_handler(error, frame.on_database)
    return blueprint


def _protected(response: Response) -> Response:
    is_file = request.endpoint is not None and request.endpoint.endswith(".static")
    if is_file and response.status_code in (200, 304):
        return protect(response, cached="private, max-age=86400")
    return protect(response)
