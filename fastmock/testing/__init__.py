"""Helpers for test suites: a server in a process of its own, clients with a session of their own, a pytest plugin.

``Server`` starts a server, and ``Client`` scripts and verifies it::

    with Server() as server, Client(server.url) as mock:
        mock.on("hello").reply("Hi")
        ...
        mock.verify("hello", count=1)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastmock.testing.client import Client, On, RecordedRequest
    from fastmock.testing.control import ControlError
    from fastmock.testing.server import Server, StartError

__all__ = ["Client", "ControlError", "On", "RecordedRequest", "Server", "StartError"]

_MODULES = {
    **dict.fromkeys(("Client", "On", "RecordedRequest"), "client"),
    "ControlError": "control",
    **dict.fromkeys(("Server", "StartError"), "server"),
}


def __getattr__(name: str) -> Any:
    """Import a name when it is used: pytest loads the plugin in every run, which must take no time."""
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
