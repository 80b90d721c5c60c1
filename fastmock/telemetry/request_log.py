"""The request log: a line a request, from a buffer that never makes a request wait."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from fastmock.app import Answer
from fastmock.core.http import Request, Stream, model_of
from fastmock.telemetry.observer import Follower, Observer

_BUFFER = 65_536  # lines a worker keeps while they cannot be written; what comes then is counted and lost
_PAUSE = 0.1  # seconds between looks at the buffer
_WHOLE = 4096  # bytes that a pipe takes in one piece, so that the lines of several workers stay whole


class Line(NamedTuple):
    """One request. ``milliseconds`` runs until the answer is sent, of a stream until its last frame is."""

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
    """Write a line for people; what is empty is left out."""
    at = datetime.fromtimestamp(line.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    tail = "".join(
        f" {name}={_plain(value)}" for name in ("model", "rule", "fault", "check") if (value := getattr(line, name))
    )
    return (
        f"{at} {line.request_id} {_plain(line.method)} {_plain(line.path)} {line.status} {line.bytes} B "
        f"{line.milliseconds:.3f} ms{tail}\n"
    ).encode()


def as_json(line: Line) -> bytes:
    """Write a line as a JSON object; ``time`` is Unix time in seconds."""
    return orjson.dumps(line._asdict(), option=orjson.OPT_APPEND_NEWLINE)


def _plain(text: str) -> str:
    """Return ``text`` with what would break or fake a line escaped."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


class _Follower(Follower):
    """Writes the line of an answer when it has ended."""

    def __init__(self, log: "RequestLog", line: Line) -> None:
        self._log = log
        self._line = line

    def ended(self, size: int, at: int, is_whole: bool) -> None:
        """See Follower."""
        self._log.add(self._line, size, at)


class RequestLog(Observer):
    """The log of one worker: ``start`` begins to write, in a thread, and ``close`` writes the rest."""

    health = True

    def __init__(self, form: Callable[[Line], bytes], descriptor: int) -> None:
        """``form`` makes bytes of a line, ``descriptor`` is where they go."""
        self._form = form
        self._descriptor = descriptor
        self._lines: deque[Line] = deque()
        self._lost = 0
        self._writing = threading.Lock()

    def start(self) -> None:
        """Begin to write; call it in the worker, not before the fork."""
        threading.Thread(target=self._run, name="request log", daemon=True).start()

    def close(self) -> None:
        """Write what is left; call it when nothing is in flight any more."""
        self._write()

    def answered(self, request: Request, answer: Answer, spent: int, is_instant: bool) -> Follower | None:
        """See Observer."""
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
        """Add the line of an answer of ``size`` bytes that has ended after ``spent`` nanoseconds."""
        if len(self._lines) >= _BUFFER:
            self._lost += 1
            return
        self._lines.append(line._replace(time=time.time(), bytes=size, milliseconds=spent / 1e6))

    def _run(self) -> None:
        while True:
            time.sleep(_PAUSE)
            self._write()

    def _write(self) -> None:
        """Write what is in the buffer, a few whole lines at a time."""
        with self._writing:
            while self._lines or self._lost:
                lost, self._lost = self._lost, 0
                # They came faster than they could be written.
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
                except OSError:  # nobody reads it any more
                    self._lines.clear()
                    return
