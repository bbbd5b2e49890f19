"""Switches for each open question about the network; and its bad days, as faults.

A fault has a rate: the share of requests that it strikes. One number is drawn per request from a
seeded stream, and the rates share it out between them: each rate is exact, at most one fault
strikes a request, and the same sequence of requests meets the same faults again. Setting the
switches starts the stream anew.
"""

import random
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

Fault = Literal[
    "too_many",
    "too_many_retry_after",
    "error_before_write",
    "error_after_write",
    "timeout_before_write",
    "timeout_after_write",
    "reset_before_write",
    "reset_after_write",
    "slow_bytes",
    "html_page",
    "redirect",
]

FAULTS: tuple[Fault, ...] = get_args(Fault)

#: The faults that strike when the request has already had its effect.
AFTER_WRITE: frozenset[Fault] = frozenset(
    {"error_after_write", "timeout_after_write", "reset_after_write", "slow_bytes"}
)


class SwitchError(Exception):
    """A switch has an unknown name or a value that it cannot take; `key` names it."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """Everything about the network that can be set while it runs."""

    #: Body of a successful conversion post.
    success_body: Literal["empty", "json"] = "empty"
    #: How long a new customer cannot be read back.
    readable_after_seconds: float = 0.0
    #: What a repeated `customer_key` does.
    repeated_customer: Literal["ignore", "overwrite", "conflict"] = "ignore"
    #: What a click ID that is not ours does.
    unknown_xid: Literal["ignore", "reject"] = "ignore"
    #: What a click older than the window does.
    expired_click: Literal["accept", "ignore", "reject"] = "accept"
    window_days: int = 90
    #: What the key of a deleted customer does.
    deleted_customer: Literal["ignore", "recreate"] = "ignore"
    #: What a repeated key of an action or a transaction does.
    repeated_reward: Literal["ignore", "conflict", "second"] = "ignore"
    #: What an action or a transaction for a customer we do not have does.
    unknown_customer: Literal["reject", "ignore"] = "reject"

    too_many: float = 0.0
    too_many_retry_after: float = 0.0
    error_before_write: float = 0.0
    error_after_write: float = 0.0
    timeout_before_write: float = 0.0
    timeout_after_write: float = 0.0
    reset_before_write: float = 0.0
    reset_after_write: float = 0.0
    slow_bytes: float = 0.0
    html_page: float = 0.0
    redirect: float = 0.0

    #: Which calls the faults strike.
    faults_strike: Literal["all", "conversions", "api"] = "all"
    #: What `Retry-After` says, in seconds.
    retry_after_seconds: int = 1
    error_status: Literal[500, 502, 503, 504] = 503
    html_status: Literal[200, 502] = 200
    #: How long a timed-out answer is held before the connection closes.
    hold_seconds: float = 30.0
    #: How long a slow answer takes, from its first byte to its last.
    slow_seconds: float = 10.0
    seed: int = 0

    @classmethod
    def read(cls, given: Mapping[str, Any], *, seed: int = 0) -> "Switches":
        """Check a mapping; what it leaves out takes its default. Raises `SwitchError`."""
        known: dict[str, Any] = {"seed": seed}
        for key, value in given.items():
            if key not in _KINDS:
                raise SwitchError(str(key), "there is no such switch")
            known[key] = _checked(key, value)
        switches = cls(**known)
        if switches.total_rate > 1.0 + 1e-9:
            struck = next(name for name in reversed(FAULTS) if getattr(switches, name))
            raise SwitchError(struck, "the rates of all faults together exceed 1")
        return switches

    @property
    def total_rate(self) -> float:
        """The share of requests that any fault strikes."""
        return float(sum(getattr(self, name) for name in FAULTS))

    def as_dict(self) -> dict[str, Any]:
        """Return all switches by name, as `read` takes them."""
        return asdict(self)


_KINDS: dict[str, Any] = get_type_hints(Switches)
_LIMITS: dict[str, tuple[float, float]] = {
    "readable_after_seconds": (0, 600),
    "window_days": (1, 3650),
    "retry_after_seconds": (0, 86_400),
    "hold_seconds": (0, 600),
    "slow_seconds": (0, 600),
    "seed": (-(2**63), 2**63 - 1),
    **{name: (0, 1) for name in FAULTS},
}


def switch_names() -> list[str]:
    """Return the names of all switches, in the order of their definition."""
    return [field.name for field in fields(Switches)]


def choices(key: str) -> tuple[Any, ...]:
    """Return what a switch can be set to; empty for a number."""
    return get_args(_KINDS[key])


def _checked(key: str, value: Any) -> Any:
    allowed = choices(key)
    if allowed:
        # `True == 1`, so a type that only looks equal is refused first.
        if type(value) is not type(allowed[0]) or value not in allowed:
            names = ", ".join(repr(choice) for choice in allowed)
            raise SwitchError(key, f"expected one of {names}")
        return value
    whole = _KINDS[key] is int
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise SwitchError(key, f"expected {'a whole number' if whole else 'a number'}")
    low, high = _LIMITS[key]
    if not low <= value <= high:  # also refuses NaN
        raise SwitchError(key, f"expected a number from {low:g} to {high:g}")
    return value if whole else float(value)


class FaultPlan:
    """The switches in force, and the seeded stream that decides which request is struck."""

    def __init__(self, switches: Switches) -> None:
        self._lock = threading.Lock()
        self.put(switches)

    def put(self, switches: Switches) -> None:
        """Replace the switches and start the stream anew."""
        with self._lock:
            self._switches = switches
            self._stream = random.Random(switches.seed)

    @property
    def switches(self) -> Switches:
        """The switches in force."""
        return self._switches

    def draw(self, traffic: Literal["conversions", "api"]) -> tuple[Fault | None, Switches]:
        """Decide one request's fault; returned with the switches that it was drawn under."""
        with self._lock:
            switches = self._switches
            if switches.faults_strike not in ("all", traffic) or not switches.total_rate:
                return None, switches
            point = self._stream.random()
        for name in FAULTS:
            point -= getattr(switches, name)
            if point < 0:
                return name, switches
        return None, switches
