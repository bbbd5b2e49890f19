"""Server-to-server conversion tracking for Flask: from a partner's click to a credited customer.

The names below are the public API. They are resolved when they are first used, so that importing
this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .click import Click as Click
    from .config.settings import Settings as Settings
    from .conversion import Action as Action
    from .conversion import Reversal as Reversal
    from .conversion import Signup as Signup
    from .conversion import Transaction as Transaction
    from .errors import ConfigError as ConfigError
    from .errors import InvalidConversion as InvalidConversion
    from .errors import S2SError as S2SError
    from .errors import StorageError as StorageError
    from .errors import UsageError as UsageError
    from .extension import S2S as S2S
    from .middleware import S2SMiddleware as S2SMiddleware
    from .rules.delivery import Delivery as Delivery
    from .rules.delivery import Late as Late
    from .rules.delivery import NotStored as NotStored
    from .rules.states import Status as Status
    from .services import Services as Services
    from .signals import signup_completed as signup_completed
    from .store.schema import define_tables as define_tables

_HOMES = {
    "Action": "conversion",
    "Click": "click",
    "ConfigError": "errors",
    "Delivery": "rules.delivery",
    "InvalidConversion": "errors",
    "Late": "rules.delivery",
    "NotStored": "rules.delivery",
    "Reversal": "conversion",
    "S2S": "extension",
    "S2SError": "errors",
    "S2SMiddleware": "middleware",
    "Services": "services",
    "Settings": "config.settings",
    "Signup": "conversion",
    "Status": "rules.states",
    "StorageError": "errors",
    "Transaction": "conversion",
    "UsageError": "errors",
    "define_tables": "store.schema",
    "signup_completed": "signals",
}

__version__ = "0.1.0"
__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
