"""Capabilities: abilities that only some runtimes have; a feature names those it needs, a runtime those it has."""

from enum import Enum, auto
from typing import NamedTuple


class Capability(Enum):
    """An ability of a runtime."""

    CLOSE = auto()
    """Close a connection in the middle of a response."""
    CLOSE_IDLE = auto()
    """Close a connection some time after a response."""
    HANG = auto()
    """Hold any number of requests that are never answered, or of streams that never continue."""
    FORWARD = auto()
    """Forward requests to an upstream, and relay the answers as they arrive."""
    HTTP2 = auto()
    """Speak HTTP/2."""
    RESET = auto()
    """Reset a connection (TCP RST)."""
    SHORT_BODY = auto()
    """Send a ``content-length`` larger than the body."""
    TLS = auto()
    """Serve TLS."""


class Runtime(NamedTuple):
    """A runtime, as far as features know it.

    Attributes:
        name: the name of the runtime.
        capabilities: its abilities.
        advice: how to get a runtime with the missing capabilities.
    """

    name: str
    capabilities: frozenset[Capability]
    advice: str = ""

    def lacks(self, capability: Capability | None) -> bool:
        """Return whether a capability is needed that the runtime does not have."""
        return capability is not None and capability not in self.capabilities

    def refusal(self, feature: str) -> str:
        """Return the reason to reject a feature that needs a missing capability."""
        return f"{self.name.capitalize()} does not support {feature}; {self.advice}"
