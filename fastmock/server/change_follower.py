"""What a server does with the changes of all servers on a store: it makes them in their order, and says so."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from fastmock.replication.log import UNREADABLE, ChangeLog, LoggedChange, Position, Standing
from fastmock.server.confirmations import Answer
from fastmock.server.member import UNKNOWN, state_in
from fastmock.server.worker import WorkerContext
from fastmock.shared.store_state import EPOCH, VERSION

_RETRY = 0.5  # seconds until a change is tried again
_TRIES = 3  # attempts to make a change
_MISSING = 5.0  # seconds to wait for a server that has the changes which the store has lost

_LOG = logging.getLogger("fastmock")


class OutOfStepError(Exception):
    """This server and the log have to be compared anew."""


class ChangeFollower:
    """Follows the log of changes; all methods raise the errors of the client."""

    def __init__(
        self, live: WorkerContext, log: ChangeLog, server: str, await_all: Callable[[str, Answer], None]
    ) -> None:
        """Take the parts.

        Args:
            live: the worker's context.
            log: the log.
            server: identifies this server among those on the store.
            await_all: has a function called once all servers have confirmed what an id stands for.
        """
        self._live, self._log, self._server, self._await = live, log, server, await_all
        self._was_at = -1  # the version at the last check, if the store had later ones
        # Whether something else may be in force than the log leads to: a change has failed on this server, or the
        # process before this one has ended between a change and its note.
        self._is_unsure = True
        self._missing_since = math.inf  # since when the store lacks changes that it has counted

    def catch_up(self) -> bool:
        """Apply the changes that this server has missed; give a store that has lost its data those of this server.

        Returns whether it has all; otherwise another server has to write a snapshot first.
        """
        numbers = self._live.numbers
        if self._log.offer(self._position, self._live.overlay.snapshot()) and numbers[EPOCH]:
            _LOG.warning("the store had lost its state: it has that of this server again")
        log = self._log.position()
        begin, snapshot, changes = self._log.load()
        if begin.epoch == log.epoch and (begin.epoch != numbers[EPOCH] or begin.version > numbers[VERSION]):
            self._restore(snapshot)
            numbers[EPOCH], numbers[VERSION] = begin
        for change in changes:
            if change.epoch == numbers[EPOCH] and change.version == numbers[VERSION] + 1:
                self._make(change)
        log = self._log.position()
        if numbers[EPOCH] == log.epoch and numbers[VERSION] >= log.version:
            self._missing_since = math.inf
            if self._is_unsure:
                self._settle()
            return True
        self._missing_since = min(self._missing_since, time.monotonic())
        if time.monotonic() > self._missing_since + _MISSING:
            _LOG.warning("the store has lost changes that no server has: this one goes on without them")
            (numbers[EPOCH], numbers[VERSION]), self._missing_since = log, math.inf
            self._log.keep_snapshot(log, self._live.overlay.snapshot(), now=True)
        return False

    def make_next(self, change: LoggedChange) -> None:
        """Make the change that follows on the last one.

        Raises:
            OutOfStepError: it does not: those between are no longer in the log.
        """
        if (change.epoch, change.version) != (self._position.epoch, self._position.version + 1):
            raise OutOfStepError
        self._make(change)

    def check(self, standing: Standing) -> None:
        """Compare what the store knows with what this server has applied.

        Raises:
            OutOfStepError: the store has lost its data, or has changes that do not arrive or could not be made here.
        """
        mine, log = self._position, standing.position
        is_behind = log.version > mine.version
        is_stuck = is_behind and self._was_at == mine.version
        if log.epoch != mine.epoch or log.version < mine.version or is_stuck or self._is_unsure:
            raise OutOfStepError
        self._was_at = mine.version if is_behind else -1
        if not is_behind and not standing.is_whole:
            self._log.keep_snapshot(mine, self._live.overlay.snapshot(), now=True)

    def _make(self, change: LoggedChange) -> None:
        """Apply a change, and confirm it; the server that was asked for it answers once all have."""
        if change.how == UNREADABLE:
            self._live.numbers[VERSION] = change.version
            return
        status, body = _apply(self._live, change.how, change.arguments)
        self._live.numbers[VERSION] = change.version
        if status >= 500 or (status != 200 and self._is_unsure):  # it failed here alone; ``_settle`` makes it later
            self._is_unsure = True
            status, body = UNKNOWN
        else:
            self._log.confirm(change.id, self._server)
            if status != 200:
                self._log.refuse(change.version)
        if not self._is_unsure:
            self._log.keep_snapshot(self._position, self._live.overlay.snapshot())
        if change.origin == self._server:

            def answer(followed: Mapping[str, Any]) -> None:
                self._log.answer(change.id, status, {**body, **(followed if status == 200 else {})})

            self._await(change.id, answer)

    def _settle(self) -> None:
        """Put in force what the log leads to, if something else is."""
        position, overlay = state_in(self._log)
        if position == self._position:
            self._is_unsure = False
            self._restore(overlay.snapshot())

    def _restore(self, snapshot: Any) -> None:
        """Put a snapshot in force, unless it is."""
        if snapshot != self._live.overlay.snapshot() and _apply(self._live, "restoring", [snapshot])[0] != 200:
            self._is_unsure = True

    @property
    def _position(self) -> Position:
        return Position(self._live.numbers[EPOCH], self._live.numbers[VERSION])


def _apply(live: WorkerContext, how: str, arguments: Any) -> tuple[int, dict[str, Any]]:
    """Apply a change to this server; wait until it is active. Try again while the server is too busy for it."""
    tries = 0
    while True:
        change = live.change_here(how, *arguments)
        while (result := change.result()) is None:
            time.sleep(0.0005)
        tries += 1
        if result[0] < 500 or tries == _TRIES:
            return result
        time.sleep(_RETRY)
