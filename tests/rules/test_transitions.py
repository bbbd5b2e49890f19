"""Every arrow of the table is walked by something that happens, and nothing leaves the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from flask_s2s import Click, Delivery, InvalidConversion, Signup, Status, Transaction
from flask_s2s.conversion import Conversion
from flask_s2s.networks.messages import Request, Response
from flask_s2s.operations.acts import credit_by_hand
from flask_s2s.recording.draft import Drafts
from flask_s2s.rules.attribution import Attribution, Reason
from flask_s2s.rules.delivery import Settlement, expire
from flask_s2s.rules.states import TRANSITIONS
from flask_s2s.rules.verification import Confirmed, Missing, SendAgain, Verdict
from flask_s2s.store.outbox.ledger import Wanted
from flask_s2s.store.privacy.erasing import Erasing
from flask_s2s.store.privacy.personal import PersonalRecords
from flask_s2s.testing import accepted, answered
from tests.delivery.shop import Shop
from tests.delivery.steps import LEASE, claim, settle

PAYMENT = Transaction(customer_key="42", amount=500, currency="USD", key="inv-1")
SIGNUP = Signup(customer_key="42")
YEARS = timedelta(days=3650)
_TRIGGER = (
    "CREATE TABLE walked (old TEXT, new TEXT)",
    "CREATE TRIGGER walking AFTER UPDATE OF status ON s2s_delivery WHEN OLD.status != NEW.status "
    "BEGIN INSERT INTO walked VALUES (OLD.status, NEW.status); END",
)


_REFUSED = answered(400, '{"message": "\'xid\' is a required property", "status": 400}')


class Network:
    """A network that gives one answer until it is set to another."""

    def __init__(self) -> None:
        self.answer = accepted()

    def send(self, request: Request, *, seconds: float) -> Response:
        return self.answer


class Walk:
    """A shop whose database writes down each change of a status."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.network = Network()
        self.services = shop.another(transport=self.network)
        self.dry = shop.another({"S2S_DRY_RUN": True})
        self.click = Click(click_id="click1", at=shop.clock.now())
        with self.services.storage.engine().begin() as connection:
            for statement in _TRIGGER:
                connection.execute(text(statement))

    def walked(self) -> set[str]:
        with self.services.storage.engine().connect() as connection:
            return {
                f"{old} > {new}" for old, new in connection.execute(text("SELECT * FROM walked"))
            }

    # -- what happens -------------------------------------------------------------------------

    def sign_up(self) -> Delivery:
        return self.shop.sign_up("42")

    def sign_up_without_a_click(self) -> None:
        assert self.services.track_signup(customer_key="42")

    def sign_up_dry(self) -> None:
        assert self.dry.track_signup(customer_key="42", click=self.click)

    def pay(self) -> Delivery:
        paid = self.services.track(PAYMENT)
        assert paid
        return paid

    def arm(self, conversion: Conversion = SIGNUP) -> tuple[Delivery, str]:
        """Record it as a decorated view does, in its transaction."""
        services, now, token = self.services, self.shop.clock.now(), "f" * 32
        drafts = Drafts(services.settings, services.networks)
        draft = drafts.draft(conversion, Attribution(self.click, Reason.COOKIE), now)
        armed = replace(draft, status=Status.ARMED, lease_token=token, due_at=now + LEASE)
        with services.storage.engine().begin() as connection:
            parent = conversion.parent
            return services.outbox.add(connection, armed, conversion.identity, parent), token

    def fail(self) -> None:
        """Sign up in a view that fails after the commit."""
        armed, token = self.arm()
        self.services.outbox.withdraw(armed.id, token, self.shop.clock.now(), "the view raised")

    def drain(self, answer: Response, after: timedelta) -> None:
        """Send all that is due; the network answers so."""
        self.shop.clock.advance(after)
        self.network.answer = answer
        self.services.drain()

    def expire(self) -> None:
        now = self.shop.clock.advance(YEARS)
        assert self.services.supervisor.overdue.expire(now, now)

    def retry(self, kind: str | None = None) -> None:
        now, give_up = self.shop.clock.now(), self.services.settings.give_up
        assert self.services.ledger.retry(Wanted(kind=kind), now, give_up)

    def judge(self, verdict: Verdict) -> None:
        """Settle the sign-up by what the network's records say."""
        judged = [(self.shop.row(), verdict)]
        assert self.services.supervisor.verification_queue.settle(
            judged, self.shop.clock.now()
        ) == [True]

    def forget(self) -> None:
        """Let the customer ask to be forgotten."""
        services = self.services
        storage = services.storage
        found = PersonalRecords(storage, services.bindings, services.outbox)
        assert found.forget("42", self.shop.clock.now())["withdrawn"]

    def withdraw_consent(self) -> None:
        """Let the visitor have erased what came of their click."""
        erasing, now = Erasing(self.services.storage.tables), self.shop.clock.now()
        with self.services.storage.engine().begin() as connection:
            assert erasing.withdraw(connection, [self.click], now).deliveries

    def succeed(self) -> None:
        armed, token = self.arm()
        assert self.services.outbox.release(armed.id, token, self.shop.clock.now())

    def claim(self, after: timedelta = timedelta(0)) -> list[Delivery]:
        self.shop.clock.advance(after)
        claimed = claim(self.shop)
        assert claimed
        return claimed

    def settle(self, become: Callable[[Delivery], Settlement]) -> None:
        (held,) = self.claim()
        assert settle(self.shop, held, become(held))

    def open_lanes(self) -> None:
        breakers = self.services.supervisor.breakers
        for closed in breakers.closed():
            assert breakers.open(closed.lane, self.shop.clock.now())

    def record_invalid(self) -> None:
        """Record a sign-up of the click's visitor that cannot be."""
        error = InvalidConversion("email", "is none")
        self.services.recorder.invalid_call(error, Attribution(self.click, Reason.EXPLICIT), None)


Step = Callable[[Walk], object]
_WEEK = timedelta(days=7)


def drain(answer: Response | None = None, after: timedelta = timedelta(0)) -> Step:
    return lambda walk: walk.drain(answer or accepted(), after)


def judge(verdict: Verdict) -> Step:
    return lambda walk: walk.judge(verdict)


#: What happens, one after the other, and the arrows that it walks. Nothing opens the lane of payments.
SCENES: dict[str, tuple[list[Step], str]] = {
    "a view succeeds": ([Walk.succeed], "armed > pending"),
    "a view dies": (
        [Walk.arm, lambda walk: walk.claim(after=LEASE)],
        "armed > sending",
    ),
    "a view fails, and they come again": (
        [Walk.fail, Walk.sign_up],
        "armed > withdrawn, withdrawn > pending",
    ),
    "a view fails, and its next one begins": (
        [Walk.fail, Walk.arm],
        "armed > withdrawn, withdrawn > armed",
    ),
    "a view fails, and nothing is sent for a trial": (
        [Walk.fail, Walk.sign_up_dry, Walk.withdraw_consent],
        "armed > withdrawn, withdrawn > dry_run, dry_run > withdrawn",
    ),
    "it is sent": ([Walk.sign_up, drain()], "pending > sending, sending > delivered"),
    "it is read back instead of sent": (
        [
            Walk.sign_up,
            lambda walk: walk.settle(lambda _: Settlement(status=Status.CONFIRMED, detail="")),
        ],
        "pending > sending, sending > confirmed",
    ),
    "it is confirmed": (
        [Walk.sign_up, drain(), judge(Confirmed(detail=""))],
        "pending > sending, sending > delivered, delivered > confirmed",
    ),
    "it is not on record": (
        [Walk.sign_up, drain(), judge(SendAgain(detail="")), drain(), judge(Missing(detail=""))],
        "pending > sending, sending > delivered, delivered > pending, delivered > missing",
    ),
    "it is found at last": (
        [Walk.sign_up, drain(), judge(Missing(detail="")), judge(Confirmed(detail=""))],
        "pending > sending, sending > delivered, delivered > missing, missing > confirmed",
    ),
    "what is missing is sent again by hand": (
        [Walk.sign_up, drain(), judge(Missing(detail="")), Walk.retry],
        "pending > sending, sending > delivered, delivered > missing, missing > pending",
    ),
    "it is refused, and sent again by hand": (
        [Walk.sign_up, drain(_REFUSED), Walk.retry],
        "pending > sending, sending > refused, refused > pending",
    ),
    "it is refused, and forgotten": (
        [Walk.sign_up, drain(_REFUSED), Walk.forget],
        "pending > sending, sending > refused, refused > withdrawn",
    ),
    "its time is over, and it is sent again by hand": (
        [Walk.sign_up, drain(answered(503)), Walk.expire, Walk.retry],
        "pending > sending, sending > pending, pending > expired, expired > pending",
    ),
    "its time is over while it is sent": (
        [Walk.sign_up, lambda walk: walk.settle(expire), Walk.forget],
        "pending > sending, sending > expired, expired > withdrawn",
    ),
    "it is forgotten before it goes": ([Walk.sign_up, Walk.forget], "pending > withdrawn"),
    "it is forgotten while it is sent": (
        [Walk.sign_up, Walk.claim, Walk.forget],
        "pending > sending, sending > withdrawn",
    ),
    "a lane is tried": (
        [Walk.sign_up, drain(answered(401)), drain(after=timedelta(minutes=5))],
        "pending > sending, sending > held, held > sending, sending > delivered",
    ),
    "a lane opens": (
        [Walk.sign_up, drain(answered(401)), Walk.open_lanes],
        "pending > sending, sending > held, held > pending",
    ),
    "a lane stays closed": (
        [Walk.sign_up, drain(answered(401)), Walk.expire],
        "pending > sending, sending > held, held > expired",
    ),
    "what is held is forgotten": (
        [Walk.sign_up, drain(answered(401)), Walk.forget],
        "pending > sending, sending > held, held > withdrawn",
    ),
    "a payment waits for its customer": (
        [Walk.sign_up, drain(answered(503)), Walk.pay, drain(), drain(after=_WEEK)],
        "pending > sending, sending > pending, sending > waiting, sending > delivered, "
        "waiting > sending, sending > held",
    ),
    "a payment waits in vain": (
        [Walk.sign_up, drain(answered(503)), Walk.pay, drain(), Walk.expire],
        "pending > sending, sending > pending, sending > waiting, pending > expired, "
        "waiting > expired",
    ),
    "a payment that waits is forgotten": (
        [Walk.sign_up, drain(answered(503)), Walk.pay, drain(), Walk.forget],
        "pending > sending, sending > pending, sending > waiting, pending > withdrawn, "
        "waiting > withdrawn",
    ),
    "a customer is credited by hand, with what they paid": (
        [
            *(Walk.sign_up_without_a_click, Walk.pay, drain()),
            lambda walk: credit_by_hand(walk.services, "42", walk.click),
            drain(),
        ],
        "pending > sending, sending > unattributed, unattributed > pending, "
        "sending > delivered, unattributed > waiting, waiting > sending, sending > held",
    ),
    "a customer without a click comes again in a view": (
        [Walk.sign_up_without_a_click, Walk.arm],
        "unattributed > armed",
    ),
    "a customer without a click comes again for a trial": (
        [Walk.sign_up_without_a_click, Walk.sign_up_dry],
        "unattributed > dry_run",
    ),
    "what a failed view's customer paid is erased": (
        [Walk.fail, Walk.pay, drain(), Walk.withdraw_consent],
        "armed > withdrawn, pending > sending, sending > unattributed, unattributed > withdrawn",
    ),
    "what cannot be is erased": (
        [Walk.record_invalid, Walk.withdraw_consent],
        "invalid > withdrawn",
    ),
    "nothing is sent of whom nothing was sent": (
        [Walk.sign_up_dry, Walk.pay, drain()],
        "pending > sending, sending > dry_run",
    ),
    "a payment refused with its customer goes out with them": (
        [
            Walk.sign_up,
            drain(_REFUSED),
            Walk.pay,
            drain(),
            lambda walk: walk.retry("signup"),
            drain(),
        ],
        "pending > sending, sending > refused, refused > pending, sending > delivered, "
        "refused > waiting, waiting > sending, sending > held",
    ),
    "a payment refused with its customer is made again in a view": (
        [Walk.sign_up, drain(_REFUSED), Walk.pay, drain(), lambda walk: walk.arm(PAYMENT)],
        "pending > sending, sending > refused, refused > armed",
    ),
    "a payment refused with its customer is made again for a trial": (
        [Walk.sign_up, drain(_REFUSED), Walk.pay, drain(), lambda walk: walk.dry.track(PAYMENT)],
        "pending > sending, sending > refused, refused > dry_run",
    ),
}


@pytest.mark.parametrize("scene", SCENES)
def test_what_happens_walks_these_arrows(shop: Shop, scene: str) -> None:
    steps, arrows = SCENES[scene]
    walk = Walk(shop)
    for step in steps:
        step(walk)
    assert walk.walked() == set(arrows.split(", "))


def test_each_arrow_of_the_table_is_walked_and_no_other() -> None:
    walked = {arrow for _, arrows in SCENES.values() for arrow in arrows.split(", ")}
    assert walked == {f"{old} > {new}" for old, after in TRANSITIONS.items() for new in after}
