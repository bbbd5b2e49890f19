"""What templates say to carry a click: a field for a form, and an address with room for a handle.

Both are the same for every visitor, so a page with them may be kept by any cache: the middleware
fills them in on the way out, for a visitor whose cookie has not been seen to come back. For all
others they stay as they are and do nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response, after_this_request, request, url_for
from markupsafe import Markup
from werkzeug.datastructures import Headers

from .capture.answering import can_be_filled, of_filled
from .capture.cookie import for_one_visitor
from .capture.filling import FIELD, Filler
from .capture.handle import PARAMETER
from .host import current_services, handle_in_form
from .services import Services


def template_helpers() -> dict[str, Callable[..., Any]]:
    """Return what templates may call."""
    return {"s2s_field": field, "s2s_url_for": address}


def field() -> Markup:
    """Return a hidden field that carries the click through this form: `{{ s2s_field() }}`."""
    services = current_services()
    if services.settings.carry == "off":
        return Markup()
    _keep_through(services)
    return Markup(FIELD)


def address(endpoint: str, **values: Any) -> str:
    """Return `url_for(endpoint, ...)` with room for the click, where that is a page of this app."""
    is_page = not values.get("_external") and endpoint.rpartition(".")[2] != "static"
    if is_page and current_services().settings.carry != "off":
        values[PARAMETER] = ""
    return url_for(endpoint, **values)


def _keep_through(services: Services) -> None:
    """Fill a form that is shown again: what was sent had its handle in it, and not in the URL."""
    handle = handle_in_form()
    if handle is None or services.visitors.handle_of(request.environ, handle_in_form) != handle:
        return

    @after_this_request
    def fill(response: Response) -> Response:
        headers = response.headers.to_wsgi_list()
        if response.is_sequence and can_be_filled(response.status, headers):
            filler = Filler(lambda: handle, host=request.host, query="", everywhere=False)
            page = filler.feed(response.get_data()) + filler.end()
            response.set_data(page)
            response.headers = Headers(of_filled(for_one_visitor(headers), len(page)))
        return response
