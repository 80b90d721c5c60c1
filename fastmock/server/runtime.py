"""Which runtime serves a configuration, and why."""

from types import ModuleType

from fastmock.app import App
from fastmock.server import granian, robyn


def choose(app: App) -> tuple[ModuleType, str, str]:
    """Return the runtime's module, its name, and the reason to tell the user.

    ``auto`` takes Granian where anything takes time, for it paces streams by the thousand; else Robyn, for its rate.
    """
    wanted = app.config.settings.server.runtime
    if wanted == "granian":
        return granian, "granian", "as asked for"
    if wanted == "auto" and (app.takes_time or app.manager):
        reason = "the configuration paces streams" if app.takes_time else "a response manager may block"
        return granian, "granian", f"auto: {reason}"
    if wanted == "auto":
        return robyn, "robyn", "auto: nothing in the configuration takes time"
    if app.takes_time:
        return robyn, "robyn", f"as asked for; up to {robyn.MOST_STREAMS} paced streams a worker, more of them wait"
    if app.manager:
        return robyn, "robyn", "as asked for; a response manager that blocks holds up its worker"
    return robyn, "robyn", "as asked for"
