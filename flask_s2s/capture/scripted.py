"""The click that PartnerStack's own script has kept in its cookies, for sites that ran it before.

They are nobody's signed record: any page of the site can have written them, and they do not say
when the visitor landed. So they are read like the parameters of a landing URL, what is not
acceptable is dropped, and they count where nothing better is found.
"""

from __future__ import annotations

from datetime import datetime

from ..click import Click, valid_click_id, valid_partner_key
from .cookie import read_cookies

_CLICK_IDS = ("ps_xid", "gsxid")
#: The key is decoded here already, unlike in the URL.
_PARTNER_KEYS = ("ps_partner_key", "growSumoPartnerKey")


def read_script_cookies(header: str, now: datetime) -> Click | None:
    """Read the click in a Cookie header; `now` stands for the landing's time, which is not known."""
    if "xid=" not in header:
        return None
    click_id = next(filter(valid_click_id, _values(header, _CLICK_IDS)), None)
    if click_id is None:
        return None
    key = next(filter(valid_partner_key, _values(header, _PARTNER_KEYS)), None)
    return Click(click_id=click_id, partner_key=key, at=now)


def _values(header: str, names: tuple[str, ...]) -> list[str]:
    return [value for name in names for value in read_cookies(header, name)]
