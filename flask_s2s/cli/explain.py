"""`explain`: why a customer was credited to a partner, or not, and by which clicks they came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import click

from ..click import Click
from ..operations.causes import Why, said, why
from ..operations.check.deliveries import correction
from ..operations.story import bound_to, deliveries_of, standing
from ..rules.attribution import Reason, sentence
from ..rules.delivery import Delivery
from ..rules.states import Status
from ..services import Services
from ..store.audit import Entry
from ..store.bindings import Bound
from ..store.privacy.personal import PersonalRecords
from . import output
from .audit import told as audited
from .context import as_json, prepared, utf8
from .output import described, described_click, what


@click.command()
@click.argument("customer", type=utf8, metavar="CUSTOMER|EMAIL")
@as_json
@prepared
def explain(services: Services, customer: str, as_json: bool) -> None:
    """Say why a customer was, or was not, credited to a partner.

    The customer's key, or the e-mail address that they signed up with.

    \b
    flask s2s explain 4711
    flask s2s explain ada@example.com
    """
    found = deliveries_of(services, customer)
    keys = (
        [customer]
        if found or "@" not in customer
        else _personal_records(services).customers(customer)
    )
    told = [one for key in keys for one in _told(services, key)]
    if as_json:
        output.dump([_as_json(one) for one in told])
        click.get_current_context().exit(0 if told else 1)
    if not told:
        raise click.ClickException(_nobody(customer))
    for key in keys:
        theirs = [one for one in told if one.customer == key]
        if key != customer and theirs:
            output.line(f"Customer {key}:")
        for one in theirs:
            _print(services, one.delivery, one.clicks)
        for each in theirs[0].bound if theirs else ():
            output.line(f"Bound to click {each.click.click_id}: {standing(each)}.")
        for act in theirs[0].acts if theirs else ():
            output.line(audited(act))


@dataclass(frozen=True, slots=True)
class _Told:
    """One delivery of a customer, and what is known of the customer."""

    customer: str
    delivery: Delivery
    clicks: list[dict[str, Any]]
    bound: list[Bound]
    acts: list[Entry]


def _told(services: Services, customer: str) -> list[_Told]:
    found = deliveries_of(services, customer)
    touched = services.ledger.touches(customer)
    acts = services.audit.of(customer)
    bound = bound_to(services, customer, found)
    return [
        _Told(customer, one, _history(services, one, touched.get(one.id, ()), bound), bound, acts)
        for one in found
    ]


def _as_json(told: _Told) -> dict[str, Any]:
    return {
        **described(told.delivery),
        "clicks": told.clicks,
        "emptied": _emptied(told.delivery),
        "bindings": [_binding(each) for each in told.bound],
        "acts": [asdict(act) for act in told.acts],
    }


def _personal_records(services: Services) -> PersonalRecords:
    storage = services.storage
    return PersonalRecords(storage, services.bindings, services.outbox)


def _binding(bound: Bound) -> dict[str, Any]:
    return {
        "network": bound.click.network,
        "click_id": bound.click.click_id,
        "proved": bound.proved,
        "counts": bound.counts,
        "live": bound.live,
    }


def _nobody(customer: str) -> str:
    return (
        f"Nothing is on record for customer {customer}. Either the sign-up never reached "
        "track_signup, its transaction was rolled back, or it is known under another key. (Of "
        "what was forgotten only a sign-up is still found.)"
    )


def _emptied(delivery: Delivery) -> bool:
    """Say whether `prune` or `forget` was here: what the row was about is gone, not that it was."""
    return delivery.customer_key is None


def _print(services: Services, delivery: Delivery, clicks: list[dict[str, Any]]) -> None:
    at = output.moment(delivery.created_at)
    output.line(f"{at} UTC  {what(delivery)}  (delivery {delivery.id})")
    click.echo(f"  {sentence(delivery.reason)}")
    click.echo(f"  {output.state(delivery.status.value)}: {_story(services, delivery)}")
    if _emptied(delivery):
        click.echo("  What it was about was emptied since, by `prune` or `forget`.")
    if delivery.detail:
        output.line(f"  Last word: {said(delivery.detail)}")
    cause = why(delivery.status.value, delivery.detail)
    if cause is not None and delivery.status is Status.PENDING:
        click.echo(f"  {cause.meaning}")
    for one in clicks:
        output.line(f"  {_line(one)}")
        if one["landing"]:
            output.line(f"    {_landing(one['landing'])}")


def _history(
    services: Services, delivery: Delivery, touches: Sequence[Click], bound: Sequence[Bound]
) -> list[dict[str, Any]]:
    """Return the clicks by which a customer came, newest first, and which one counts."""
    won = delivery.click
    clicks = sorted((*filter(None, [won]), *touches), key=lambda one: one.at, reverse=True)
    if won is None:
        late = {"credited": False, "why": "its window had closed"}
        return [{**_known(services, one), **late} for one in clicks]
    proved = {(each.click.network, each.click.click_id) for each in bound if each.proved}
    by_proof = delivery.reason == Reason.IDENTITY.value and (won.network, won.click_id) in proved
    why = "what is proved comes first" if touches and by_proof else _why(won, touches)
    return [{**_known(services, one), "credited": one is won, "why": why} for one in clicks]


def _known(services: Services, touch: Click) -> dict[str, Any]:
    """Return a click with what its row has of it, while there is one."""
    stored = services.touches.find(touch.click_id)
    known = stored if stored is not None and stored.network == touch.network else touch
    whole = replace(
        touch,
        partner_key=touch.partner_key or known.partner_key,
        sub_ids=touch.sub_ids or known.sub_ids,
    )
    return {**described_click(whole), "landing": services.touches.landing(touch)}


def _why(won: Click, touches: Sequence[Click]) -> str:
    if not touches:
        return "the only click"
    if all(touch.at <= won.at for touch in touches):
        return "the last click counts"
    return "the first click counts"


def _line(touch: dict[str, Any]) -> str:
    word = "credited" if touch["credited"] else "not credited"
    partner = f", partner {touch['partner_key']}" if touch["partner_key"] else ""
    sub_ids = f", sub IDs {', '.join(touch['sub_ids'])}" if touch["sub_ids"] else ""
    return (
        f"Click {touch['click_id']} of {output.moment(touch['at'])} UTC{partner}{sub_ids}: "
        f"{word}, {touch['why']}."
    )


def _landing(kept: dict[str, Any]) -> str:
    utm = " ".join(f"{name}={value}" for name, value in kept["utm"].items())
    parts = {"Landed on": kept["page"], "from": kept["referrer"], "with": utm}
    return " ".join(f"{word} {said}" for word, said in parts.items() if said) + "."


_STORY = {
    Status.ARMED: "its view has not answered yet.",
    Status.PENDING: "it waits for its next try.",
    Status.WAITING: "it waits for the customer's sign-up, or for the transaction, to be accepted.",
    Status.SENDING: "it is on its way right now.",
    Status.HELD: "the network does not take our credential; it goes out once that works.",
    Status.DELIVERED: "the network took it. Its own records are the proof.",
    Status.CONFIRMED: "the network has the customer on record.",
    Status.MISSING: "the network took it and does not have it: ask the network, with the click ID.",
    Status.REFUSED: "the network refused it for good.",
    Status.EXPIRED: "it could not be delivered before its deadline; `flask s2s retry` tries again.",
    Status.UNATTRIBUTED: "there was nothing to send. `flask s2s credit` credits by hand.",
    Status.INVALID: "a field of it was not acceptable, so there was nothing to send.",
    Status.WITHDRAWN: "the view failed after the commit; `flask s2s retry` sends it all the same.",
    Status.DRY_RUN: "S2S_DRY_RUN was on: it was recorded and not sent.",
}


def _story(services: Services, delivery: Delivery) -> str:
    if delivery.status is Status.HELD:
        remedy = correction(services, delivery.lane, delivery.detail or "")
        return f"{_STORY[delivery.status]} {remedy}".rstrip()
    cause = why(delivery.status.value, delivery.detail)
    if cause in (Why.PARENT, Why.ANOTHERS) and delivery.status is Status.REFUSED:
        return f"it was not sent. {cause.meaning}"
    if delivery.reason == Reason.PARENT.value:
        return "it is sent once its customer is credited: `flask s2s credit`."
    if delivery.reason == Reason.REVIEW.value and delivery.conversion is not None:
        return "it waits for `flask s2s credit` or `flask s2s discard`."
    if delivery.status is Status.WITHDRAWN and delivery.conversion is None:
        return "it was not sent, and what it would have sent is erased."
    return _STORY[delivery.status]
