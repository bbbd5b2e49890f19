"""The switches as a form: what each is called, what its values mean, and reading it back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask_s2s.sandbox.switches import SwitchError, Switches, choices, switch_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One switch as the page shows it."""

    key: str
    label: str
    #: Value -> what choosing it means; empty for a number.
    options: dict[str, str]
    unit: str = ""
    #: Step of a number field.
    step: str = "any"
    #: The highest number, where the field should know it.
    most: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A part of the form."""

    title: str
    intro: str
    controls: tuple[Control, ...]

    @property
    def narrow(self) -> bool:
        """Whether it holds nothing but rates, which need little room."""
        return all(control.most for control in self.controls)


def _choice(key: str, label: str, *meanings: str) -> Control:
    options = dict(zip(map(str, choices(key)), meanings, strict=True))
    return Control(key=key, label=label, options=options)


def _number(key: str, label: str, unit: str, step: str = "any") -> Control:
    return Control(key=key, label=label, options={}, unit=unit, step=step)


def _rate(key: str, label: str) -> Control:
    return Control(key=key, label=label, options={}, step="0.01", most="1")


GROUPS = (
    Group(
        title="Conversions",
        intro="How the network takes a conversion. No public source settles these.",
        controls=(
            _choice("success_body", "Answer to success", "Empty body", "JSON envelope"),
            _choice(
                "repeated_customer",
                "Repeated customer key",
                "200, the first stays",
                "200, the last replaces it",
                "409",
            ),
            _choice("unknown_xid", "Unknown click ID", "200, nothing created", "404"),
            _choice(
                "expired_click", "Click older than the window", "Credited", "200, nothing", "400"
            ),
            _number("window_days", "Window", "days", "1"),
            _choice(
                "deleted_customer", "Key of a deleted customer", "200, nothing", "Created again"
            ),
        ),
    ),
    Group(
        title="Reading and rewards",
        intro="How the vendor API behaves around customers, actions and transactions.",
        controls=(
            _number("readable_after_seconds", "New customers readable after", "seconds"),
            _choice(
                "repeated_reward",
                "Repeated action or transaction key",
                "200, the first stays",
                "409",
                "A second reward",
            ),
            _choice("unknown_customer", "Reward for an unknown customer", "404", "200, nothing"),
        ),
    ),
    Group(
        title="Faults without effect",
        intro="The share of calls, from 0 to 1, that fail before anything is written.",
        controls=(
            _rate("too_many", "429 without Retry-After"),
            _rate("too_many_retry_after", "429 with Retry-After"),
            _rate("error_before_write", "Server error"),
            _rate("timeout_before_write", "No answer"),
            _rate("reset_before_write", "Connection reset"),
            _rate("html_page", "HTML page instead of an answer"),
            _rate("redirect", "Redirect"),
        ),
    ),
    Group(
        title="Faults after the write",
        intro="The share of calls that take effect, and then do not say so.",
        controls=(
            _rate("error_after_write", "Server error"),
            _rate("timeout_after_write", "No answer"),
            _rate("reset_after_write", "Connection reset"),
            _rate("slow_bytes", "Answer byte by byte"),
        ),
    ),
    Group(
        title="Details of faults",
        intro="What the faults above look like. The seed makes a run repeat.",
        controls=(
            _choice("faults_strike", "Faults strike", "All calls", "Conversions", "Vendor API"),
            _number("retry_after_seconds", "Retry-After says", "seconds", "1"),
            _choice("error_status", "Server error is", "500", "502", "503", "504"),
            _choice("html_status", "HTML page comes with", "200", "502"),
            _number("hold_seconds", "No answer for", "seconds"),
            _number("slow_seconds", "Slow answer takes", "seconds"),
            _number("seed", "Seed", "", "1"),
        ),
    ),
)


LABELS = {control.key: control.label for group in GROUPS for control in group.controls}


def read_form(form: Mapping[str, str], *, seed: int) -> Switches:
    """Return the switches that a form sets. Raises `SwitchError`."""
    known = {name: _typed(name, form[name]) for name in switch_names() if name in form}
    return Switches.read(known, seed=seed)


def _typed(key: str, text: str) -> Any:
    options = choices(key)
    if options and isinstance(options[0], str):
        return text
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise SwitchError(key, "expected a number") from None
