"""What a view calls when its visitor has become a customer, or a customer has done something."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from . import host
from .click import Click
from .conversion import Action, Conversion, Reversal, Signup, Transaction
from .delivery.settlement import Delivery
from .errors import UsageError
from .money import paid_back
from .services import Services


class Tracking:
    """The calls that record a conversion of the current app, for the current request's visitor."""

    @property
    def services(self) -> Services:
        """The current app's `Services`."""
        return host.current_services()

    def track_signup(
        self,
        *,
        customer_key: object,
        email: str | None = None,
        name: str | None = None,
        session: Any = None,
        click: Click | None = None,
        **fields: Any,
    ) -> Delivery | None:
        """Record that the visitor became customer `customer_key`.

        With `session=` the row is written in that session's transaction, by one statement that
        neither flushes nor commits: user and conversion commit together, or not at all. Without it
        the row is written at once in a transaction of its own; None is returned when the database
        did not take it (that is logged, and the page goes on).

        `customer_key` must be the key that your billing uses too. The same customer twice is one
        delivery: the first is returned. Without a click the row says why, and keeps nothing
        personal. `fields` are the other fields of `Signup`; `click` overrides what the visitor
        brought, for calls outside a request.

        Raises `InvalidConversion` while developing or testing (in production what has a field that
        is not acceptable becomes a row `invalid`, which names it), `UsageError` for an
        AsyncSession, `ConfigError` for a session of another database, and with `session=` what the
        database raises.
        """
        values = {"customer_key": customer_key, "email": email, "name": name, **fields}
        return self._track(lambda: Signup(**values), session, click)

    def track_action(
        self,
        *,
        customer_key: object,
        type: str,
        value: int = 1,
        key: str | None = None,
        session: Any = None,
    ) -> Delivery | None:
        """Record that a customer reached a milestone of this `type`.

        It is sent once the customer's sign-up is accepted. Without a `key` of your own a customer
        has one action of a type. Returns and raises like `track_signup`.
        """
        values: dict[str, Any] = {"customer_key": customer_key, "type": type, "value": value}
        return self._track(lambda: Action(**values, key=key), session)

    def track_transaction(
        self,
        *,
        customer_key: object,
        amount: int | Decimal,
        currency: str,
        key: str,
        session: Any = None,
        **fields: Any,
    ) -> Delivery | None:
        """Record that a customer paid `amount`: whole minor units (cents), or a `Decimal`.

        `key` is your ID of the transaction, such as `f"invoice-{invoice.id}"` (4 to 255 characters,
        so a bare number may be too short), unique over all customers: the same key is the same
        transaction, and under another customer's it is not acceptable. It is sent once the sign-up
        is accepted, with the time it has now. `fields` are the others of `Transaction`. Returns and
        raises like `track_signup`.
        """
        values: dict[str, Any] = {"customer_key": customer_key, "amount": amount, "key": key}
        return self._track(lambda: Transaction(currency=currency, **values, **fields), session)

    def track_refund(
        self,
        *,
        customer_key: object,
        transaction_key: str,
        amount: int | Decimal | None = None,
        currency: str | None = None,
        key: str | None = None,
        session: Any = None,
    ) -> Delivery | None:
        """Record that a transaction was paid back: as a whole, or `amount` of it.

        The whole reverses the transaction at the network, and what was paid back of it in parts. A
        part (a positive `amount`, with its `currency` and a `key` of its own) is a transaction with
        a negative amount. Both wait until the transaction is accepted. Returns and raises like
        `track_signup`.
        """
        values: dict[str, Any] = {"customer_key": customer_key}
        if amount is None:
            return self._track(lambda: Reversal(**values, transaction_key=transaction_key), session)
        values |= {
            "amount": paid_back(amount),
            "currency": currency,
            "key": key,
            "refunds": transaction_key,
        }
        return self._track(lambda: Transaction(**values), session)

    def _track(
        self, make: Callable[[], Conversion], session: Any, click: Click | None = None
    ) -> Delivery | None:
        services = self.services
        try:
            conversion = make()
        except UsageError as error:
            services.recorder.invalid_call(error, host.current_attribution(services), session)
            return None
        return services.track(
            conversion,
            session=session,
            environ=host.current_environ(),
            click=click,
            form=host.handle_in_form,
        )
