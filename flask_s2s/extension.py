"""`S2S`: the extension. It wires a Flask app to its `Services` and holds no state of any app.

Its `track_*` methods are for views whose visitor has become a customer, or whose customer has done
something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from blinker import Signal
from flask import Blueprint, Flask, Response, after_this_request

from . import host
from .blueprint import CaptureBlueprint, from_state, hand_over, state, template_helpers
from .cli import s2s as commands
from .click import Click
from .clock import Clock
from .conversion import Action, Conversion, Key, Signup, Transaction, refund_of
from .errors import ConfigError, UsageError
from .middleware import S2SMiddleware, expiring
from .networks.messages import Transport
from .networks.network import Network
from .recording.joining import LEFT_OUT, Given
from .rules.delivery import Tracked
from .services import Services
from .store.privacy.erasing import Erased
from .views import ConversionView, Lazily, ViewT, called, refuse_asynchronous, tell_of_unused

#: Two apps in one process may each have an S2S that listens to the same signal.
_OWNER = "s2s.owner"
Mapper = Callable[..., "Conversion | None"]


def _without_cookie(response: Response, services: Services, environ: dict[str, Any]) -> Response:
    for name, value in expiring(services, environ):
        response.headers.add(name, value)
    return response


class S2S:
    """Flask-S2S. `S2S(app)`, or `S2S()` and later `init_app(app)`.

    `transport` and `clock` replace HTTP and the machine's clock, for tests.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        transport: Transport | None = None,
        clock: Clock | None = None,
        networks: Sequence[type[Network]] = (),
    ) -> None:
        self._networks = tuple(networks)
        self._transport = transport
        self._clock = clock
        #: Decorated views, which an app may route to without their decorator.
        self._views: list[tuple[Callable[..., Any], Callable[..., Any]]] = []
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Capture clicks on `app`, and deliver its conversions.

        Reads `app.config` once. Raises `ConfigError` for a setting that is wrong, and when the app
        has been initialised before.
        """
        if not isinstance(app, Flask):
            raise UsageError(f"S2S is initialised on a Flask app, not {type(app).__name__}")
        if host.NAME in app.extensions:
            raise ConfigError(
                "S2S",
                "is initialised on this app already",
                "Call init_app once for each app: S2S(app) has done it.",
            )
        try:
            services = host.services_for(
                app,
                networks=self._networks,
                transport=self._transport,
                clock=self._clock,
                at_first_request=lambda: tell_of_unused(self._views, app.view_functions.values()),
            )
        except ConfigError as error:
            # Services that collect errors keep the variables of each frame: below are the secrets.
            raise error.with_traceback(None) from None
        app.context_processor(template_helpers)
        app.extensions[host.NAME] = services
        app.extensions[_OWNER] = self
        app.cli.add_command(commands)
        # Bound, as the app's own is: an ordinary request pays less for that than for an instance's call.
        middleware = S2SMiddleware(app.wsgi_app, services, expose=False)
        app.wsgi_app = middleware.__call__  # type: ignore[method-assign]
        host.listen_for_signups()

    @property
    def services(self) -> Services:
        """The current app's `Services`."""
        return host.current_services()

    # -- conversions --------------------------------------------------------------------------

    def track_signup(
        self,
        *,
        customer_key: Key,
        email: str | None = None,
        name: str | None = None,
        provider_key: str | None = None,
        origin: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
        external_type: str | None = None,
        meta: Mapping[str, Any] | None = None,
        session: Given = LEFT_OUT,
        click: Click | None = None,
    ) -> Tracked:
        """Record that the current request's visitor became customer `customer_key`.

        With `session=` the row is written in that session's transaction, by one statement that
        neither flushes nor commits: user and conversion commit together, or not at all. Left out,
        the row joins the session in use where that has something to commit; else it is written at
        once in a transaction of its own, as always with None. What goes wrong there is logged, and
        the page goes on.

        `customer_key` must be the key that your billing uses too. The same customer twice is one
        delivery: the first is returned. `click` overrides what the visitor brought, for calls
        outside a request. The other arguments are the fields of `Signup`. One that cannot be sent
        as it is passed is cut, cleaned or left out, which the log and the row's `cleaned` tell;
        only the customer key must be one.

        Returns the `Delivery`: without a click its status is `unattributed`, its `reason` says why,
        and it keeps nothing personal. Else, and false as a condition: `Late`, where the row comes
        with another try or after the open transaction, and `NotStored`, where it does not come.

        Raises `InvalidConversion` while developing or testing (in production what has a field that
        is not acceptable becomes a row `invalid`, which names it), `UsageError` for an
        AsyncSession, `ConfigError` for a session of another database, and with `session=` what the
        database raises.
        """
        return self._track(
            lambda: Signup(
                customer_key=customer_key,  # type: ignore[arg-type]
                email=email,
                name=name,
                provider_key=provider_key,
                origin=origin,
                ip_address=ip_address,
                user_agent=user_agent,
                external_type=external_type,
                meta={} if meta is None else meta,
            ),
            session,
            click,
        )

    def track_action(
        self,
        *,
        customer_key: Key,
        type: str,
        value: int = 1,
        key: Key | None = None,
        session: Given = LEFT_OUT,
    ) -> Tracked:
        """Record that a customer reached a milestone of this `type`.

        It is sent once the customer's sign-up is accepted. Without a `key` of your own a customer
        has one action of a type. Returns and raises like `track_signup`.
        """
        return self._track(
            lambda: Action(customer_key=customer_key, type=type, value=value, key=key),  # type: ignore[arg-type]
            session,
        )

    def track_transaction(
        self,
        *,
        customer_key: Key,
        amount: int | Decimal,
        currency: str,
        key: Key,
        product_key: str | None = None,
        category_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        created_at: datetime | int | None = None,
        session: Given = LEFT_OUT,
    ) -> Tracked:
        """Record that a customer paid `amount`: whole minor units (cents), or a `Decimal`.

        `key` is your ID of the transaction, such as `f"invoice-{invoice.id}"` (4 to 255 characters,
        so a bare number may be too short), unique over all customers: the same key is the same
        transaction, and under another customer's it is not acceptable. It is sent once the sign-up
        is accepted, with the time it has now, or `created_at`. One that was undone came back, unless
        its `created_at` is before that: then it is a repeat. Returns and raises like `track_signup`.
        """
        return self._track(
            lambda: Transaction(
                customer_key=customer_key,  # type: ignore[arg-type]
                amount=amount,  # type: ignore[arg-type]
                currency=currency,
                key=key,  # type: ignore[arg-type]
                product_key=product_key,
                category_key=category_key,
                metadata={} if metadata is None else metadata,
                created_at=created_at,  # type: ignore[arg-type]
            ),
            session,
        )

    def track_refund(
        self,
        *,
        customer_key: Key,
        transaction_key: Key,
        amount: int | Decimal | None = None,
        currency: str | None = None,
        key: Key | None = None,
        created_at: datetime | int | None = None,
        session: Given = LEFT_OUT,
    ) -> Tracked:
        """Record that a transaction was paid back: as a whole, or `amount` of it.

        The whole reverses the transaction at the network, and what was paid back of it in parts. A
        part (a positive `amount`, with its `currency` and a `key` of its own) is a transaction with
        a negative amount. Both wait until the transaction is accepted. One whose `created_at` is
        before the payment came back is a repeat. Returns and raises like `track_signup`.
        """

        def refund() -> Conversion:
            return refund_of(
                customer_key=customer_key,
                transaction_key=transaction_key,
                amount=amount,
                currency=currency,
                key=key,
                created_at=created_at,
            )

        return self._track(refund, session)

    def _track(
        self, make: Callable[[], Conversion], session: Given, click: Click | None = None
    ) -> Tracked:
        services, environ = self.services, host.current_environ()
        try:
            conversion = make()
        except UsageError as error:
            attribution = host.current_attribution(services)
            return services.recorder.invalid_call(error, attribution, session)
        return services.track(conversion, session=session, environ=environ, click=click)

    @called
    def conversion(
        self,
        kind: Literal["signup"] = "signup",
        *,
        customer_key: Callable[[], Key | Literal[False] | None],
        when: Callable[[], object] | None = None,
        session: Given = LEFT_OUT,
        email: Lazily[str] = None,
        name: Lazily[str] = None,
        provider_key: Lazily[str] = None,
        origin: Lazily[str] = None,
        ip_address: Lazily[str] = None,
        user_agent: Lazily[str] = None,
        external_type: Lazily[str] = None,
        meta: Lazily[Mapping[str, Any]] = None,
    ) -> Callable[[ViewT], ViewT]:
        """Decorate a conversion view: its success records a sign-up.

        Only unsafe methods count. `customer_key` is called during and after the view; None means
        "no conversion this time" (an invalid form shown again). `when` narrows further. The other
        arguments are fields of `Signup`, each a value or a function. With `session=` the row commits
        with the session's own commit and is sent once the view has succeeded; an error withdraws it.

        Raises `UsageError` for what cannot work: a value where a function is asked for, or a class. A
        view that its route has without this decorator is told in the log at the first request.
        """
        fields = {
            "email": email,
            "name": name,
            "provider_key": provider_key,
            "origin": origin,
            "ip_address": ip_address,
            "user_agent": user_agent,
            "external_type": external_type,
            "meta": meta,
        }
        return ConversionView(
            kind,
            customer_key=customer_key,
            when=when,
            fields=fields,
            session=session,
            services=host.current_services,
            seen=self._views,
        ).decorate

    def connect(self, signal: Signal, mapper: Mapper, *, session: Given = LEFT_OUT) -> None:
        """Record a conversion whenever `signal` is sent: `mapper(sender, **kwargs)` makes it.

        None from the mapper means "no conversion". With `session=` (or a callable that returns the
        session in use) the row is written by that session's own commit; where the session has new
        objects the mapper is called within that commit, when they have their keys. A session that
        has committed already, and has nothing new, gets a transaction of our own at once.
        The app is the current one, else the sender; signals of apps that this object was not
        initialised on are ignored.
        """
        refuse_asynchronous("The mapper of connect()", mapper)

        def receive(sender: Any, **kwargs: Any) -> None:
            app = host.app_of(sender)
            if app is not None and app.extensions.get(_OWNER) is self:
                host.record_fact(app, lambda: mapper(sender, **kwargs), session)

        signal.connect(receive, weak=False)

    # -- visitors -----------------------------------------------------------------------------

    def capture_blueprint(
        self, *, rate: float = 20.0, origins: Sequence[str] | None = None
    ) -> CaptureBlueprint:
        """Return two addresses for pages that are not this app's, to register where you like.

        `<prefix>/click` takes the query string of a landing page of the same site (a CMS, say) from
        its script, and sets the cookie; `<prefix>/to/...` is where `s2s_hand_over` links to. `rate`
        is for how many clicks a second from scripts one process writes a row: beyond it the cookie
        alone has them. `origins` narrows who may call
        ("https://www.example.com"): by itself every host that the cookie is for.
        """
        return CaptureBlueprint(rate=rate, origins=origins)

    def dashboard(
        self,
        *,
        access: Callable[[Any], Any],
        title: str = "Partner programme",
        partner_name: Callable[[str], str | None] | None = None,
        name: str = "s2s_dashboard",
    ) -> Blueprint:
        """Return the advertiser's dashboard, to register under a prefix of your choice.

        `access(request)` says who may see it: `View(name)` looks, `Act(name)` also sends again and
        credits by hand (both of `flask_s2s.dashboard`), None gets a 404. There is no default: it
        shows who your customers are. `partner_name(key)` gives partners their names.
        """
        # Whoever has no dashboard does not load it.
        from .dashboard import dashboard

        return dashboard(
            host.current_services,
            access=access,
            title=title,
            partner_name=partner_name,
            name=name,
        )

    def probes(self) -> Blueprint:
        """Return `/alive` and `/ready` for whoever watches this process, under your own prefix.

        `ready` is 503 while the outbox does not answer. Neither names anybody.
        """
        # Whoever has no probes does not load them.
        from .blueprint import probes

        return probes(host.current_services)

    def hand_over(self, url: str) -> str:
        """Return `url`, on another site of yours, with the current visitor's click in it.

        It is good for ten minutes and in that host alone, which must have the same S2S_SECRET_KEY.
        The response is kept by no shared cache. Without a click, or for this very host, `url`.
        """
        return hand_over(url)

    def state(self, own: str = "") -> str:
        """Return `own`, a state that a log-in or a payment elsewhere sends back, with the click in it.

        For what returns by a form that another site posts (Apple, SAML, Google's `login_uri`, 3-D
        Secure): no cookie comes with that. It is good for two hours and one customer; the response
        is kept by no shared cache. Without a click, `own`.
        """
        return state(own)

    def from_state(self, came: str | None) -> str:
        """Return the part of a state that was yours, and let this request have its click.

        Call it before the conversion is recorded. A click that the browser presents itself comes
        first. Neither an old, nor a strange, nor no state (None) is an error: what is yours to check
        is what is returned.
        """
        return from_state(came)

    def current_click(self) -> Click | None:
        """Return the visitor's click, or None. Never raises because of a cookie."""
        return host.current_attribution(self.services).best

    def identify(
        self,
        *,
        email: str | None = None,
        user_id: object = None,
        verified: bool = False,
        session: Given = LEFT_OUT,
    ) -> bool:
        """Remember that whoever gave this address, or has this ID, came by the visitor's click.

        For a newsletter, trial or lead form: a sign-up with that `email`, or with that `user_id` as
        its `customer_key`, is credited even if the browser has lost the click by then, or is another
        one. Kept is a keyed hash, and a click that the browser presents itself always comes first:
        anybody can type a stranger's address into a form.

        `verified=True` is for the view that has the proof: of the link in the letter that confirms
        the address, or of somebody who is logged in. It comes before what nobody proved, of which
        only three identities of one click count, and thirty of one partner and day; with
        `S2S_IDENTIFY = "verified"` nothing else is bound.

        Returns whether something was bound that counts; without a click nothing is written. With
        `session=` it is one with that session's transaction, and raises what the database raises; without it
        a page waits at most `S2S_RECORD_WAIT`, nothing is raised, and what goes wrong is tried again and
        logged. Raises `UsageError` and `ConfigError` like
        `track_signup`.
        """
        return self.services.identify(
            email=email,
            user_id=user_id,
            verified=verified,
            session=session,
            environ=host.current_environ(),
        )

    def withdraw(self, *, session: Given = LEFT_OUT) -> Erased:
        """Erase what is kept of the current request's visitor, and say what that was.

        For the view in which somebody withdraws their consent. The cookie ends with this response;
        the click's rows, what it was bound to and what was not sent yet go at once, in a transaction
        of our own, or with `session=` in that session's. What the network has got stays there, and
        its rows here until `flask s2s forget`. From now on this request has no click.

        `S2S_CONSENT` should answer "denied" afterwards: the next partner's link begins anew.
        Without `session=` a page waits at most `S2S_RECORD_WAIT`; the answer says `late` where it is
        erased after that. With it, raises what the database raises. Raises `UsageError` outside a
        request, and `StorageError` without `session=` while a transaction is open on the one
        connection that all share.
        """
        environ = host.current_environ()
        if environ is None:
            raise UsageError("withdraw() is for a visitor's request; there is `flask s2s forget`")
        services = self.services
        erased = services.withdraw(environ=environ, session=session)
        if erased.cookie and not services.visitors.asks:
            after_this_request(lambda response: _without_cookie(response, services, environ))
        return erased

    def drain(self) -> int:
        """Send everything that is due now, in this thread; return how many were tried."""
        return self.services.drain()
