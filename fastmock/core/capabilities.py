"""Capabilities: the abilities of a runtime that not every runtime has, which a feature names and a runtime declares."""

from enum import Enum, auto
from typing import NamedTuple


class Capability(Enum):
    """An ability of a runtime."""

    CLOSE = auto()
    """Close a connection in the middle of a response."""
    CLOSE_IDLE = auto()
    """Close a connection some time after a response."""
    HANG = auto()
    """Hold any number of requests that are never answered, or streams that never continue."""
    HTTP2 = auto()
    """Speak HTTP/2."""
    RESET = auto()
    """Reset a connection (TCP RST)."""
    SHORT_BODY = auto()
    """State a longer ``content-length`` than the body has."""
    TLS = auto()
    """Serve TLS."""


class Runtime(NamedTuple):
    """A runtime, as far as features know it.

    Attributes:
        name: its name.
        capabilities: its abilities.
        advice: how to get a runtime that has those it lacks.
    """

    name: str
    capabilities: frozenset[Capability]
    advice: str = ""

    def lacks(self, capability: Capability | None) -> bool:
        """Return whether something is needed that it does not have."""
        return capability is not None and capability not in self.capabilities

    def refusal(self, feature: str) -> str:
        """Return why a feature that needs a missing capability is refused."""
        return f"{self.name.capitalize()} cannot do {feature}; {self.advice}"
