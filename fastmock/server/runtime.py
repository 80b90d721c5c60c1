"""Which runtime serves a configuration, and why."""

from types import ModuleType

from fastmock.app import App
from fastmock.server import granian, robyn


def choose(app: App) -> tuple[ModuleType, str, str]:
    """Return the runtime's module, its name, and the reason to tell the user.

    ``auto`` takes Granian where anything takes time, for it paces streams by the thousand; else Robyn, for its rate.
    """
    server = app.config.settings.server
    wanted = server.runtime
    if wanted == "granian":
        return granian, "granian", "as asked for"
    if wanted == "auto":
        if server.tls_cert or server.http2:
            return granian, "granian", f"auto: {'TLS' if server.tls_cert else 'HTTP/2'} needs it"
        if server.control_headers:
            return granian, "granian", "auto: a request may ask for an answer that takes time"
        if app.faults.needs_granian:
            return granian, "granian", f"auto: the fault {app.faults.needs_granian[0]!r} needs it"
        if app.takes_time:
            return granian, "granian", "auto: answers take time"
        if app.manager:
            return granian, "granian", "auto: a response manager may block"
    if wanted == "auto":
        return robyn, "robyn", "auto: nothing in the configuration takes time"
    if app.takes_time:
        return robyn, "robyn", f"as asked for; up to {robyn.MOST_STREAMS} paced streams a worker, more of them wait"
    if app.manager:
        return robyn, "robyn", "as asked for; a response manager that blocks holds up its worker"
    return robyn, "robyn", "as asked for"
