"""`explain`: why a customer was credited to a partner, or not, and by which clicks they came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from ..capture.attribution import sentence
from ..checkup.credentials import correction
from ..click import Click
from ..conversion import Signup
from ..delivery.frozen import MOVED
from ..delivery.settlement import Delivery, Status
from ..services import Services
from . import output
from .arguments import utf8
from .context import as_json, prepared
from .looking import described


@click.command()
@click.argument("customer", type=utf8)
@as_json
@prepared
def explain(services: Services, customer: str, as_json: bool) -> None:
    """Say why a customer was, or was not, credited to a partner."""
    found = _found(services, customer)
    touched = services.ledger.touches(customer)
    told = [(one, _history(services, one, touched.get(one.id, ()))) for one in found]
    if as_json:
        output.dump(
            [
                {**described(one), "history": clicks, "emptied": _emptied(one)}
                for one, clicks in told
            ]
        )
        click.get_current_context().exit(0 if found else 1)
    if not found:
        raise click.ClickException(_nobody(customer))
    for delivery, clicks in told:
        _print(services, delivery, clicks)


def _found(services: Services, customer: str) -> list[Delivery]:
    with services.storage.engine().connect() as connection:
        signup = services.outbox.hashed(connection, (Signup.kind, customer.strip()))
    return services.ledger.of_customer(customer, signup, services.networks)


def _nobody(customer: str) -> str:
    hint = (
        f" If that is an e-mail address: explain wants the customer key; `flask s2s export {customer}`"
        " finds it."
    )
    return (
        f"Nothing is on record for customer {customer}. Either the sign-up never reached "
        "track_signup, its transaction was rolled back, or it is known under another key. (Of "
        "what was forgotten only a sign-up is still found.)"
        f"{hint if '@' in customer else ''}"
    )


def _emptied(delivery: Delivery) -> bool:
    """Say whether `prune` or `forget` was here: what the row was about is gone, not that it was."""
    return delivery.customer_key is None


def _print(services: Services, delivery: Delivery, clicks: list[dict[str, Any]]) -> None:
    click.echo(f"{output.moment(delivery.created_at)} UTC  {delivery.kind}")
    click.echo(f"  {sentence(delivery.reason)}")
    click.echo(f"  {output.state(delivery.status.value)}: {_story(services, delivery)}")
    if _emptied(delivery):
        click.echo("  What it was about was emptied since, by `prune` or `forget`.")
    if delivery.detail:
        output.line(f"  Last word: {delivery.detail}")
    for one in clicks:
        output.line(f"  {_line(one)}")


def _history(
    services: Services, delivery: Delivery, touches: Sequence[Click]
) -> list[dict[str, Any]]:
    """Return the clicks by which a customer came, newest first, and which one counts."""
    won = delivery.click
    if won is None:
        return []
    clicks = sorted((won, *touches), key=lambda one: one.at, reverse=True)
    why = _why(won, touches)
    return [{**_known(services, one), "credited": one is won, "why": why} for one in clicks]


def _known(services: Services, touch: Click) -> dict[str, Any]:
    """Return a click with what its row has of it, while there is one."""
    stored = services.touches.find(touch.click_id)
    known = stored if stored is not None and stored.network == touch.network else touch
    return {
        "network": touch.network,
        "click_id": touch.click_id,
        "at": touch.at,
        "partner_key": touch.partner_key or known.partner_key,
        "sub_ids": list(touch.sub_ids or known.sub_ids),
    }


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
    if delivery.status is Status.WITHDRAWN and delivery.detail == MOVED:
        return "it went to another database, which sends it."
    if delivery.status is Status.WITHDRAWN and delivery.conversion is None:
        return "it was not sent, and what it would have sent is erased."
    return _STORY[delivery.status]
