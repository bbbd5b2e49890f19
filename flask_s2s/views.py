"""Conversion views: what the decorator wraps around a view."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from flask import request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from .conversion import Conversion, Signup
from .errors import UsageError
from .recording.tentative import ArmedView
from .rules.attribution import Attribution
from .services import Services

log = logging.getLogger("flask_s2s.conversion")

View = Callable[..., Any]
ViewT = TypeVar("ViewT", bound=Callable[..., Any])
T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")
#: A field of a conversion view: a value, or a function that is called when the view has run.
Lazily: TypeAlias = T | Callable[[], T | None] | None
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_EXAMPLE = "@s2s.conversion(customer_key=lambda: g.user.id)"


def called(method: Callable[Concatenate[T, P], R]) -> Callable[Concatenate[T, P], R]:
    """Let a method that makes a decorator refuse to be one."""

    @functools.wraps(method)
    def checked(self: T, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if args and callable(args[0]):
            raise UsageError(f"@s2s.conversion needs arguments: write {_EXAMPLE}")
        return method(self, *args, **kwargs)

    return checked


def refuse_asynchronous(what: str, given: Callable[..., Any]) -> None:
    """Refuse a function whose answer would have to be awaited: a condition would be true."""
    if inspect.iscoroutinefunction(given):
        raise UsageError(f"{what} is asynchronous, and is called as it is: write it with def")


def _refuse_what_cannot_be_called(name: str, given: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(given)
    except Exception:  # noqa: BLE001 - a builtin has none, and a proxy stands for nothing yet
        return
    refuse_asynchronous(f"conversion({name}=...)", given)
    try:
        signature.bind()
    except TypeError:
        raise UsageError(
            f"conversion({name}=...) is called without arguments: {name}=lambda: ..."
        ) from None


class ConversionView:
    """The arguments of one `@s2s.conversion(...)`; `decorate` applies them."""

    def __init__(
        self,
        kind: str,
        *,
        customer_key: object,
        when: object,
        fields: Mapping[str, Any],
        session: Any,
        services: Callable[[], Services],
        seen: list[tuple[View, View]],
    ) -> None:
        """`seen` gets each view that is decorated, and what takes its place."""
        if kind != Signup.kind:
            raise UsageError(f"conversion({kind!r}) is not known; use 'signup'")
        for name, given in (("customer_key", customer_key), ("when", when)):
            if not callable(given) and (given is not None or name == "customer_key"):
                raise UsageError(
                    f"conversion({name}=...) must be a function, which is called when the view "
                    f"runs: {name}=lambda: ..."
                )
        for name, given in {**fields, "customer_key": customer_key, "when": when}.items():
            if callable(given):
                _refuse_what_cannot_be_called(name, given)
        self._customer_key: Any = customer_key
        self._when: Any = when
        self._fields = {name: value for name, value in fields.items() if value is not None}
        self._session = session
        self._services = services
        self._seen = seen

    def decorate(self, view: ViewT) -> ViewT:
        """Return `view`, recording a conversion when it succeeds; async views stay async."""
        if isinstance(view, type):
            raise UsageError(
                f"@s2s.conversion decorates a view function, and {view.__name__} is a class: put it "
                f"above a method, or into the class's list: decorators = [{_EXAMPLE[1:]}]"
            )
        if not callable(view):
            raise UsageError(
                f"@s2s.conversion decorates a view function, not {type(view).__name__}: put it "
                "directly above def"
            )
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

        self._seen.append((view, wrapped))
        return wrapped  # type: ignore[no-any-return]

    def _begin(self) -> _Run:
        if request.method not in _UNSAFE:
            return _Run(None, False)
        services = self._services()
        environ = request.environ

        def attribution() -> Attribution:
            return services.visitors.crediting(environ)

        armed = ArmedView(services.recorder, self._make, attribution, self._session)
        return _Run(armed, not services.settings.production)

    def _make(self) -> Conversion | None:
        if self._when is not None and not self._when():
            return None
        key = self._customer_key()
        if key is None or key is False:
            return None
        values = {n: v() if callable(v) else v for n, v in self._fields.items()}
        return Signup(customer_key=key, **values)


def tell_of_unused(seen: Iterable[tuple[View, View]], registered: Iterable[View]) -> None:
    """Log each view that the app routes to without the decorator that was put above its route.

    Others' decorators may stand between the two.
    """
    routed = set(map(id, registered := list(registered)))
    used = {id(one) for view in registered for one in _layers(view)}
    for view, wrapped in seen:
        if id(wrapped) not in used and any(id(one) in routed for one in _layers(view)):
            log.error(
                "s2s.conversion.unused: %s is routed without its @s2s.conversion, and records "
                "nothing. Put the decorator below @app.route (@app.post ...)",
                getattr(view, "__qualname__", type(view).__name__),
                extra={"action": "conversion.unused"},
            )


def _layers(view: View) -> list[View]:
    """Return a view and what its decorators (`functools.wraps`) were put around, outermost first."""
    found = [view]
    while (inner := getattr(found[-1], "__wrapped__", None)) is not None and inner not in found:
        found.append(inner)
    return found


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
    if result is None or (isinstance(result, tuple) and result[:1] == (None,)):
        return 500  # which Flask makes of it
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
