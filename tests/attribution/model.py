"""What must come of a sequence of visits, written down by hand and without the site's code.

Times are seconds; a click is its ID and when the visitor landed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOW = 90 * 86400
HANDLE_LIFE = 2 * 3600
HISTORY = 5


@dataclass(frozen=True)
class Came:
    """A click that somebody has, and the others that they came by."""

    id: str
    at: int
    others: tuple[str, ...] = ()


@dataclass
class Handle:
    """What a page carries on; the customer that has used it."""

    click: Came
    made: int
    customer: str | None = None


@dataclass
class Device:
    """A browser: its cookie, and what the page in each of its tabs carries."""

    keeps_cookies: bool
    cookie: Came | None = None
    tabs: dict[int, Handle | None] = field(default_factory=dict)


@dataclass
class World:
    """A site, and everybody who visits it."""

    policy: str
    devices: list[Device]
    now: int = 0
    bindings: dict[str, Came] = field(default_factory=dict)

    def counts(self, click: Came | None) -> bool:
        return click is not None and self.now - click.at <= WINDOW

    def land(self, device: Device, tab: int, click_id: str) -> None:
        kept = device.cookie if self.counts(device.cookie) else None
        device.tabs[tab] = None
        if kept is None:
            new = Came(click_id, self.now)
            device.tabs[tab] = Handle(new, self.now)
            self.keep(device, new)
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

    def browse(self, device: Device, tab: int) -> tuple[Came | None, Handle | None]:
        """Follow a link, or send a form, of the page in a tab; return what the request presents."""
        cookie = device.cookie if self.counts(device.cookie) else None
        handle = device.tabs.get(tab)
        if handle is None or self.now - handle.made > HANDLE_LIFE:
            return cookie, None
        carried = handle.click
        if cookie is not None:
            newer = carried.at > cookie.at
            if cookie.id == carried.id or self.policy == "first" or not newer:
                return cookie, None
            carried = Came(carried.id, carried.at, self.before(carried.id, cookie))
        self.keep(device, carried)
        return carried, handle

    def page(self, device: Device, tab: int) -> None:
        device.tabs[tab] = self.browse(device, tab)[1]

    def identify(self, device: Device, tab: int, who: str) -> bool:
        click, _ = self.browse(device, tab)
        if click is None:
            return False
        bound = self.bindings.get(who)
        if bound is not None and self.counts(bound):
            wins = click.at >= bound.at if self.policy == "last" else click.at < bound.at
            if not wins:
                return True
        self.bindings[who] = click
        return True

    def sign_up(
        self, device: Device, tab: int, customer: str, email: str | None
    ) -> tuple[str, Came | None]:
        """Return the one reason with which this sign-up ends, and its click."""
        click, handle = self.browse(device, tab)
        used = False
        if handle is not None:
            used = handle.customer not in (None, customer)
            handle.customer = handle.customer or customer
        if click is not None and not used:
            return ("cookie" if handle is None else "carried"), click
        bound = [self.bindings[who] for who in (email, customer) if who in self.bindings]
        for one in bound:
            if self.counts(one):
                return "identity", one
        if used:
            return "handle_used", None
        return ("expired" if device.cookie is not None or bound else "no_click"), None
