"""Money: whole minor units of a currency. Never a float.

An integer is minor units already (cents); a `Decimal` is major units and must come out even. How
many digits a currency has after the point is ISO 4217's. A network's traits say which of the two it
wants.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from ..errors import InvalidConversion

_DIGITS = {
    **dict.fromkeys(
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0
    ),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    **dict.fromkeys("CLF UYW".split(), 4),
}
#: No amount of a conversion is larger than this, in minor units.
_LARGEST = 10**12
_MOST_DIGITS = len(str(_LARGEST))


def currency_code(value: object) -> str:
    """Return a three-letter currency code, in capitals. Raises `InvalidConversion`."""
    if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isalpha():
        return value.upper()
    raise InvalidConversion("currency", "must be a three-letter code such as USD")


def digits(currency: str) -> int:
    """Return how many digits a currency has after the point."""
    return _DIGITS.get(currency, 2)


def minor_units(amount: object, currency: str) -> int:
    """Return `amount` in minor units of `currency`. Raises `InvalidConversion`."""
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal):
        problem = f"must be whole minor units (cents) or a Decimal, not {type(amount).__name__}"
        raise InvalidConversion("amount", problem)
    units = amount if isinstance(amount, int) else _from_decimal(amount, currency)
    if not -_LARGEST <= units <= _LARGEST:
        raise InvalidConversion("amount", "is too large")
    return units


def major_units(amount: int, currency: str) -> str:
    """Return minor units as people write them: "1,234.50", with the currency's own digits."""
    places = digits(currency)
    return f"{Decimal(amount).scaleb(-places):,.{places}f}".replace("-", "\u2212")


def decimal_text(amount: int, currency: str) -> str:
    """Return minor units as major ones, for a program: "-1234.50", with the currency's own digits."""
    return f"{Decimal(amount).scaleb(-digits(currency)):f}"


def amounts_between(
    currency: str | None, least: str | None, most: str | None
) -> tuple[str | None, int | None, int | None]:
    """Return a currency's code, and two amounts as people write them in its minor units.

    Raises `InvalidConversion`, which names the one that cannot be.
    """
    amounts: list[int | None] = []
    code = None if currency is None else currency_code(currency)
    for field, written in (("least", least), ("most", most)):
        if written is None:
            amounts.append(None)
        elif code is None:
            raise InvalidConversion(field, "is an amount of one currency: say which")
        else:
            try:
                amounts.append(minor_units(Decimal(written), code))
            except (InvalidOperation, InvalidConversion):
                example = decimal_text(4900, code)
                problem = f"is an amount in {code}, such as {example}"
                raise InvalidConversion(field, problem) from None
    return code, amounts[0], amounts[1]


def _from_decimal(amount: Decimal, currency: str) -> int:
    """By whole numbers only: what a `Decimal` computes, the caller's context may round."""
    sign, figures, exponent = amount.as_tuple()
    if not isinstance(exponent, int):
        raise InvalidConversion("amount", "is not a number")
    places = digits(currency)
    significant = "".join(map(str, figures)).rstrip("0")
    shift = exponent + len(figures) - len(significant) + places
    if not significant:
        return 0
    if shift < 0:
        problem = f"has more than {places} digits after the point ({currency})"
        raise InvalidConversion("amount", problem)
    if len(significant) + shift > _MOST_DIGITS:
        raise InvalidConversion("amount", "is too large")
    units = int(significant + "0" * shift)
    return -units if sign else units


def paid_back(amount: object) -> Any:
    """Return a refund's amount as a transaction has it: negative.

    Copied, not computed: the caller's decimal context may round. What is no amount stays what it
    is, for the transaction to refuse.
    """
    if isinstance(amount, Decimal):
        return amount.copy_negate()
    if isinstance(amount, int) and not isinstance(amount, bool):
        return -amount
    return amount
