"""Overload: so many answers at a time; the others wait their turn, and their time begins when it comes."""

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from fastmock.core.http import Reply, Stream, Wait

_LOOK = 0.002  # seconds between looks at whether it is one's turn, for whoever is next
_SELDOM = 0.1  # seconds, at most, for whoever has many before him


class Ticket(Protocol):
    """A place in the queue; see ``state.gate.Ticket``."""

    ended: float | None

    def before(self) -> int:
        """Return how many are to be admitted before; below 0 where this is."""

    def start(self) -> float:
        """Return when it was admitted."""


def wait(answer: Reply | Stream, ticket: Ticket, most: int, clock: Callable[[], float] = time.monotonic) -> None:
    """Have an answer wait for its turn; ``most`` are answered at a time."""
    begin = clock()
    due_times = answer.due_times
    assert due_times is not None  # noqa: S101 - who takes no time does not wait
    looks = 0

    def queued() -> Iterator[float]:
        nonlocal looks
        look = 0.0
        while (before := ticket.before()) >= 0:
            # The next look is later than the last also where several are planned ahead.
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
            """Leave out the looks, which are steps that send nothing."""
            return cut(max(0, first - looks), end - looks) if end > looks else b""

        answer.cut = later
