"""The part of the control API that shows and verifies recorded requests."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import orjson

from fastmock.app import App
from fastmock.control.replies import Change, after, apart, later, reply
from fastmock.control.verify import Verification, expectation
from fastmock.core import errors
from fastmock.core.errors import ApiError
from fastmock.core.http import Reply, Request, query_value
from fastmock.telemetry.journal import Filter, Journal, truth, whole_number
from fastmock.telemetry.report import report_on
from fastmock.telemetry.report_formats import FORMATS

_LOOK = 0.001  # seconds


class Recording(Protocol):
    """The server.

    Attributes:
        stopping: whether it is stopping.
    """

    stopping: bool

    def flush(self) -> Change | None:
        """Have the journal get the requests of all servers on the store; None without one."""

    def clear(self, wanted: Sequence[str], sessions: Sequence[str]) -> Change | None:
        """Clear the journal of some sessions; None if it is done."""


class Recorded:
    """Handlers for recorded requests, verification and the report."""

    def __init__(self, server: Recording, app: App, journal: Journal, session_of: Callable[[Request], str]) -> None:
        """Serve the journal of ``app``; ``session_of`` returns the session of a client."""
        self._server = server
        self._app = app
        self._journal = journal
        self._session_of = session_of

    def requests(self, request: Request) -> Reply:
        """List recorded requests, newest first."""
        session = self._session_of(request)
        wanted = Filter(request.query, session)
        flush = self._server.flush()
        if flush is None:
            return reply(self._listed(wanted, session))

        def look() -> tuple[int, Any] | None:
            found = flush.result()
            return None if found is None else (200, {**self._listed(wanted, session), **_servers(found)})

        return later(look)

    def _listed(self, wanted: Filter, session: str) -> dict[str, Any]:
        """Return the recorded requests that a filter takes."""
        found: list[dict[str, Any]] = []
        for record in self._journal.latest(wanted.since):
            if len(found) >= wanted.limit:
                break
            if wanted.takes(record.head):
                shown = record.shown()
                if wanted.explain and record.missed:
                    shown |= record.nearest(self._app)
                found.append(shown)
        enabled = self._app.config.settings.journal.enabled
        return {"requests": found, "journal": {"enabled": enabled, **self._journal.state(session)}}

    def clear(self, request: Request) -> Reply:
        """Delete recorded requests."""
        session = self._session_of(request)
        clearing = self._server.clear(("journal",), [session] if session else [])
        return after(clearing, lambda more: {"journal": self._journal.state(session), **more})

    def verify(self, request: Request) -> Reply:
        """Respond with 200 if enough recorded requests match; otherwise with 406 and the nearest one."""
        wanted = expectation(json_of(request), self._app.kinds)
        if not self._app.config.settings.journal.enabled:
            raise ApiError(409, "The journal is off: set 'journal.enabled', or PUT it to /fastmock/config.")
        verification = Verification(self._journal, wanted, self._session_of(request))
        until = time.monotonic() + wanted.wait_ms / 1000
        flush = self._server.flush()

        def look() -> tuple[int, Any] | None:
            flushed = (200, {}) if flush is None else flush.result()
            if flushed is None:
                return None
            verified = verification.look(self._app)
            if verified is None or (not verified and time.monotonic() < until and not self._server.stopping):
                return None
            report = {**verification.report(self._app, verified), **_servers(flushed)}
            return 200 if verified else 406, report

        return later(look)

    def report(self, request: Request) -> Reply:
        """Report the uses of rules and the requests that no rule matched, in the format that the query names.

        ``since`` is the number of the first request in the journal to report on; ``final`` says that the clients are
        done, so that a retry that is missing will not come.
        """
        name = query_value(request.query, "format") or "json"
        form = FORMATS.get(name)
        if form is None:
            known = ", ".join(FORMATS)
            raise ApiError(400, f"Invalid 'format': expected one of {known}, but got '{name}'.", "format")
        since = whole_number("since", query_value(request.query, "since") or "0")
        is_final = truth("final", query_value(request.query, "final") or "false")
        session = self._session_of(request)

        flush = self._server.flush()

        def write() -> str:
            while flush is not None and flush.result() is None and not self._server.stopping:
                time.sleep(_LOOK)
            return form.write(report_on(self._app, self._journal, session, since, is_final))

        return apart(write, form.content_type)


def _servers(flushed: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    """Return which servers have written what they have recorded, as a part of a response."""
    status, body = flushed
    return body if status == 200 else {"servers": {"unreachable": body["error"]["message"]}}


def json_of(request: Request) -> Any:
    """Return the parsed body of a request; raise InvalidJson."""
    try:
        return orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise errors.InvalidJson() from None
