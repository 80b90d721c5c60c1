"""The request queue: a limited number of requests is answered at a time, over all workers; the others wait in order.

Each request that takes time has a ticket, a number that counts up. Tickets are admitted in order. A waiting request
polls one number; nothing has to be woken. A ticket is admitted at the exact time at which another was finished, however
late that is noticed, so polling rarely costs no time in the long run.
"""

import time
from collections import deque
from collections.abc import Sequence

from fastmock.shared.block import Share
from fastmock.shared.layout import ROW, SERVER
from fastmock.shared.lock import SharedLock

TICKETS = 1 << 16
_NEXT, _ADMITTED, _MOST, _GONE = (SERVER.reserve() for _ in range(4))  # _GONE: tickets abandoned while waiting
_OWNERS = SERVER.reserve(TICKETS)  # the owner of each of the latest tickets: the worker's number from 1
_STARTS = SERVER.reserve(TICKETS)  # their times of admission: nanoseconds of the monotonic clock
_HELD = ROW.reserve()  # the number of places held by the worker's answers
_GIVEN_UP = 0


class AdmissionQueue:
    """The queue, as seen by one worker."""

    _lock = SharedLock()

    def __init__(self, share: Share) -> None:
        self._share = share
        self._left: deque[tuple[int, int]] = deque()

    def enter(self, most: int, queue: int) -> "Ticket | None":
        """Return a ticket; None if ``queue`` others are already waiting for the ``most`` places."""
        numbers = self._share.numbers
        with self._lock:
            number = numbers[_NEXT]
            room = self.waiting() < queue or self._taken() < most
            if room := room and number - numbers[_ADMITTED] < TICKETS:
                numbers[_OWNERS + number % TICKETS] = self._share.worker + 1
                numbers[_MOST] = most
                numbers[_NEXT] = number + 1
                self._admit(time.monotonic_ns())
        self._give_back()
        return Ticket(self, number) if room else None

    def _places(self) -> Sequence[int]:
        """Return the indexes of the numbers of places that each worker holds, by the worker's number from 0."""
        rows = self._share.rows()
        return range(rows.start + _HELD, rows.stop, rows.step)

    def waiting(self) -> int:
        """Return the number of waiting requests, over all workers."""
        numbers = self._share.numbers
        return max(0, numbers[_NEXT] - numbers[_ADMITTED] - numbers[_GONE])

    def before(self, number: int) -> int:
        """Return the number of tickets ahead of a ticket; negative once it is admitted."""
        return number - self._share.numbers[_ADMITTED]

    def start(self, number: int) -> float:
        """Return the time of a ticket's admission, a reading of ``time.monotonic``."""
        return self._share.numbers[_STARTS + number % TICKETS] / 1e9

    def leave(self, number: int, ended: float | None) -> None:
        """Release a ticket: one finished at ``ended``, a reading of ``time.monotonic``, or one abandoned just now.

        This may be called at any point, as objects are deleted; if it cannot be done at once it is done soon.
        """
        now = time.monotonic_ns()
        self._left.append((number, now if ended is None else min(int(ended * 1e9), now)))
        self._give_back()

    def _give_back(self) -> None:
        """Release the tickets left so far, unless another thread, or this one, is already doing it."""
        numbers = self._share.numbers
        places = self._places()
        while self._left and self._lock.take():
            try:
                while self._left:
                    number, ended = self._left.popleft()
                    if number < numbers[_ADMITTED]:
                        place = places[self._share.worker]
                        numbers[place] = max(0, numbers[place] - 1)
                        self._admit(ended)
                    else:
                        numbers[_OWNERS + number % TICKETS] = _GIVEN_UP
                        numbers[_GONE] += 1
            finally:
                self._lock.release()

    def bury(self, worker: int) -> None:
        """Release the tickets of a dead worker, numbered from 0."""
        numbers = self._share.numbers
        with self._lock:
            for number in range(numbers[_ADMITTED], numbers[_NEXT]):
                if numbers[_OWNERS + number % TICKETS] == worker + 1:
                    numbers[_OWNERS + number % TICKETS] = _GIVEN_UP
                    numbers[_GONE] += 1
            numbers[self._places()[worker]] = 0
            self._admit(time.monotonic_ns())

    def _taken(self) -> int:
        """Return the number of places taken, over all workers."""
        numbers = self._share.numbers
        return sum(numbers[place] for place in self._places())

    def _admit(self, now: int) -> None:
        """Admit tickets as long as there are free places; with the lock held."""
        numbers, places = self._share.numbers, self._places()
        free = numbers[_MOST] - self._taken()
        while (number := numbers[_ADMITTED]) < numbers[_NEXT]:
            owner = numbers[_OWNERS + number % TICKETS]
            if owner == _GIVEN_UP:
                numbers[_ADMITTED] = number + 1
                numbers[_GONE] -= 1
                continue
            if free <= 0:
                return
            free -= 1
            numbers[_STARTS + number % TICKETS] = now
            numbers[_ADMITTED] = number + 1
            numbers[places[owner - 1]] += 1


class Ticket:
    """A place in the queue; it is released when the object is deleted.

    Attributes:
        ended: when the answer was finished, a reading of ``time.monotonic``; None if it was not.
    """

    def __init__(self, gate: AdmissionQueue, number: int) -> None:
        self._gate = gate
        self._number = number
        self.ended: float | None = None

    def before(self) -> int:
        """Return the number of tickets ahead of this one; negative once it is admitted."""
        return self._gate.before(self._number)

    def start(self) -> float:
        """Return the time of admission, a reading of ``time.monotonic``."""
        return self._gate.start(self._number)

    def __del__(self) -> None:
        self._gate.leave(self._number, self.ended)
