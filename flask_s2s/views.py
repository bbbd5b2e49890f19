"""Conversion views: what the decorator wraps around a view."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from flask import request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from .capture.attribution import Attribution
from .conversion import Conversion, Signup
from .delivery.arming import ArmedView
from .errors import UsageError
from .host import handle_in_form
from .services import Services

log = logging.getLogger("flask_s2s.conversion")

View = Callable[..., Any]
ViewT = TypeVar("ViewT", bound=Callable[..., Any])
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class ConversionView:
    """What one `@s2s.conversion(...)` says; `decorate` applies it."""

    def __init__(
        self,
        kind: str,
        *,
        customer_key: Callable[[], Any],
        when: Callable[[], Any] | None,
        fields: Mapping[str, Any],
        session: Any,
        services: Callable[[], Services],
    ) -> None:
        if kind != Signup.kind:
            raise UsageError(f"conversion({kind!r}) is not known; use 'signup'")
        unknown = fields.keys() - Signup.__dataclass_fields__.keys()
        if unknown:
            raise UsageError(f"conversion() got {', '.join(sorted(unknown))}: no field of Signup")
        self._customer_key = customer_key
        self._when = when
        self._fields = fields
        self._session = session
        self._services = services

    def decorate(self, view: ViewT) -> ViewT:
        """Return `view`, recording a conversion when it succeeds; async views stay async."""
        wrapped: Any
        if inspect.iscoroutinefunction(view):

            @functools.wraps(view)
            async def wrapped(*args: Any, **kwargs: Any) -> Any:
                run = self._begin()
                try:
                    return run.returned(await view(*args, **kwargs))
                except BaseException as error:
                    run.raised(error)
                    raise

        else:

            @functools.wraps(view)
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                run = self._begin()
                try:
                    return run.returned(view(*args, **kwargs))
                except BaseException as error:
                    run.raised(error)
                    raise

        return wrapped  # type: ignore[no-any-return]

    def _begin(self) -> _Run:
        if request.method not in _UNSAFE:
            return _Run(None, False)
        services = self._services()
        environ = request.environ

        def attribution() -> Attribution:
            return services.attribution_of(environ, handle_in_form)

        armed = ArmedView(services.recorder, self._make, attribution, self._session)
        return _Run(armed, services.recorder.strict)

    def _make(self) -> Conversion | None:
        if self._when is not None and not self._when():
            return None
        key = self._customer_key()
        if key is None or key is False:
            return None
        values = {n: v() if callable(v) else v for n, v in self._fields.items()}
        return Signup(customer_key=key, **values)


class _Run:
    """One request through the view. `returned` and `raised` are each other's alternative."""

    def __init__(self, armed: ArmedView | None, strict: bool) -> None:
        self._armed = armed
        self._strict = strict

    def returned(self, result: Any) -> Any:
        status = status_of(result)
        self._end(status, f"answered {status}")
        return result

    def raised(self, error: BaseException) -> None:
        status = error.get_response().status_code if isinstance(error, HTTPException) else 500
        self._end(status, f"raised {type(error).__name__}")

    def _end(self, status: int, what: str) -> None:
        armed, self._armed = self._armed, None
        if armed is None:
            return
        try:
            if status < 400:
                armed.succeeded()
            else:
                armed.failed(f"the view {what}")
        except Exception:
            # The visitor did nothing wrong, and the view is done: only a developer sees this.
            if self._strict:
                raise
            log.exception("s2s.conversion.failed", extra={"action": "conversion.failed"})


def status_of(result: Any) -> int:
    """Return the HTTP status of what a Flask view returned, without making the response."""
    if isinstance(result, HTTPException):
        return result.get_response().status_code
    if isinstance(result, Response):
        return result.status_code
    if isinstance(result, tuple) and len(result) >= 2:
        status = result[1]
        if isinstance(status, int | HTTPStatus):
            return int(status)
        if isinstance(status, str) and status[:3].isdigit():
            return int(status[:3])
        return status_of(result[0])
    return 200
