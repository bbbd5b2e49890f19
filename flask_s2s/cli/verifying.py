"""`verify`: ask the network, now, whether it has what was delivered."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

import click

from ..checkup.credentials import API_KEYS
from ..delivery.probation import Chosen
from ..delivery.verdict import Confirmed, LookAgain, Missing, SendAgain, Unmoved, Unproven
from ..delivery.verification import Looked
from ..networks.reading import Unknown
from ..services import Services
from . import output
from .arguments import utf8
from .context import as_json, prepared

_WORDS = {
    Confirmed: "confirmed",
    LookAgain: "not yet",
    Unmoved: "not yet",
    SendAgain: "sent again",
    Missing: "missing",
    Unproven: "unproven",
}
_FINE = ("confirmed", "not yet")
#: Every result there is, as JSON has it.
_RESULTS = tuple(dict.fromkeys((*_WORDS.values(), "unknown", "test record")))


@click.command()
@click.option(
    "--customer", type=utf8, metavar="KEY", help="This customer's sign-up, whatever its state."
)
@click.option("--all", "every", is_flag=True, help="All that are not confirmed, missing ones too.")
@as_json
@prepared
def verify(services: Services, customer: str | None, every: bool, as_json: bool) -> None:
    """Read delivered sign-ups back from the network, now.

    Without options: those that a worker would read back by itself. A sign-up that is not on record
    counts as absent only 15 minutes after its delivery. Exits with 1 when one is missing, was sent
    again, is a test record, or could not be asked for.
    """
    verifier, chosen = services.verifier(), Chosen(customer=customer, all=every)
    if not verifier.able:
        raise click.ClickException(f"There are no API keys to read with: set {API_KEYS}.")
    looked = _with_progress(verifier.look(chosen), verifier.count(chosen))
    if not looked and customer is not None:
        raise click.ClickException(
            f"No delivered sign-up of customer {customer}: flask s2s explain {customer}"
        )
    if any(isinstance(one.verdict, SendAgain) for one in looked):
        services.wake()
    counts = Counter(_word(one) for one in looked)
    if as_json:
        told = {_snake(word): counts[word] for word in _RESULTS}
        output.dump({"asked": len(looked), **told, "signups": [_described(o) for o in looked]})
    else:
        _print(looked, counts)
    click.get_current_context().exit(0 if all(word in _FINE for word in counts) else 1)


def _with_progress(looking: Iterable[Looked], count: int) -> list[Looked]:
    if not sys.stderr.isatty():
        return list(looking)
    with click.progressbar(looking, length=count, label="Asking", file=sys.stderr) as bar:
        return list(bar)


def _word(looked: Looked) -> str:
    verdict = looked.verdict
    if isinstance(verdict, Confirmed) and verdict.test:
        return "test record"
    if isinstance(looked.reading, Unknown) and not isinstance(verdict, Unproven):
        return "unknown"
    return _WORDS[type(verdict)]


def _print(looked: list[Looked], counts: Counter[str]) -> None:
    if not looked:
        click.echo("Nothing to verify.")
        return
    told = [one for one in looked if _word(one) != "confirmed"]
    if told:
        rows = [
            (str(d.id), _word(one), d.customer_key or "-", one.verdict.detail)
            for one in told
            for d in (one.delivery,)
        ]
        output.table(("id", "result", "customer", "what the network said"), rows)
        if any(isinstance(one.reading, Unknown) and one.reading.refused for one in told):
            click.echo(f"Correct {API_KEYS}.")
        click.echo()
    summed = ", ".join(f"{number} {word}" for word, number in counts.most_common())
    click.echo(f"{len(looked)} asked for: {summed}.")


def _described(looked: Looked) -> dict[str, Any]:
    delivery = looked.delivery
    return {
        "id": delivery.id,
        "customer_key": delivery.customer_key,
        "result": _snake(_word(looked)),
        "detail": looked.verdict.detail,
        "resent": delivery.resent,
    }


def _snake(word: str) -> str:
    return word.replace(" ", "_")
