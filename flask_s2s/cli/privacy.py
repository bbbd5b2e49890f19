"""`forget` and `export`: what a person may ask of a site that keeps something about them."""

from __future__ import annotations

import click

from ..click import load_click
from ..services import Services
from ..store.privacy.erasing import left_to_do
from ..store.privacy.personal import PersonalRecords
from . import output
from .audit import note, why
from .context import as_json, confirm, prepared, utf8
from .output import described_click

_WORDS = {
    "emptied": "deliveries emptied (that they were delivered stays)",
    "withdrawn": "deliveries withdrawn (they are sent no more)",
    "attempts": "attempts without what was sent and answered",
    "clicks": "clicks deleted",
    "bindings": "bindings of an e-mail address or a user's ID deleted",
    "click_tokens": "used links deleted",
}


@click.command()
@click.argument("customer", type=utf8, metavar="CUSTOMER|EMAIL")
@click.option("--yes", is_flag=True, help="Do not ask.")
@why
@as_json
@prepared
def forget(services: Services, customer: str, yes: bool, why: str | None, as_json: bool) -> None:
    """Erase what is kept about a customer.

    It shows first what that is. A row that was delivered still keeps its customer from being sent
    twice. What the network has got stays there: ask it for that.

    \b
    flask s2s forget ada@example.com --why "asked on 3 May"
    """
    personal = _personal_records(services).read(customer)
    counts = personal.counts()
    if not any(counts.values()):
        raise click.ClickException(_nothing(services))
    if not yes:
        _print(counts, err=True)
        confirm("Forget all of this?")
    counts = _personal_records(services).forget(customer, services.clock.now())
    note(services, "forget", why, personal.customers())
    storage = services.storage
    if left := left_to_do(storage.engine(), ours=storage.ours):
        click.echo(left, err=True)
    if as_json:
        output.dump(counts)
        return
    _print(counts)
    if counts["in_flight"]:
        click.echo(f"{counts['in_flight']} was being sent: the network may have it all the same.")


@click.command()
@click.argument("customer", type=utf8, metavar="CUSTOMER|EMAIL")
@click.option("--json", is_flag=True, expose_value=False, help="It is JSON without this too.")
@why
@prepared
def export(services: Services, customer: str, why: str | None) -> None:
    """Print everything that is kept about a customer, as JSON.

    \b
    flask s2s export ada@example.com > ada.json
    """
    personal = _personal_records(services).read(customer)
    if not any(personal.counts().values()):
        raise click.ClickException(_nothing(services))
    note(services, "export", why, personal.customers())
    for row in personal.deliveries:
        # The key of whoever is sending it, and nothing about anybody.
        del row["lease_token"]
        row["tries"] = tries = row.pop("attempts")
        row["attempts"] = len(tries)
        for attempt in tries:
            del attempt["lease_token"]
    for row in (*personal.deliveries, *personal.bindings):
        row["click"] = row["click"] and described_click(load_click(row["click"]))
        row["touches"] = [described_click(load_click(one)) for one in row["touches"] or ()]
    kept = ("deliveries", "clicks", "bindings", "click_tokens")
    output.dump({name: getattr(personal, name) for name in kept})


def _personal_records(services: Services) -> PersonalRecords:
    storage = services.storage
    return PersonalRecords(storage, services.bindings, services.outbox)


def _nothing(services: Services) -> str:
    shut = services.outbox.keyring.count()[1]
    return "Nothing is kept about this customer." + (
        " But nothing opens a key of the database (`flask s2s check`), so an e-mail address finds"
        " nobody: look by the customer key."
        if shut
        else ""
    )


def _print(counts: dict[str, int], *, err: bool = False) -> None:
    for name, words in _WORDS.items():
        click.echo(f"{counts[name]:>6}  {words}", err=err)
