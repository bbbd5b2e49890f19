"""PartnerStack: its clicks, its conversions, and its records. No I/O."""

from .conversions import PartnerStack as NETWORK

__all__ = ["NETWORK"]
