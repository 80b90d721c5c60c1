"""Select the runtime for a configuration."""

from collections.abc import Mapping
from types import MappingProxyType, ModuleType

from fastmock.app import App
from fastmock.control.access import is_loopback
from fastmock.core.capabilities import Runtime
from fastmock.server.runtimes import granian, robyn

RUNTIMES: Mapping[str, Runtime] = MappingProxyType({one.name: one for one in (robyn.RUNTIME, granian.RUNTIME)})
"""The runtimes, by their names in ``server.runtime``."""


def choose(app: App) -> tuple[ModuleType, str, str]:
    """Return the runtime's module, its name, and the reason to show to the user.

    ``auto`` selects Granian if other machines can reach the server, since clients can end a Robyn worker, and if any
    response is delayed, because it paces thousands of streams; otherwise Robyn, for its throughput.
    """
    server = app.config.settings.server
    wanted = server.runtime
    exposed = not is_loopback(server.host, names=True)
    if wanted == "granian":
        return granian, "granian", "as configured"
    if wanted == "auto":
        reason = _reason_for_granian(app, exposed)
        if reason is None:
            return robyn, "robyn", "auto: no response is delayed"
        return granian, "granian", f"auto: {reason}"
    if exposed:
        return robyn, "robyn", f"as configured; other machines can reach it, and {_ROBYN_LACKS}"
    if app.takes_time:
        return robyn, "robyn", f"as configured; up to {robyn.MOST_STREAMS} paced streams per worker, more have to wait"
    if app.manager:
        return robyn, "robyn", "as configured; a blocking response manager holds up its worker"
    return robyn, "robyn", "as configured"


_ROBYN_LACKS = "a malformed chunk ends a worker, WebSocket upgrades are never answered, connections are unlimited"


def _reason_for_granian(app: App, exposed: bool) -> str | None:
    """Return the reason for which a configuration needs Granian; None without one."""
    server = app.config.settings.server
    faults = (name for capability, name in app.faults.needs.items() if robyn.RUNTIME.lacks(capability))
    fault = next(faults, None)
    reasons = {
        "TLS needs it": bool(server.tls_cert),
        "HTTP/2 needs it": server.http2,
        f"other machines can reach it; with Robyn {_ROBYN_LACKS}": exposed,
        "requests may set their latency": server.control_headers,
        f"the fault {fault!r} needs it": fault is not None,
        "responses are delayed": app.takes_time,
        "a response manager may block": app.manager is not None,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
