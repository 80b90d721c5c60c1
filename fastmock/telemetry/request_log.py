"""The request log: one line per request, buffered so that no request waits."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import orjson
from typing_extensions import override

from fastmock.app import Answer
from fastmock.core.http import Request, Stream, model_of
from fastmock.core.text import printable
from fastmock.telemetry.observer import Follower, Observer

_BUFFER = 65_536  # lines that a worker buffers while writing is blocked; further ones are dropped and counted
_PAUSE = 0.1  # seconds between writes
_WHOLE = 4096  # bytes that a pipe takes at once, so that lines of several workers do not mix


class Line(NamedTuple):
    """One request. ``milliseconds`` is the time until the response is sent, for a stream until its last frame."""

    time: float
    request_id: str
    method: str
    path: str
    model: str
    status: int
    bytes: int
    milliseconds: float
    rule: str
    fault: str
    check: str = ""


def as_text(line: Line) -> bytes:
    """Format a line as text; empty values are omitted."""
    at = datetime.fromtimestamp(line.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    tail = "".join(
        f" {name}={printable(value)}" for name in ("model", "rule", "fault", "check") if (value := getattr(line, name))
    )
    return (
        f"{at} {line.request_id} {printable(line.method)} {printable(line.path)} {line.status} {line.bytes} B "
        f"{line.milliseconds:.3f} ms{tail}\n"
    ).encode()


def as_json(line: Line) -> bytes:
    """Format a line as a JSON object; ``time`` is Unix time in seconds."""
    return orjson.dumps(line._asdict(), option=orjson.OPT_APPEND_NEWLINE)


class _Follower(Follower):
    """Writes the line of a response when it has ended."""

    def __init__(self, log: "RequestLog", line: Line) -> None:
        self._log = log
        self._line = line

    @override
    def ended(self, size: int, at: int, is_whole: bool) -> None:
        self._log.add(self._line, size, at)


class RequestLog(Observer):
    """The request log of one worker: ``start`` starts writing in a thread, ``close`` writes the remaining lines."""

    health = True

    def __init__(self, form: Callable[[Line], bytes], descriptor: int) -> None:
        """``form`` formats a line; ``descriptor`` is the file descriptor to write to."""
        self._form = form
        self._descriptor = descriptor
        self._lines: deque[Line] = deque()
        self._lost = 0
        self._writing = threading.Lock()

    def start(self) -> None:
        """Start writing; call it in the worker, after the fork."""
        threading.Thread(target=self._run, name="request log", daemon=True).start()

    def close(self) -> None:
        """Write the remaining lines; call it when no request is in flight."""
        self._write()

    @override
    def answered(self, request: Request, answer: Answer, spent: int, is_instant: bool) -> Follower | None:
        line = Line(
            0.0,
            answer.request_id,
            request.method,
            request.path,
            model_of(answer),
            answer.head.status,
            0,
            0.0,
            answer.rule,
            answer.fault,
            answer.check,
        )
        if not is_instant or isinstance(answer, Stream):
            return _Follower(self, line)
        self.add(line, answer.size, spent)
        return None

    def add(self, line: Line, size: int, spent: int) -> None:
        """Add the line of a response of ``size`` bytes that ended after ``spent`` nanoseconds."""
        if len(self._lines) >= _BUFFER:
            self._lost += 1
            return
        self._lines.append(line._replace(time=time.time(), bytes=size, milliseconds=spent / 1e6))

    def _run(self) -> None:
        while True:
            time.sleep(_PAUSE)
            self._write()

    def _write(self) -> None:
        """Write the buffered lines, a few complete ones at a time."""
        with self._writing:
            while self._lines or self._lost:
                lost, self._lost = self._lost, 0
                # Lines were dropped because they came faster than they could be written.
                batch = b'{"lost": %d}\n' % lost if lost else b""
                while self._lines:
                    text = self._form(self._lines[0])
                    if batch and len(batch) + len(text) > _WHOLE:
                        break
                    self._lines.popleft()
                    batch += text
                try:
                    view = memoryview(batch)
                    while view:
                        view = view[os.write(self._descriptor, view) :]
                except BlockingIOError:
                    time.sleep(_PAUSE)
                except OSError:  # the reader is gone
                    self._lines.clear()
                    return
