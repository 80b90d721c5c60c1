"""Which runtime serves a configuration, and why."""

from collections.abc import Mapping
from types import MappingProxyType, ModuleType

from fastmock.app import App
from fastmock.control.access import is_loopback
from fastmock.core.capabilities import Runtime
from fastmock.server.runtimes import granian, robyn

RUNTIMES: Mapping[str, Runtime] = MappingProxyType({one.name: one for one in (robyn.RUNTIME, granian.RUNTIME)})
"""The runtimes, by their names in ``server.runtime``."""


def choose(app: App) -> tuple[ModuleType, str, str]:
    """Return the runtime's module, its name, and the reason to tell the user.

    ``auto`` takes Granian where other machines can reach the server, since clients can end a worker of Robyn, and where
    anything takes time, for it paces streams by the thousand; else Robyn, for its rate.
    """
    server = app.config.settings.server
    wanted = server.runtime
    exposed = not is_loopback(server.host, names=True)
    if wanted == "granian":
        return granian, "granian", "as asked for"
    if wanted == "auto":
        reason = _reason_for_granian(app, exposed)
        if reason is None:
            return robyn, "robyn", "auto: nothing in the configuration takes time"
        return granian, "granian", f"auto: {reason}"
    if exposed:
        return robyn, "robyn", f"as asked for; other machines can reach it, and {_ROBYN_LACKS}"
    if app.takes_time:
        return robyn, "robyn", f"as asked for; up to {robyn.MOST_STREAMS} paced streams a worker, more of them wait"
    if app.manager:
        return robyn, "robyn", "as asked for; a response manager that blocks holds up its worker"
    return robyn, "robyn", "as asked for"


_ROBYN_LACKS = "a malformed chunk ends a worker, WebSocket upgrades are never answered, nothing bounds connections"


def _reason_for_granian(app: App, exposed: bool) -> str | None:
    """Return why a configuration takes Granian; None where it need not."""
    server = app.config.settings.server
    faults = (name for capability, name in app.faults.needs.items() if robyn.RUNTIME.lacks(capability))
    fault = next(faults, None)
    reasons = {
        "TLS needs it": bool(server.tls_cert),
        "HTTP/2 needs it": server.http2,
        f"other machines can reach it; with Robyn {_ROBYN_LACKS}": exposed,
        "a request may ask for an answer that takes time": server.control_headers,
        f"the fault {fault!r} needs it": fault is not None,
        "answers take time": app.takes_time,
        "a response manager may block": app.manager is not None,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
