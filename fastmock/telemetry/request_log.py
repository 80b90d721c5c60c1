"""The request log: a line a request, from a buffer that never makes a request wait."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import orjson

from fastmock.app import Answer, App, Handler
from fastmock.core.http import Reply, Request, model_of

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


_About = tuple[str, str, str, str, int, str, str, str]


def _about(request: Request, answer: Answer) -> _About:
    """Copy what is noted of a request, which the runtime may not keep, and of its answer."""
    return (
        answer.request_id,
        request.method,
        request.path,
        model_of(answer),
        answer.head.status,
        answer.rule,
        answer.fault,
        answer.check,
    )


class _Tally:
    """Counts the bytes of a stream, and notes them when nobody holds the stream any more: it ended, or was left."""

    def __init__(self, cut: Callable[[int, int], bytes], note: Callable[[int], None]) -> None:
        self._cut = cut
        self._note = note
        self._size = 0

    def cut(self, begin: int, end: int) -> bytes:
        """See ``Stream.cut``."""
        data = self._cut(begin, end)
        self._size += len(data)
        return data

    def __del__(self) -> None:
        self._note(self._size)


def _waited(due_times: Iterator[float], size: int, note: Callable[[int], None]) -> Iterator[float]:
    """Note a whole answer when its time has passed, or, as one of no bytes, when the client has hung up before."""
    sent = 0
    try:
        yield from due_times
        sent = size
    finally:
        note(sent)


class RequestLog:
    """The log of one worker.

    ``watch`` puts it around an App; ``start`` begins to write, in a thread, and ``close`` writes what is left.
    """

    def __init__(self, form: Callable[[Line], bytes], descriptor: int) -> None:
        """``form`` makes bytes of a line, ``descriptor`` is where they go."""
        self._form = form
        self._descriptor = descriptor
        self._lines: deque[Line] = deque()
        self._lost = 0
        self._writing = threading.Lock()

    def watch(self, app: App) -> None:
        """Have every answer of ``app`` noted."""
        app.watch(self._noted, health=True)

    def start(self) -> None:
        """Begin to write; call it in the worker, not before the fork."""
        threading.Thread(target=self._run, name="request log", daemon=True).start()

    def close(self) -> None:
        """Write what is left; call it when nothing is in flight any more."""
        self._write()

    def _noted(self, handler: Handler) -> Handler:
        def noted(request: Request) -> Answer:
            begin = time.perf_counter()
            answer = handler(request)
            note = partial(self._note, _about(request, answer), begin)
            if not isinstance(answer, Reply):
                answer.cut = _Tally(answer.cut, note).cut
            elif answer.due_times is None:
                note(answer.size)
            else:
                answer.due_times = _waited(answer.due_times, answer.size, note)
            return answer

        return noted

    def _note(self, about: "_About", begin: float, size: int) -> None:
        if len(self._lines) >= _BUFFER:
            self._lost += 1
            return
        request_id, method, path, model, status, rule, fault, check = about
        spent = (time.perf_counter() - begin) * 1000
        self._lines.append(Line(time.time(), request_id, method, path, model, status, size, spent, rule, fault, check))

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
