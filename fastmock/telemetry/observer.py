"""Follow responses to their end, for the request log, the metrics and the journal."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from fastmock.app import Answer, App, Handler
from fastmock.core.http import Relay, Request, Stream


class Follower:
    """Follows one response that takes time. Times are nanoseconds since the request came in."""

    def sent(self, begin: int, end: int, size: int, at: int, is_last: bool) -> None:
        """Note steps of a stream, from ``begin`` up to ``end``, before their bytes are sent.

        Args:
            begin: the number of the first step.
            end: the number after the last step.
            size: their bytes.
            at: the time.
            is_last: whether nothing follows.
        """

    def ended(self, size: int, at: int, is_whole: bool) -> None:
        """Note the end of the response: all ``size`` bytes were sent, or the client disconnected before."""


class Observer(ABC):
    """Is called for every response.

    Attributes:
        health: whether to include responses of ``/health``.
    """

    health = False

    @abstractmethod
    def answered(self, request: Request, answer: Answer, spent: int, is_instant: bool) -> Follower | None:
        """Note a response before it is sent.

        Args:
            request: the request; the runtime may release it afterwards.
            answer: the response.
            spent: nanoseconds since the request came in.
            is_instant: whether the response is sent at once; any other one is reported to the returned follower.
        """


def observe(app: App, observers: Sequence[Observer]) -> App:
    """Return an App that calls observers for every response."""
    healthy = [observer for observer in observers if observer.health]
    return app.wrapped(lambda handler: _observed(handler, observers), lambda handler: _observed(handler, healthy))


def _observed(handler: Handler, observers: Sequence[Observer]) -> Handler:
    """Return a handler that calls observers for every response."""
    if not observers:
        return handler
    clock = time.monotonic_ns
    notes = [observer.answered for observer in observers]

    def observed(request: Request) -> Answer:
        began = clock()
        answer = handler(request)
        is_instant = answer.due_times is None
        if not is_instant and isinstance(answer, Relay):  # it was handled before, when its upstream was asked
            began = answer.began
        spent = clock() - began
        if is_instant:
            for note in notes:
                note(request, answer, spent, True)
            return answer
        found = [note(request, answer, spent, False) for note in notes]
        followers = [follower for follower in found if follower is not None]
        if isinstance(answer, Stream):
            tracker = _StreamTracker(answer, followers, began)
            answer.cut, answer.due_times = tracker.cut, tracker.track(answer.due_times)
        elif answer.due_times is not None:  # always true here, since it is not instant
            answer.due_times = _tracked(answer.due_times, answer.size, followers, began)
        return answer

    return observed


def _tracked(due_times: Iterator[float], size: int, followers: Sequence[Follower], began: int) -> Iterator[float]:
    """Yield the due times of a non-streaming response; note its end when it is due, or when the client disconnects."""
    is_whole = False
    try:
        yield from due_times
        is_whole = True
    finally:
        at = time.monotonic_ns() - began
        for follower in followers:
            follower.ended(size if is_whole else 0, at, is_whole)


class _StreamTracker:
    """Watches a stream until it is released: it ended, or the client disconnected."""

    def __init__(self, stream: Stream, followers: Sequence[Follower], began: int) -> None:
        self._cut = stream.cut
        self._followers = followers
        self._began = began
        self._size = 0
        self._is_exhausted = False

    def track(self, due_times: Iterator[float]) -> Iterator[float]:
        """Yield the due times of the steps; after the last one, one part is left to send."""
        yield from due_times
        self._is_exhausted = True

    def cut(self, begin: int, end: int) -> bytes:
        """Return the bytes of some steps, and note them."""
        data = self._cut(begin, end)
        self._size += len(data)
        at = time.monotonic_ns() - self._began
        for follower in self._followers:
            follower.sent(begin, end, len(data), at, self._is_exhausted)
        return data

    def __del__(self) -> None:
        at = time.monotonic_ns() - self._began
        for follower in self._followers:
            follower.ended(self._size, at, self._is_exhausted)
