"""One app's stores, as one value: its database, and all that works on the tables in it.

Connects to nothing: the database is found at first use, because extensions are initialised in any
order.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from .. import threads
from ..clock import Clock
from ..config.settings import Settings
from ..errors import S2SError
from ..rules.retry import longest_pause
from .audit import Audit, Blocks
from .background import Background
from .bindings import Bindings
from .clicks import Touches
from .database.clock import Times, times_of
from .database.storage import Storage
from .losses import Losses
from .outbox.outbox import Outbox
from .privacy.erasing import Erasing, Withdrawals
from .privacy.keyring import Keyring


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """The stores of one app. Make them with `stores_of`."""

    storage: Storage
    times: Times
    #: Writes that a page waits for a moment for.
    background: Background
    keyring: Keyring
    outbox: Outbox
    bindings: Bindings
    blocks: Blocks
    #: What operators did.
    audit: Audit
    #: What was lost, by reason.
    losses: Losses
    touches: Touches
    withdrawals: Withdrawals


def stores_of(
    settings: Settings,
    *,
    folder: str | os.PathLike[str],
    host: Callable[[], Engine | None] | None,
    clock: Clock | None,
    tell: Callable[..., None],
) -> Stores:
    """Return them. `host` gives the app's own engine, where it may have one; `tell` sends a signal."""
    storage = Storage(
        uri=settings.database_uri,
        options=settings.database_options,
        host=host or (lambda: None),
        folder=Path(folder).absolute(),
        schema=settings.schema,
        testing=settings.is_testing,
    )
    if settings.database_uri is not None or host is None:
        storage.tell_of_unusable_folder()
    times = times_of(storage, clock)
    wait = settings.record_wait.total_seconds()
    background = Background(
        wait=wait,
        inline=lambda: _is_inline(settings, storage),
        longest_pause=longest_pause(settings.lease),
    )
    losses = Losses(storage, times.clock, background.later, tell)
    keyring = Keyring(storage, settings.secret_keys)
    touches = Touches(
        storage,
        background,
        losses,
        rate=settings.click_rate,
        day=settings.click_day,
        refresh=times.refresh,
    )
    storage.at_fork = touches.close
    return Stores(
        storage=storage,
        times=times,
        background=background,
        keyring=keyring,
        outbox=Outbox(storage, keyring),
        bindings=Bindings(storage, settings, keyring),
        blocks=Blocks(storage),
        audit=Audit(storage, keyring),
        losses=losses,
        touches=touches,
        withdrawals=Withdrawals(storage, Erasing(storage.tables), times.clock, background),
    )


def _is_inline(settings: Settings, storage: Storage) -> bool:
    """Whether a report is written in the caller's thread: no other could, or should, do it."""
    if settings.testing or threads.are_suspended():
        return True
    try:
        return storage.in_memory
    except (S2SError, SQLAlchemyError, OSError):
        return False  # whoever writes is told
