"""Select the runtime for a configuration."""

from collections.abc import Mapping
from types import MappingProxyType, ModuleType

from fastmock.app import App
from fastmock.core.capabilities import Runtime
from fastmock.core.network import is_loopback
from fastmock.server.runtimes import granian, robyn

RUNTIMES: Mapping[str, Runtime] = MappingProxyType({one.name: one for one in (robyn.RUNTIME, granian.RUNTIME)})
"""The runtimes, by their names in ``server.runtime``."""


def choose(app: App) -> tuple[ModuleType, str, str]:
    """Return the runtime's module, its name, and the reason to show to the user.

    ``auto`` selects Granian, which can do everything and is at least as fast; see benchmarks/report.md.
    """
    server = app.config.settings.server
    if server.runtime == "auto":
        return granian, "granian", "auto"
    if server.runtime == "granian":
        return granian, "granian", "as configured"
    if not is_loopback(server.host, names=True):
        return robyn, "robyn", f"as configured; other machines can reach it, and {_ROBYN_LACKS}"
    if app.takes_time:
        return robyn, "robyn", f"as configured; up to {robyn.MOST_STREAMS} paced streams per worker, more have to wait"
    if app.manager:
        return robyn, "robyn", "as configured; a blocking response manager holds up its worker"
    return robyn, "robyn", "as configured"


_ROBYN_LACKS = "a malformed chunk ends a worker, WebSocket upgrades are never answered, connections are unlimited"
