"""Follow every answer to its end, and tell the request log, the metrics and the journal of it."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from fastmock.app import Answer, App, Handler
from fastmock.core.http import Request, Stream


class Follower:
    """Follows one answer that takes time. Times are nanoseconds since the request came in."""

    def sent(self, begin: int, end: int, size: int, at: int, is_last: bool) -> None:
        """Note that steps of a stream were made, from ``begin`` up to ``end``, before their bytes are sent.

        Args:
            begin: the number of the first step.
            end: the number after the last.
            size: their bytes.
            at: the time.
            is_last: whether nothing follows.
        """

    def ended(self, size: int, at: int, is_whole: bool) -> None:
        """Note the end of the answer: all of its ``size`` bytes were sent, or its client has hung up before."""


class Observer(ABC):
    """Is told of every answer.

    Attributes:
        health: whether of those to ``/health`` too.
    """

    health = False

    @abstractmethod
    def answered(self, request: Request, answer: Answer, spent: int, is_instant: bool) -> Follower | None:
        """Note an answer before it is sent.

        Args:
            request: the request; the runtime may not keep it for longer.
            answer: the answer.
            spent: nanoseconds since the request came in.
            is_instant: whether it is sent at once; of any other answer the follower that is returned is told.
        """


def observe(app: App, observers: Sequence[Observer]) -> None:
    """Have observers told of every answer of an App."""
    healthy = [observer for observer in observers if observer.health]
    app.wrap(lambda handler: _observed(handler, observers), lambda handler: _observed(handler, healthy))


def _observed(handler: Handler, observers: Sequence[Observer]) -> Handler:
    """Return a handler whose answers observers are told of."""
    if not observers:
        return handler
    clock = time.monotonic_ns
    notes = [observer.answered for observer in observers]

    def observed(request: Request) -> Answer:
        began = clock()
        answer = handler(request)
        is_instant = answer.due_times is None
        spent = clock() - began
        if is_instant:
            for note in notes:
                note(request, answer, spent, True)
            return answer
        found = [note(request, answer, spent, False) for note in notes]
        followers = [follower for follower in found if follower is not None]
        if isinstance(answer, Stream):
            watch = _Watch(answer, followers, began)
            answer.cut, answer.due_times = watch.cut, watch.drawn(answer.due_times)
        elif answer.due_times is not None:  # it is not instant
            answer.due_times = _waited(answer.due_times, answer.size, followers, began)
        return answer

    return observed


def _waited(due_times: Iterator[float], size: int, followers: Sequence[Follower], began: int) -> Iterator[float]:
    """Pass on when a non-streaming answer is due; note its end when its time has passed, or its client hung up."""
    is_whole = False
    try:
        yield from due_times
        is_whole = True
    finally:
        at = time.monotonic_ns() - began
        for follower in followers:
            follower.ended(size if is_whole else 0, at, is_whole)


class _Watch:
    """Watches a stream until nobody holds it any more: it ended, or its client hung up."""

    def __init__(self, stream: Stream, followers: Sequence[Follower], began: int) -> None:
        self._cut = stream.cut
        self._followers = followers
        self._began = began
        self._size = 0
        self._is_drawn = False

    def drawn(self, due_times: Iterator[float]) -> Iterator[float]:
        """Pass on when steps are due; after the last due time one part is left to send."""
        yield from due_times
        self._is_drawn = True

    def cut(self, begin: int, end: int) -> bytes:
        """See ``Stream.cut``."""
        data = self._cut(begin, end)
        self._size += len(data)
        at = time.monotonic_ns() - self._began
        for follower in self._followers:
            follower.sent(begin, end, len(data), at, self._is_drawn)
        return data

    def __del__(self) -> None:
        at = time.monotonic_ns() - self._began
        for follower in self._followers:
            follower.ended(self._size, at, self._is_drawn)
