"""What a visitor does with a browser, whichever it is."""

from __future__ import annotations

from typing import Protocol


class Browser(Protocol):
    """A browser with a profile of its own, which outlives its process."""

    @property
    def url(self) -> str:
        """What the address bar shows."""

    def start(self) -> None:
        """Start it with its profile."""

    def stop(self) -> None:
        """Quit it as its user does: what it clears on exit, it clears."""

    def type(self, url: str) -> None:
        """Type an address, and wait until the page and all in it are there."""

    def follow(self, label: str) -> None:
        """Click the first link that says `label`."""

    def send(self, **fields: str) -> None:
        """Fill the page's form, each field by its id, and press its button."""

    def forget(self) -> None:
        """Delete all cookies, so that what comes next is another visitor's."""
