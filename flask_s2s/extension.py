"""`S2S`: the extension. It wires a Flask app to its `Services` and holds no state of any app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from blinker import Signal
from flask import Flask, Response, after_this_request

from . import host
from .carrying import template_helpers
from .click import Click
from .clock import Clock
from .config import Settings
from .conversion import Conversion
from .delivery.enlist import watch
from .delivery.erasing import Erased
from .elsewhere import CaptureBlueprint, hand_over, link
from .errors import ConfigError, UsageError
from .middleware import S2SMiddleware
from .networks.transport import Transport
from .reply import expiring
from .services import Services
from .signals import signup_completed
from .tracking import Tracking
from .views import ConversionView

#: Two apps in one process may each have an S2S that listens to the same signal.
_OWNER = "s2s.owner"
ViewT = TypeVar("ViewT", bound=Callable[..., Any])
Mapper = Callable[..., "Conversion | None"]
Lazy = Callable[[], Any]


def _without_cookie(response: Response, services: Services, environ: dict[str, Any]) -> Response:
    for name, value in expiring(services, environ):
        response.headers.add(name, value)
    return response


class S2S(Tracking):
    """Flask-S2S. `S2S(app)`, or `S2S()` and later `init_app(app)`.

    `transport` and `clock` replace HTTP and the machine's clock, for tests.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        transport: Transport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._transport = transport
        self._clock = clock
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Capture clicks on `app`, and deliver its conversions.

        Reads `app.config` once. Raises `ConfigError` for a setting that is wrong, and when the app
        has been initialised before.
        """
        if host.NAME in app.extensions:
            raise ConfigError(
                "S2S", "is initialised on this app already", "Call init_app once for each app."
            )
        settings = Settings.from_mapping(app.config)
        services = Services.build(
            settings,
            folder=Path(app.instance_path),
            host_engine=lambda: host.engine_of(app),
            transport=self._transport,
            clock=self._clock,
        )
        services.sender = app
        services.static_path = app.static_url_path
        app.context_processor(lambda: {**template_helpers(), "s2s_hand_over": link})
        app.extensions[host.NAME] = services
        app.extensions[_OWNER] = self
        app.wsgi_app = S2SMiddleware(app.wsgi_app, services, expose=False)  # type: ignore[method-assign]
        # The same function each time: Blinker connects it once, for however many apps.
        signup_completed.connect(host.on_signup_completed)
        if "sqlalchemy" in app.extensions:
            watch(getattr(app.extensions["sqlalchemy"], "session", None))

    def capture_blueprint(
        self, *, rate: float = 20.0, origins: Sequence[str] | None = None
    ) -> CaptureBlueprint:
        """Return two addresses for pages that are not this app's, to register where you like.

        `<prefix>/click` takes the query string of a landing page of the same site (a CMS, say) from
        its script, and sets the cookie; `<prefix>/to/...` is where `s2s_hand_over` links to. `rate`
        is how many clicks a second one process takes from scripts. `origins` narrows who may call
        ("https://www.example.com"): by itself every host that the cookie is for.
        """
        return CaptureBlueprint(rate=rate, origins=origins)

    def hand_over(self, url: str) -> str:
        """Return `url`, on another site of yours, with the current visitor's click in it.

        It is good for ten minutes and in that host alone, which must have the same S2S_SECRET_KEY.
        The response is kept by no shared cache. Without a click, or for this very host, `url`.
        """
        return hand_over(url)

    def current_click(self) -> Click | None:
        """Return the visitor's click, or None. Never raises because of a cookie."""
        return host.current_attribution(self.services).best

    def identify(
        self, *, email: str | None = None, user_id: object = None, session: Any = None
    ) -> bool:
        """Remember that whoever gave this address, or has this ID, came by the visitor's click.

        For a newsletter, trial or lead form: a sign-up with that `email`, or with that `user_id` as
        its `customer_key`, is credited even if the browser has lost the click by then, or is another
        one. Kept is a keyed hash, and a click that the browser presents itself always comes first:
        anybody can type a stranger's address into a form.

        Returns whether there was a click to bind; without one nothing is written. With `session=`
        it is one with that session's transaction, and raises what the database raises; without it
        nothing is raised, and what goes wrong is logged. Raises `UsageError` and `ConfigError` like
        `track_signup`.
        """
        return self.services.identify(
            email=email,
            user_id=user_id,
            session=session,
            environ=host.current_environ(),
            form=host.handle_in_form,
        )

    def withdraw(self, *, session: Any = None) -> Erased:
        """Erase what is kept of the current request's visitor, and say what that was.

        For the view in which somebody withdraws their consent. The cookie ends with this response;
        the click's rows, what it was bound to and what was not sent yet go at once, in a transaction
        of our own, or with `session=` in that session's. What the network has got stays there, and
        its rows here until `flask s2s forget`. From now on this request has no click.

        `S2S_CONSENT` should answer "denied" afterwards: the next partner's link begins anew.
        Raises what the database raises, `UsageError` outside a request, and `StorageError` without
        `session=` while a transaction is open on the one connection that all share.
        """
        environ = host.current_environ()
        if environ is None:
            raise UsageError("withdraw() is for a visitor's request; there is `flask s2s forget`")
        services = self.services
        erased = services.withdraw(environ=environ, session=session, form=host.handle_in_form)
        if erased.cookie and not services.visitors.asks:
            after_this_request(lambda response: _without_cookie(response, services, environ))
        return erased

    def conversion(
        self,
        kind: str = "signup",
        *,
        customer_key: Lazy,
        session: Any = None,
        when: Lazy | None = None,
        **fields: Any,
    ) -> Callable[[ViewT], ViewT]:
        """Decorate a conversion view: its success records a conversion.

        Only unsafe methods count. `customer_key` is called during and after the view; None means
        "no conversion this time" (an invalid form shown again). `when` narrows further. Each of
        `fields` is a value or a callable. With `session=` the row commits with the session's own
        commit and is sent once the view has succeeded; an error withdraws it.
        """
        if session is not None:
            watch(session)
        return ConversionView(
            kind,
            customer_key=customer_key,
            when=when,
            fields=fields,
            session=session,
            services=host.current_services,
        ).decorate

    def connect(self, signal: Signal, mapper: Mapper, *, session: Any = None) -> None:
        """Record a conversion whenever `signal` is sent: `mapper(sender, **kwargs)` makes it.

        None from the mapper means "no conversion". With `session=` (or a callable that returns the
        session in use) the row is written by that session's own commit; where the session has new
        objects the mapper is called within that commit, when they have their keys. A session that
        has committed already, and has nothing new, gets a transaction of our own at once.
        The app is the current one, else the sender; signals of apps that this object was not
        initialised on are ignored.
        """
        if session is not None:
            watch(session)

        def receive(sender: Any, **kwargs: Any) -> None:
            app = host.app_of(sender)
            if app is not None and app.extensions.get(_OWNER) is self:
                host.record_fact(app, lambda: mapper(sender, **kwargs), session)

        signal.connect(receive, weak=False)

    def drain(self) -> int:
        """Send everything that is due now, in this thread; return how many were tried."""
        return self.services.drain()
