"""Responses of the control API: at once, or as soon as their result is there."""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import orjson

from fastmock.core.errors import ApiError
from fastmock.core.headers import JSON, HeaderFactory
from fastmock.core.http import Reply
from fastmock.core.ids import unique

HEADS = HeaderFactory((), "x-request-id")

_LOOK = 0.0005  # seconds between polls of a pending result

_LOG = logging.getLogger("fastmock")

_threads = ThreadPoolExecutor(1, "report")  # started on demand


class Change(Protocol):
    """A change requested from the parent process, or from all servers on a store."""

    def result(self) -> tuple[int, dict[str, Any]] | None:
        """Return the status and the body of the response; None while they are pending."""


def reply(body: Any, status: int = 200) -> Reply:
    """Return a response with a JSON body."""
    made = Reply(HEADS.get(status), f"req_{unique()}", orjson.dumps(body))
    made.control = True
    return made


def later(look: Callable[[], tuple[int, Any] | None], content_type: str = JSON) -> Reply:
    """Return a response that is sent as soon as ``look`` returns its status and its body, as JSON or in bytes."""
    made = reply(None)

    def due_times() -> Iterator[float]:
        begin, due = time.monotonic(), 0.0
        try:
            while (found := look()) is None:
                due = max(due, time.monotonic() - begin) + _LOOK
                yield due
        except Exception:
            _LOG.exception("a call of the control API failed; this is a defect of fastmock")
            made.head = HEADS.get(500)
            made.body = ApiError(500, "The call failed.", kind="server_error").body()
            return
        status, body = found
        made.head = HEADS.get(status, content_type)
        made.body = body if isinstance(body, bytes) else orjson.dumps(body)

    made.due_times = due_times()
    return made


def after(change: Change | None, make: Callable[[dict[str, Any]], dict[str, Any]]) -> Reply:
    """Return a response that is made once a change is done, at once without one; or that of a change that failed.

    ``make`` takes the body of the change's response, and returns that of the response.
    """
    if change is None:
        return reply(make({}))

    def look() -> tuple[int, Any] | None:
        result = change.result()
        return result if result is None or result[0] != 200 else (200, make(result[1]))

    return later(look)


def apart(compute: Callable[[], str], content_type: str) -> Reply:
    """Return a response whose text is computed in a thread of its own, so that other requests do not wait for it."""
    computed = _threads.submit(compute)
    return later(lambda: (200, computed.result().encode()) if computed.done() else None, content_type)
