"""The templates, in a Jinja environment of their own: the host's filters and overrides stay out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.ext import Extension

from ..operations.causes import CAUSES, why
from ..operations.story import standing
from ..operations.words import (
    CREDITED,
    GROUP_OF,
    LOSS_WORDS,
    OUTCOME_WORDS,
    REASON_WORDS,
    STATUS_WORDS,
    Group,
    kind_of,
    kind_word,
    reason_word,
)
from ..rules.attribution import sentence
from ..rules.states import ALARMING, Status
from . import formats

STATIC = Path(__file__).parent / "static"
#: Where a problem is looked into, by its code; others in the settings, with what `check` finds.
_LINKS = {
    **dict.fromkeys(ALARMING, ("failed", "Failed")),
    **dict.fromkeys(
        (
            *("lane_closed", "lane_paused", "lane_fails", "lane_unsteady", "lane_rests"),
            *("late", "nothing_drains", "lost"),
        ),
        ("delivery", "Lanes and workers"),
    ),
    **dict.fromkeys(("stuck", "expiring", "put_off", "review"), ("conversions", "Conversions")),
    **dict.fromkeys(("missing_few", "unknown_click_expired"), ("failed", "Failed")),
    "unknown_click": ("conversions", "Conversions"),
    "collector": ("fraud", "Fraud"),
}
#: A table that becomes cards on a phone loses its meaning to a screen reader unless it says it.
_ROLES = (
    ("<table ", '<table role="table" '),
    ("<table>", '<table role="table">'),
    ("<thead>", '<thead role="rowgroup">'),
    ("<tbody>", '<tbody role="rowgroup">'),
    ("<tfoot>", '<tfoot role="rowgroup">'),
    ("<tr>", '<tr role="row">'),
    ('<th scope="col"', '<th role="columnheader" scope="col"'),
    ('<th scope="row"', '<th role="rowheader" scope="row"'),
    ("<td ", '<td role="cell" '),
    ("<td>", '<td role="cell">'),
)


class TableRoles(Extension):
    """Writes the roles of tables into the templates' sources, once, when they are compiled."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Return the source with its roles."""
        for plain, with_role in _ROLES:
            source = source.replace(plain, with_role)
        return source


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the environment that all dashboards of a process share."""
    made = Environment(
        loader=PackageLoader("flask_s2s.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[TableRoles],
    )
    made.filters |= {
        "n": formats.number,
        "share": formats.share,
        "money": formats.money,
        "day": formats.day,
        "span": formats.span,
        "plain": formats.plain,
        "said": formats.said,
        "shell": formats.shell,
        "commands": formats.commands,
        "command": formats.command,
    }
    made.globals |= {
        "Group": Group,
        "groups": list(Group),
        "credited_groups": CREDITED,
        "group_of": GROUP_OF,
        "Status": Status,
        "status_words": STATUS_WORDS,
        "kind_word": kind_word,
        "kind_of": kind_of,
        "reason_word": reason_word,
        "reason_words": REASON_WORDS,
        "loss_words": LOSS_WORDS,
        "outcome_words": OUTCOME_WORDS,
        "sentence": sentence,
        "standing": standing,
        "why": why,
        "causes_of": CAUSES,
        "clock": formats.clock,
        "verdict_links": _LINKS,
        "nice_top": formats.nice_top,
    }
    return made


@cache
def fingerprint(name: str) -> str:
    """Return a hash of a static file, for its address: a new release is never an old file."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def render(template: str, url: Callable[..., str], **context: Any) -> str:
    """Render a page; `url` makes the addresses of the dashboard."""
    return environment().get_template(template).render(url=url, **context)
