"""The request queue: a limited number of requests is answered at a time; the timing of the others starts on
admission.
"""

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from fastmock.core.http import Reply, Stream, Wait

_LOOK = 0.002  # seconds between polls of the queue, for the next request in line
_SELDOM = 0.1  # seconds between polls at most, for requests far back in the queue


class Ticket(Protocol):
    """A place in the queue; see ``shared.queue.Ticket``."""

    ended: float | None

    def before(self) -> int:
        """Return the number of requests ahead in the queue; negative once this one is admitted."""

    def start(self) -> float:
        """Return the time of admission."""


def wait(answer: Reply | Stream, ticket: Ticket, most: int, clock: Callable[[], float] = time.monotonic) -> None:
    """Delay an answer until its ticket is admitted; ``most`` requests are answered at a time."""
    begin = clock()
    due_times = answer.due_times
    assert due_times is not None  # noqa: S101 - answers that take no time are not queued
    looks = 0

    def queued() -> Iterator[float]:
        nonlocal looks
        look = 0.0
        while (before := ticket.before()) >= 0:
            # Later than the last poll, even where several are planned ahead.
            look = max(look, clock() - begin) + min(_SELDOM, _LOOK * (1 + before // most))
            looks += 1
            yield Wait(look)
        waited = max(0.0, ticket.start() - begin)
        due = 0.0
        for due in due_times:
            yield due + waited
        ticket.ended = begin + due + waited

    answer.due_times = queued()
    if isinstance(answer, Stream):
        cut = answer.cut

        def later(first: int, end: int) -> bytes:
            """Skip the polls, which are steps that send nothing."""
            return cut(max(0, first - looks), end - looks) if end > looks else b""

        answer.cut = later
