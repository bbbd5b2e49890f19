"""The expected result of a sequence of visits, written down by hand and without the site's code.

Times are seconds; a click is its ID and when the visitor landed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOW = 90 * 86400
TOKEN_LIFE = 2 * 3600
HISTORY = 5


@dataclass(frozen=True)
class Came:
    """A click that somebody has, and the others that they came by."""

    id: str
    at: int
    others: tuple[str, ...] = ()


@dataclass
class Token:
    """The click in a page's address, and the customer that has used it."""

    click: Came
    made: int
    customer: str | None = None


@dataclass
class Device:
    """A browser: its cookie, and what the address of the page in each of its tabs has.

    That is a token, the click ID of a landing, or nothing.
    """

    keeps_cookies: bool
    cookie: Came | None = None
    tabs: dict[int, Token | str | None] = field(default_factory=dict)


@dataclass
class World:
    """A site, and everybody who visits it."""

    policy: str
    devices: list[Device]
    now: int = 0
    #: Of everybody who said who they are: by click, in the order in which they were bound first.
    bindings: dict[str, dict[str, Came]] = field(default_factory=dict)

    def counts(self, click: Came | None) -> bool:
        return click is not None and self.now - click.at <= WINDOW

    def land(self, device: Device, tab: int, click_id: str) -> None:
        kept = device.cookie if self.counts(device.cookie) else None
        device.tabs[tab] = click_id
        if kept is None:
            self.keep(device, Came(click_id, self.now))
        elif kept.id == click_id:
            return
        elif self.policy == "first":
            if click_id not in kept.others:
                others = (click_id, *kept.others)[:HISTORY]
                self.keep(device, Came(kept.id, kept.at, others))
        else:
            self.keep(device, Came(click_id, self.now, self.before(click_id, kept)))

    def before(self, click_id: str, kept: Came) -> tuple[str, ...]:
        return tuple(one for one in (kept.id, *kept.others) if one != click_id)[:HISTORY]

    def keep(self, device: Device, click: Came) -> None:
        if device.keeps_cookies:
            device.cookie = click

    def presents(self, device: Device, tab: int) -> tuple[Came | None, Token | None]:
        """Return what a request from the page in a tab presents: a cookie outranks an address."""
        if device.cookie is not None:
            return (device.cookie if self.counts(device.cookie) else None), None
        shown = device.tabs.get(tab)
        if isinstance(shown, str):
            return Came(shown, self.now), None
        if shown is None or self.now - shown.made > TOKEN_LIFE:
            return None, None
        return shown.click, shown

    def page(self, device: Device, tab: int) -> None:
        """Follow a link of the page in a tab."""
        has_cookie = device.cookie is not None
        click, token = self.presents(device, tab)
        if click is None or has_cookie:
            device.tabs[tab] = None
            return
        device.tabs[tab] = token or Token(click, self.now)
        self.keep(device, click)

    def open_copy(self, sender: Device, device: Device, tab: int) -> None:
        """Open the address of another's page by hand: only a landing's is worth something."""
        shown = sender.tabs.get(0)
        if isinstance(shown, str):
            self.land(device, tab, shown)
        else:
            device.tabs[tab] = None

    def identify(self, device: Device, tab: int, who: str) -> bool:
        click, _ = self.presents(device, tab)
        if click is None:
            return False
        bound = self.bindings.setdefault(who, {})
        if click.id not in bound or not self.counts(bound[click.id]):
            bound[click.id] = click
        return True

    def bound(self, who: str) -> list[Came]:
        """Return what somebody is bound to, the one that counts first."""
        late = -1 if self.policy == "last" else 1
        bound = self.bindings.get(who, {}).values()
        return sorted(bound, key=lambda one: (not self.counts(one), late * one.at))

    def sign_up(
        self, device: Device, tab: int, customer: str, email: str | None
    ) -> tuple[str, Came | None]:
        """Return the one reason with which this sign-up ends, and its click."""
        has_cookie = device.cookie is not None
        click, token = self.presents(device, tab)
        used = False
        if token is not None:
            used = token.customer not in (None, customer)
            token.customer = token.customer or customer
        if click is not None and not used:
            return ("cookie" if has_cookie else "carried"), click
        bound = [self.bound(who) for who in (email, customer) if who is not None]
        for won, *lost in filter(None, bound):
            if self.counts(won):
                others = dict.fromkeys((*(one.id for one in lost), *won.others))
                others.pop(won.id, None)
                return "identity", Came(won.id, won.at, tuple(others)[:HISTORY])
        if used:
            return "token_used", None
        return ("expired" if device.cookie is not None or any(bound) else "no_click"), None
