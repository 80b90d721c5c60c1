"""Clear the journal and the counters of all requests, or of some sessions."""

from collections.abc import Collection, Sequence

from fastmock.app import App
from fastmock.telemetry.journal import Journal


def clear(app: App, journal: Journal, wanted: Collection[str], sessions: Sequence[str]) -> None:
    """Clear what is wanted, ``journal`` or ``counters``, of some sessions; if none is named, of all."""
    if "journal" in wanted:
        journal.clear(*sessions)
    if "counters" in wanted and not sessions:
        app.share.reset()
    elif "counters" in wanted:
        for session in sessions:
            app.faults.forget(session)
        for responder in app.responders:
            responder.forget(sessions)
        for rules in app.plain_rules:
            rules.forget(sessions)
