"""The seam that a network implements: values in, values out. No I/O.

A network module turns a conversion into a request and an answer into an outcome. 200 is not success
by itself: each network reads its own answers, and what it does not recognise as final is tried
again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Literal

from ..click import Click
from ..click.formats import ClickFormat
from ..config.builtin import built_in
from ..config.parsing import TokenSource
from ..config.setting import Declared
from ..config.settings import Settings
from ..conversion import Conversion
from ..conversion.money import decimal_text
from ..errors import ConfigError
from .messages import Outcome, Request, Response, Secret
from .reading import GRACE, Readable


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One credential at one host: held, paused and resumed by itself. The credential goes there only."""

    #: Begins with the network's name and a slash.
    name: str
    base_url: str
    #: The setting that holds `base_url`.
    address: str
    #: What opens it: text, several in the order of trying, or a callable that is asked for every attempt.
    source: TokenSource | None = field(default=None, repr=False)
    #: The setting that holds it; the last one of a pair that is joined.
    key: str
    #: A file with one a line instead, and its setting.
    file: str | None = None
    file_key: str = ""
    #: The word for it, and its settings, as a person is told.
    credential: str
    settings: str

    @property
    def configured(self) -> bool:
        """Whether the settings name a credential."""
        return self.source is not None or self.file is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The traits of one kind of conversion at a network."""

    #: The lane's name.
    lane: str
    #: Whether it is credited through a click, or through its customer.
    needs_click: bool
    #: Whether sending it twice is known to do nothing the second time.
    repeat_is_harmless: bool
    #: The kinds that must have been accepted before, where the conversion names one.
    depends_on: frozenset[str] = frozenset()
    #: How its record is found: the customer's, in a list of all records, or not at all.
    verified_by: Literal["customer", "list"] | None = None
    #: How long after the last possible write a record that is not shown is not there.
    absent_after: timedelta = GRACE
    #: How amounts are written: whole minor units, or major units with a decimal point, as text.
    money: Literal["minor", "major"] = "minor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A conversion, as it is told to a network."""

    conversion: Conversion
    #: Where its kind needs one.
    click: Click | None = None
    #: A transaction's amount, as the network's traits want it written.
    amount: int | str | None = None


class Network(Declared):
    """One partner network: what it declares, and pure functions. Inherit, and pass the class on.

    Made with the values of its own settings, by their keys; nobody else's are given to it.
    """

    #: How its clicks are known in an address, and in cookies of its own script.
    clicks: ClassVar[ClickFormat]
    #: By their names; the first is the one that `flask s2s check` asks.
    lanes: Mapping[str, Lane]
    #: By the conversion's kind; a kind that is not there is not reported.
    traits: ClassVar[Mapping[str, Traits]]
    #: The lane whose credential reads records; None: they cannot be read.
    reading_lane: str | None = None

    def __init__(self, settings: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def request(self, report: Report, secret: Secret) -> Request:
        """Build the request that tells of a conversion."""
        raise NotImplementedError

    def outcome(self, report: Report, response: Response) -> Outcome:
        """Say what the answer means."""
        raise NotImplementedError

    @property
    def records(self) -> Readable | None:
        """How its records are asked for; None: they cannot be read."""
        return None


def lane_of(network: Network, kind: str) -> str:
    """Return the lane of a kind; of one that is not reported the network's first."""
    traits = network.traits.get(kind)
    return next(iter(network.lanes)) if traits is None else traits.lane


def report_of(network: Network, conversion: Conversion, click: Click | None) -> Report:
    """Return a conversion as a network wants it told."""
    traits, amount = network.traits[conversion.kind], getattr(conversion, "amount", None)
    if amount is not None and traits.money == "major":
        amount = decimal_text(amount, getattr(conversion, "currency", ""))
    return Report(conversion=conversion, click=click if traits.needs_click else None, amount=amount)


def read_back_kinds(network: Network) -> list[str]:
    """Return the kinds whose records are read back."""
    return [kind for kind, traits in network.traits.items() if traits.verified_by]


def verifies(network: Network) -> bool:
    """Say whether the settings name what its records are read with."""
    lane = network.reading_lane
    return lane is not None and network.lanes[lane].configured


def networks_of(settings: Settings, others: Iterable[type[Network]]) -> dict[str, Network]:
    """Return an app's networks by their names: the built-in ones, and others. Raises `ConfigError`."""
    every = by_name(one(settings.of(one)) for one in (*built_in(), *others))
    if unknown := settings.windows.keys() - every.keys():
        problem = f"names {min(unknown)!r}, which is no network"
        raise ConfigError("S2S_WINDOW", problem, f"Use {' or '.join(every)}.")
    return every


def by_name(networks: Iterable[Network]) -> dict[str, Network]:
    """Return networks by their names. Raises `ConfigError` where two could be taken for one another."""
    found: dict[str, Network] = {}
    for network in networks:
        name = network.name
        if name in found:
            raise ConfigError("networks", f"has {name!r} twice", "Give each a name of its own.")
        for lane in (*network.lanes, *(one.name for one in network.lanes.values())):
            if not lane.startswith(f"{name}/"):
                problem = f"has a lane {lane!r} of {name!r}"
                raise ConfigError("networks", problem, f"Its name must begin with {name}/.")
        found[name] = network
    return found
