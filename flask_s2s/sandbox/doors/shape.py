"""The form of a JSON body, refused in the words of a JSON Schema validator, as the network does."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


class ShapeError(Exception):
    """A body is not of the expected form; the message is what the network answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A string, by length."""

    shortest: int = 1
    longest: int = 255
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """An integer, by bounds."""

    low: int = -(2**53)
    high: int = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """An array of strings."""

    longest: int = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """An object with simple values; the bounds are None where none are known."""

    most: int | None = None
    longest_name: int | None = None
    longest_value: int | None = None


Rule = Text | Whole | Texts | Attributes


def parse(body: bytes) -> Any:
    """Return the value of a JSON body. Raises `ShapeError` when it is none, or no Unicode."""
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
        if b"\\ud" in body.lower():  # an escaped half of a character can be stored nowhere
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise ShapeError("the body is not JSON") from None
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def check(body: Any, rules: Mapping[str, Rule], *, required: Iterable[str]) -> dict[str, Any]:
    """Return the known properties of a body. Raises `ShapeError` at the first that is wrong.

    Null and the empty string are refused: an optional property without a value is left out.
    """
    if not isinstance(body, dict):
        raise ShapeError(f"{body!r} is not of type 'object'"[:200])
    for name in required:
        if name not in body:
            raise ShapeError(f"'{name}' is a required property")
    known = {name: value for name, value in body.items() if name in rules}
    for name, value in known.items():
        _check_value(value, rules[name])
    return known


def _check_value(value: Any, rule: Rule) -> None:
    match rule:
        case Text():
            _check_text(value, rule)
        case Whole():
            _check_whole(value, rule)
        case Texts():
            if not isinstance(value, list):
                raise ShapeError(f"{value!r} is not of type 'array'")
            for item in value:
                _check_text(item, Text(shortest=0, longest=rule.longest))
        case Attributes():
            _check_attributes(value, rule)


def _check_text(value: Any, rule: Text) -> None:
    if not isinstance(value, str):
        raise ShapeError(f"{value!r} is not of type 'string'")
    if rule.choices and value not in rule.choices:
        raise ShapeError(f"{value!r} is not one of {list(rule.choices)!r}")
    if len(value) < rule.shortest:
        raise ShapeError(f"{value!r} is too short")
    if len(value) > rule.longest:
        raise ShapeError(f"{value!r} is too long")


def _check_whole(value: Any, rule: Whole) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ShapeError(f"{value!r} is not of type 'integer'")
    if value < rule.low:
        raise ShapeError(f"{value!r} is less than the minimum of {rule.low}")
    if value > rule.high:
        raise ShapeError(f"{value!r} is greater than the maximum of {rule.high}")


def _check_attributes(value: Any, rule: Attributes) -> None:
    if not isinstance(value, dict):
        raise ShapeError(f"{value!r} is not of type 'object'")
    if rule.most is not None and len(value) > rule.most:
        raise ShapeError(f"{value!r} has too many properties")
    for name, item in value.items():
        if rule.longest_name is not None and len(name) > rule.longest_name:
            raise ShapeError(f"{name!r} is too long")
        if isinstance(item, (dict, list)) or item in (math.inf, -math.inf):
            raise ShapeError(f"{item!r} is not of type 'string'")
        if rule.longest_value is not None and len(str(item)) > rule.longest_value:
            raise ShapeError(f"{item!r} is too long")
