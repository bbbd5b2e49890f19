"""Amounts of Stripe's API, whose whole numbers are not everywhere those of ISO 4217.

Of three currencies it counts other units (docs.stripe.com/currencies, "Special cases" and
"Zero-decimal currencies"): of ISK and UGX, which have no smaller unit any more, in hundredths whose two
digits are 00; of MGA in whole ariary. All others are as `track_transaction` takes them.
"""

from __future__ import annotations

from decimal import Decimal

from ..conversion.money import currency_code, digits
from ..errors import InvalidConversion

_ITS_DIGITS = {"ISK": 2, "UGX": 2, "MGA": 0}


def amount_of(amount: int, currency: str) -> Decimal:
    """Return an amount of Stripe's as `track_transaction(amount=...)` takes it: in major units.

    Raises `InvalidConversion` for what is no whole number. A part of a unit that the currency does
    not have is refused when it is recorded.
    """
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise InvalidConversion("amount", "of Stripe's is a whole number")
    code = currency_code(currency)
    # From text: what a `Decimal` computes, the caller's context may round.
    return Decimal(f"{amount}E-{_ITS_DIGITS.get(code, digits(code))}")
