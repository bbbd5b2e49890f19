"""Money is whole minor units, whatever it was given as."""

from __future__ import annotations

from decimal import Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_s2s.conversion import Transaction
from flask_s2s.conversion.money import currency_code, minor_units
from flask_s2s.errors import InvalidConversion
from flask_s2s.integrations.stripe import amount_of

LARGEST = 10**12
PLACES = {"JPY": 0, "KRW": 0, "USD": 2, "EUR": 2, "KWD": 3, "BHD": 3, "CLF": 4}
currencies = st.sampled_from(sorted(PLACES))


@given(units=st.integers(-LARGEST, LARGEST), currency=currencies)
def test_a_whole_number_is_minor_units_already(units: int, currency: str) -> None:
    assert minor_units(units, currency) == units


@given(units=st.integers(-LARGEST, LARGEST), currency=currencies, zeros=st.integers(0, 40))
def test_a_decimal_is_major_units_to_the_last_digit(units: int, currency: str, zeros: int) -> None:
    exact = Context(prec=100)
    amount = exact.scaleb(Decimal(units), -PLACES[currency])
    padded = exact.multiply(amount, Decimal("1." + "0" * zeros))
    assert minor_units(amount, currency) == units
    assert minor_units(padded, currency) == units


@given(
    amount=st.decimals(-(10**7), 10**7, allow_nan=False, places=9),
    currency=currencies,
    precision=st.integers(1, 6),
)
def test_what_does_not_come_out_even_is_refused_and_never_rounded(
    amount: Decimal, currency: str, precision: int
) -> None:
    """The calling application may have set any decimal context."""
    units = Fraction(amount) * 10 ** PLACES[currency]
    with localcontext(Context(prec=precision)):
        if units.denominator == 1:
            assert minor_units(amount, currency) == units
        else:
            with pytest.raises(InvalidConversion):
                minor_units(amount, currency)


@pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [
        (Decimal("19.99"), "USD", 1999),
        (Decimal("1999"), "JPY", 1999),
        (Decimal("1.999"), "KWD", 1999),
        (Decimal("-0.01"), "EUR", -1),
        (Decimal("1E+3"), "USD", 100_000),
        (Decimal("-0"), "USD", 0),
        (0, "USD", 0),
    ],
)
def test_amounts_as_people_write_them(amount: object, currency: str, units: int) -> None:
    assert minor_units(amount, currency) == units


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        *((number, "USD") for number in (19.99, 20.0, "19.99", None, True, 1 + 0j, Fraction(1, 2))),
        (Decimal("19.999"), "USD"),
        (Decimal("0.5"), "JPY"),
        (Decimal("0.0005"), "KWD"),
        *((Decimal(word), "USD") for word in ("NaN", "sNaN", "Infinity", "-Infinity")),
        (Decimal("1E+999999"), "USD"),
        (Decimal("1E-999999"), "USD"),
        (Decimal("9" * 5000), "USD"),
        (LARGEST + 1, "USD"),
        (-LARGEST - 1, "USD"),
    ],
)
def test_what_is_no_amount(amount: object, currency: str) -> None:
    with pytest.raises(InvalidConversion) as caught:
        minor_units(amount, currency)
    assert caught.value.field == "amount"


@given(value=st.one_of(st.none(), st.integers(), st.text(max_size=5)))
def test_a_currency_is_three_letters_in_capitals(value: object) -> None:
    plain = isinstance(value, str) and len(value) == 3 and value.isascii() and value.isalpha()
    if plain:
        assert currency_code(value) == str(value).upper()
    else:
        with pytest.raises(InvalidConversion):
            currency_code(value)


@pytest.mark.parametrize("precision", [1, 3, 5])
def test_a_context_of_few_digits_changes_no_amount(precision: int) -> None:
    with localcontext(Context(prec=precision)):
        assert minor_units(Decimal("1234.56"), "USD") == 123_456


def test_a_transaction_counts_in_its_own_currency() -> None:
    yen = Transaction(customer_key="1", amount=Decimal("500"), currency="jpy", key="inv-1")  # type: ignore[arg-type]
    assert (yen.amount, yen.currency) == (500, "JPY")


@pytest.mark.parametrize(
    ("stripes", "currency", "units"),
    [
        (4900, "usd", 4900),
        (500, "jpy", 500),
        (5120, "kwd", 5120),
        (1000, "HUF", 1000),
        # Of these it counts other units than ISO 4217.
        (500, "isk", 5),
        (500, "ugx", 5),
        (500, "mga", 50_000),
    ],
)
def test_an_amount_of_stripes_is_the_same_money(stripes: int, currency: str, units: int) -> None:
    assert minor_units(amount_of(stripes, currency), currency.upper()) == units


@pytest.mark.parametrize("stripes", [5.0, "500", True, None])
def test_what_is_no_amount_of_stripes_is_refused(stripes: int) -> None:
    with pytest.raises(InvalidConversion, match="whole number"):
        amount_of(stripes, "usd")


def test_a_part_of_a_unit_that_there_is_not_is_refused_when_it_is_recorded() -> None:
    with pytest.raises(InvalidConversion, match="digits after the point"):
        minor_units(amount_of(550, "isk"), "ISK")
