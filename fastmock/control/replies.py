"""Responses of the control API: at once, or as soon as their result is there."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from fastmock.core.errors import ApiError
from fastmock.core.headers import HeaderFactory
from fastmock.core.http import Reply
from fastmock.core.ids import unique

HEADS = HeaderFactory((), "x-request-id")

_LOOK = 0.0005  # seconds between polls of a pending result

_LOG = logging.getLogger("fastmock")


def reply(body: Any, status: int = 200) -> Reply:
    """Return a response with a JSON body."""
    made = Reply(HEADS.get(status), f"req_{unique()}", orjson.dumps(body))
    made.control = True
    return made


def text_reply(text: str, content_type: str) -> Reply:
    """Return a response with a text."""
    made = Reply(HEADS.get(200, content_type), f"req_{unique()}", text.encode())
    made.control = True
    return made


def later(look: Callable[[], tuple[int, Any] | None]) -> Reply:
    """Return a response that is sent as soon as ``look`` returns its status and its body."""
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
        made.head, made.body = HEADS.get(found[0]), orjson.dumps(found[1])

    made.due_times = due_times()
    return made
