"""The partners of the stand-in programme, and how their keys travel in a URL."""

import base64
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """Somebody who links to the advertiser."""

    #: In the link's path: letters, digits, dashes.
    slug: str
    name: str
    #: Twelve hex digits, or letters and digits from the name: both shapes occur in the field.
    key: str

    @property
    def encoded_key(self) -> str:
        """The key as `ps_partner_key` carries it today: base64 without its padding."""
        return base64.b64encode(self.key.encode()).decode().rstrip("=")


#: Their keys need no, two and one characters of padding, so that all three cases occur.
PARTNERS = {
    partner.slug: partner
    for partner in (
        Partner(slug="ada", name="Ada Byron Media", key="ada0c1f7e5b2"),
        Partner(slug="grace", name="Grace Reviews", key="graceh2965"),
        Partner(slug="linus", name="Linus Weekly", key="linusw49143"),
    )
}
