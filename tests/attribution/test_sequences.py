"""Random sequences of visits: each sign-up ends as the rules say, and with one reason."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.attribution.conftest import MakeSite
from tests.attribution.model import Device, World
from tests.attribution.site import Browser, Site

DEVICES = st.integers(0, 2)
TABS = st.integers(0, 1)
#: Two people, whose addresses are each example's own.
PEOPLE = st.sampled_from(["ada", "grace"])
STEPS = st.one_of(
    st.tuples(st.just("land"), DEVICES, TABS, st.sampled_from(["a", "b", "c"])),
    st.tuples(st.just("land"), DEVICES, TABS, st.sampled_from(["a", "b", "c"])),
    st.tuples(st.just("page"), DEVICES, TABS),
    st.tuples(st.just("copied_link"), DEVICES, DEVICES, TABS),
    st.tuples(st.just("log_in"), DEVICES),
    st.tuples(st.just("lose_cookies"), DEVICES),
    st.tuples(st.just("identify"), DEVICES, TABS, PEOPLE),
    st.tuples(st.just("identify_next_customer"), DEVICES, TABS),
    st.tuples(st.just("wait"), st.sampled_from([1, 3600, 2 * 3600 + 1, 40 * 86400, 91 * 86400])),
    st.tuples(st.just("sign_up"), DEVICES, TABS, st.one_of(st.none(), PEOPLE)),
)


class Play:
    """The same steps on the site and in the model; what they say must be the same."""

    def __init__(self, site: Site, policy: str, example: int, ended: Counter[str]) -> None:
        self.site = site
        self.example = example
        kept = (True, True, False)
        self.browsers = [Browser(site, keeps_cookies=keeps) for keeps in kept]
        #: The address of the page in each tab.
        self.pages: dict[tuple[int, int], str] = {}
        self.world = World(policy, [Device(keeps) for keeps in kept])
        self.customers = (f"{example}-{number}" for number in count())
        self.next_customer = next(self.customers)
        self.ended = ended

    def land(self, device: int, tab: int, click_id: str) -> None:
        self.pages[device, tab] = self.browsers[device].land(f"ps_xid={click_id}")
        self.world.land(self.world.devices[device], tab, click_id)

    def page(self, device: int, tab: int) -> None:
        page = self.pages.get((device, tab))
        self.pages[device, tab] = self.browsers[device].browse(page)
        self.world.page(self.world.devices[device], tab)

    def copied_link(self, sender: int, device: int, tab: int) -> None:
        """Somebody opens an address that was sent to them: a token in it hands over nothing."""
        address = self.pages.get((sender, 0), "/")
        self.pages[device, tab] = self.browsers[device].open(address)
        devices = self.world.devices
        self.world.open_copy(devices[sender], devices[device], tab)

    def log_in(self, device: int) -> None:
        self.browsers[device].log_in("somebody")

    def lose_cookies(self, device: int) -> None:
        self.browsers[device].cookies.clear()
        self.world.devices[device].cookie = None

    def identify(self, device: int, tab: int, person: str) -> None:
        address = self._address(person)
        self._identify(device, tab, address, email=address.upper(), verified="yes")

    def identify_next_customer(self, device: int, tab: int) -> None:
        customer = self.next_customer
        self._identify(device, tab, customer, user_id=customer, verified="yes")

    def wait(self, seconds: int) -> None:
        self.site.clock.advance(seconds=seconds)
        self.world.now += seconds

    def sign_up(self, device: int, tab: int, person: str | None) -> None:
        customer, email = self.next_customer, None if person is None else self._address(person)
        self.next_customer = next(self.customers)
        page = self.pages.get((device, tab))
        self.browsers[device].sign_up(customer, email, page)
        row = self.site.row_of(customer)
        self.ended[row["reason"]] += 1
        reason, click = self.world.sign_up(self.world.devices[device], tab, customer, email)
        assert (row["reason"], row["click_id"]) == (reason, click.id if click else None)
        if click is not None:
            assert tuple(touch["click_id"] for touch in row["touches"] or ()) == click.others

    def _identify(self, device: int, tab: int, who: str, **fields: Any) -> None:
        bound = self.browsers[device].lead(self.pages.get((device, tab)), **fields)
        assert bound == self.world.identify(self.world.devices[device], tab, who)

    def _address(self, person: str) -> str:
        return f"{person}.{self.example}@shop.example"


#: Every end that the steps can have.
ENDS = {"cookie", "carried", "identity", "expired", "token_used", "no_click"}
#: Some that chance comes by too seldom.
LATE = [("land", 0, 0, "a"), ("wait", 91 * 86400)]
TOKEN = [("land", 2, 0, "a"), ("page", 2, 0)]
SHARED = [*TOKEN, ("sign_up", 2, 0, None), ("sign_up", 2, 0, None)]
SHARED_AND_BOUND = [*TOKEN, ("identify", 2, 0, "ada"), ("sign_up", 2, 0, None)]


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["last", "first"])
def test_any_sequence_ends_as_the_rules_say(make_site: MakeSite, policy: str) -> None:
    site = make_site(S2S_ATTRIBUTION=policy, S2S_CLICK_RATE=0)
    numbers, ended = count(), Counter[str]()

    @settings(
        max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @example(steps=LATE)
    @example(steps=SHARED)
    @example(steps=SHARED_AND_BOUND)
    @given(steps=st.lists(STEPS, min_size=3, max_size=25))
    def check(steps: list[tuple[Any, ...]]) -> None:
        played = Play(site, policy, next(numbers), ended)
        for name, *arguments in steps:
            getattr(played, name)(*arguments)
        for device in range(3):
            played.sign_up(device, 0, "ada")

    check()
    assert set(ended) == ENDS
    assert len(site.rows()) == ended.total(), "one row, and so one reason, for each sign-up"
