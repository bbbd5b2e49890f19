"""`credit`: crediting a sign-up by hand, or many from a file. `rename`: a customer's key changes."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TextIO

import click

from ..click import Click, valid_click_id
from ..conversion import Signup
from ..conversion.fields import customer_key_of
from ..errors import InvalidConversion
from ..operations.acts import credit_by_hand
from ..rules.delivery import Delivery
from ..rules.states import Status
from ..services import Services
from ..store.privacy.renaming import Renamed, Renaming
from . import output
from .audit import note, why
from .context import as_json, confirm, prepared, utf8
from .output import described


@click.command()
@click.argument("customer", type=utf8, required=False)
@click.option(
    "--click",
    "click_id",
    type=utf8,
    metavar="ID",
    help="The partner's click ID; of what waits for review, another than it came with.",
)
@click.option(
    "--from",
    "file",
    type=click.File(encoding="utf-8-sig"),
    metavar="CSV",
    help="Many: a file with the columns customer and click.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@why
@as_json
@prepared
def credit(
    services: Services,
    customer: str | None,
    click_id: str | None,
    file: TextIO | None,
    yes: bool,
    why: str | None,
    as_json: bool,
) -> None:
    """Credit a customer's sign-up to a click, by hand.

    Works for a customer who is unattributed, waits for review or is not recorded yet; whoever has a
    click keeps it. A file can be read again: who is credited already is left alone.

    \b
    flask s2s credit 4711 --click 5f2b6d1c9e0a4d --why "asked by mail"
    flask s2s credit --from credits.csv
    """
    if file is not None:
        if customer is not None or click_id is not None:
            raise click.UsageError("--from has the customers and their clicks: say nothing else.")
        _credit_all(services, list(_read(file)), yes, why, as_json)
        return
    if customer is None:
        raise click.UsageError("Say whom: CUSTOMER, or --from CSV.")
    found = _click(services, customer, click_id)
    credited = credit_by_hand(services, customer, found)
    if credited is None:
        raise click.ClickException(
            f"Customer {customer} has a delivery already: flask s2s explain {customer}"
        )
    click_id = found.click_id
    note(services, "credit", why, [customer], click=click_id)
    if as_json:
        output.dump(described(credited))
    else:
        fate = (
            "is recorded, and not sent: S2S_DRY_RUN is on"
            if credited.status is Status.DRY_RUN
            else f"is {credited.status}"
        )
        output.line(f"Delivery {credited.id}: customer {customer}, click {click_id}, {fate}.")


def _click(services: Services, customer: str, click_id: str | None) -> Click:
    """Return the click that is meant: the one that is named, or that a sign-up under review has."""
    if click_id is None:
        reviewed = services.ledger.under_review(customer)
        if not reviewed or reviewed[0].click is None:
            raise click.UsageError("Say which click: --click. (None waits for review.)")
        return reviewed[0].click
    if not valid_click_id(click_id):
        raise click.BadParameter("a click ID is letters, digits and . _ ~ -", param_hint="--click")
    if services.touches.find(click_id) is None:
        click.echo("This site has not seen that click; the network will decide.", err=True)
    return _known(services, click_id)


def _known(services: Services, click_id: str) -> Click:
    """Return a click as this site has seen it; else as somebody says now that it was."""
    return services.touches.find(click_id) or Click(click_id=click_id, at=services.clock.now())


# -- renaming -------------------------------------------------------------------------------------

_RENAMED = {
    "deliveries": "deliveries under the new key",
    "known_as_before": "of them known to the network by the old key, which is sent as before",
    "merged": "sign-ups beside one that the new key has: each stays what it is",
    "bindings": "clicks that the key was bound to",
    "click_tokens": "used links",
}


@click.command()
@click.argument("old", type=utf8)
@click.argument("new", type=utf8)
@click.option("--yes", is_flag=True, help="Do not ask.")
@why
@as_json
@prepared
def rename(
    services: Services, old: str, new: str, yes: bool, why: str | None, as_json: bool
) -> None:
    """Give a customer another key, whom the site knows by another one from now on.

    For keys that change, and for two customers who became one. The network is told of nothing: it
    goes on knowing the customer by the key that it has, and what you report under the new one is sent
    under that. It shows first what changes. Done twice it changes nothing more.

    \b
    flask s2s rename 4711 acct_9f2 --why "accounts have IDs of their own"
    """
    old, new = _key(old, "OLD"), _key(new, "NEW")
    if old == new:
        raise click.UsageError("OLD and NEW are the same key.")
    renaming = Renaming(
        services.storage,
        services.bindings,
        services.outbox,
        services.audit,
    )
    found = renaming.preview(old, new)
    if not found and not any(entry.act == "rename" for entry in services.audit.of(old)):
        raise click.ClickException(f"Nothing is kept under {old}.")
    if found and not yes:
        _print_renamed(found, err=True)
        confirm(f"Let {old} be {new}?")
    if found:
        found = renaming.rename(old, new)
        note(services, "rename", why, [old, new], deliveries=found.deliveries)
        services.supervisor.wake()
    if as_json:
        output.dump(asdict(found))
    elif found:
        _print_renamed(found)
    else:
        click.echo(f"{old} was renamed before, and nothing is kept under it since.")


def _key(text: str, name: str) -> str:
    try:
        return customer_key_of(text)
    except InvalidConversion as error:
        raise click.BadParameter(error.problem, param_hint=name) from None


def _print_renamed(found: Renamed, *, err: bool = False) -> None:
    for name, words in _RENAMED.items():
        if number := getattr(found, name):
            click.echo(f"{number:>6}  {words}", err=err)


# -- many -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a file: whom to credit, by which click."""

    number: int
    customer: str
    click_id: str


def _read(file: TextIO) -> Iterator[_Line]:
    lines = csv.DictReader(file)
    names = lines.fieldnames or ()
    if not {"customer", "click"} <= set(names):
        raise click.BadParameter("its first line names customer and click", param_hint="--from")
    try:
        for row in lines:
            customer, click_id = (str(row[name] or "").strip() for name in ("customer", "click"))
            if not customer or not valid_click_id(click_id):
                what = (
                    f"line {lines.line_num}: a customer, and a click ID of letters, digits . _ ~ -"
                )
                raise click.BadParameter(what, param_hint="--from")
            yield _Line(lines.line_num, customer, click_id)
    except (csv.Error, UnicodeDecodeError) as error:
        raise click.BadParameter(f"cannot be read: {error}", param_hint="--from") from error


def _credit_all(
    services: Services, lines: Sequence[_Line], yes: bool, why: str | None, as_json: bool
) -> None:
    fates = [_fate(services, line) for line in lines]
    if not yes:
        _preview(lines, fates)
    todo = [line for line, fate in zip(lines, fates, strict=True) if fate in ("credit", "record")]
    if todo and not yes:
        confirm(f"Credit {len(todo)} {'customer' if len(todo) == 1 else 'customers'}?")
    done: Counter[str] = Counter({"credited": 0, "already": fates.count("already")})
    done["kept"] = fates.count("keep")

    def steps() -> Iterator[int]:
        for line in todo:
            found = _known(services, line.click_id)
            credited = credit_by_hand(services, line.customer, found)
            done["kept" if credited is None else "credited"] += 1
            if credited is not None:
                note(services, "credit", why, [line.customer], click=line.click_id)
            yield 1

    output.progress("Crediting", len(todo), steps())
    services.supervisor.wake()
    if as_json:
        output.dump(dict(done))
    else:
        click.echo(
            f"{done['credited']} credited, {done['already']} were already, "
            f"{done['kept']} keep what they have."
        )


def _fate(services: Services, line: _Line) -> str:
    """Say what would become of a line: credit, record (nobody knows the customer), already, keep."""
    with services.storage.engine().connect() as connection:
        signup = services.outbox.hashed(connection, (Signup.kind, line.customer))
    found = services.ledger.of_customer(line.customer, [signup], services.networks)
    signups = [one for one in found if one.kind == Signup.kind]
    if not signups:
        return "record"
    if any(_is_by(one, line.click_id) for one in signups):
        return "already"
    return "credit" if all(one.status.replaceable for one in signups) else "keep"


def _is_by(delivery: Delivery, click_id: str) -> bool:
    review = delivery.status.replaceable
    return not review and delivery.click is not None and delivery.click.click_id == click_id


_FATES = {
    "credit": "is credited",
    "record": "is recorded and credited: nobody knows this customer here",
    "already": "is credited to it already",
    "keep": "keeps what is there: see `flask s2s explain`",
}
#: How many lines are shown before it is asked.
_SHOWN = 10


def _preview(lines: Sequence[_Line], fates: Sequence[str]) -> None:
    counted = Counter(fates)
    sums = [(_FATES[fate], str(counted[fate])) for fate in _FATES if counted[fate]]
    output.table(("what becomes of it", "lines"), sums, err=True)
    click.echo(err=True)
    rows = [
        (str(line.number), line.customer, line.click_id, fate)
        for line, fate in list(zip(lines, fates, strict=True))[:_SHOWN]
    ]
    output.table(("line", "customer", "click", "fate"), rows, err=True, cut=(1, 2))
