"""The App in force in one worker, and how a new one comes into force on all workers at once.

In two phases: the parent sends a configuration that it has validated, and every worker prepares an App from it; when
all have, the parent flips the generation number in the shared block. A request compares that number, so every request
that starts after the flip is answered by the new App, on connections that were open before too.
"""

import logging
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, cast

from fastmock.app import App, build
from fastmock.control.admin import Control
from fastmock.control.journal import Journal
from fastmock.control.request_log import RequestLog, as_json, as_text
from fastmock.state.block import GENERATION
from fastmock.state.tape import Tape

_LOG = logging.getLogger("fastmock")


@contextmanager
def _signals_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Shared(NamedTuple):
    """What all workers of a server share.

    Attributes:
        numbers: the shared block.
        tape: where the journal is kept.
        directory: the run directory, which is made when it is needed.
        parent: the parent's process.
        api_port: where the API is, where that is not where the control API is.
        configuration: the descriptor of the file in which the parent hands a configuration on. Through a connection it
            would wait for a worker that does not read.
    """

    numbers: "memoryview[int]"
    tape: Tape
    directory: Path
    parent: int
    api_port: int | None
    configuration: int


class Place(NamedTuple):
    """What one worker has to itself.

    Attributes:
        number: its own, from 0.
        control: by which the parent sends configurations, and ``changes`` by which it is asked for changes.
        answers, controls: whether it answers requests for the API, and those for the control API.
    """

    number: int
    control: Connection
    changes: Connection
    answers: bool
    controls: bool


_LONG = 32_768  # bytes; what is shorter fits into a connection that nobody reads
ASKED = signal.SIGUSR1
"""What tells the parent that it is asked for a change."""


_Told = dict[int, tuple[int, dict[str, Any]] | None]
"""What the parent has said of each change that somebody waits for."""


class _Change:
    """See ``admin.Change``."""

    def __init__(self, number: int, told: "_Told") -> None:
        self._number = number
        self._told = told
        told[number] = None

    def result(self) -> tuple[int, dict[str, Any]] | None:
        """See ``admin.Change``."""
        return self._told[self._number]

    def __del__(self) -> None:
        self._told.pop(self._number, None)


class Live:
    """What a runtime serves from. Whoever answers a request looks first whether it is still the one in force:

    ``if live.numbers[GENERATION] != live.generation: live.obey()``

    Attributes:
        app: the App in force.
        generation: its number.
        numbers: the shared block.
        stopping: whether the worker is told to stop.
        api_port: see Shared.
        generated_token: see ``admin.Server``; set before the first request.
    """

    generated_token: str | None = None

    def __init__(self, app: App, shared: Shared, place: Place) -> None:
        """Begin in a worker, just forked, with what the parent had in force then."""
        self.app = app
        self.numbers = shared.numbers
        self.stopping = False
        self.api_port = shared.api_port
        self._shared = shared
        self._place = place
        self._ids = count()
        self._told: _Told = {}
        self.generation = self.numbers[GENERATION]
        self._prepared: dict[int, App] = {}
        settings = app.config.settings.server
        named = app.config.settings.responses.manager is not None
        self._manager = None if named else app.manager  # one that was given as an object has no name to be made anew by
        self._log: RequestLog | None = None
        if settings.log_requests and sys.stdout is not None:  # it is None where the shell closed it
            self._log = RequestLog(as_json if settings.log_format == "json" else as_text, sys.stdout.fileno())
        self._join(app)
        with _signals_blocked():  # signals are for the runtime's own threads
            threading.Thread(target=self._listen, name="control", daemon=True).start()
            if self._log:
                self._log.start()

    def obey(self) -> None:
        """Take the App that the parent has put in force."""
        generation = self.numbers[GENERATION]
        self.app = self._prepared[generation]
        self.generation = generation

    def current(self) -> App:
        """Return the App in force, for who is not called by a request."""
        if self.numbers[GENERATION] != self.generation:
            self.obey()
        return self.app

    def change(self, how: str, *arguments: Any) -> _Change:
        """See ``admin.Server``."""
        change = _Change(number := next(self._ids), self._told)
        asked = pickle.dumps((number, how, arguments))
        if len(asked) > _LONG:  # the parent has to read while it is sent
            self._ring()
        self._place.changes.send_bytes(asked)
        self._ring()
        return change

    def _ring(self) -> None:
        """Have the parent look at what it is asked for."""
        if os.getppid() == self._shared.parent:
            os.kill(self._shared.parent, ASKED)

    def _join(self, app: App) -> None:
        """Have an App work with the other workers, and put around it what watches it."""
        app.share.join(self.numbers, self._place.number)
        app.store.join(self._shared.directory)
        settings = app.config.settings
        journal = Journal(self._shared.tape)
        metrics = None
        if settings.metrics.any:
            from fastmock.control.metrics import Metrics

            metrics = Metrics(app)
        if not self._place.answers:
            app.silence()
        elif metrics:
            metrics.watch()
        if self._log:
            self._log.watch(app)
        if settings.journal.enabled and self._place.answers:
            journal.watch(app)
        if metrics:
            metrics.serve()
        if self._place.controls:
            Control(self, app, journal).attach()

    def stop(self) -> None:
        """Have all end that would go on for ever."""
        self.stopping = True

    def close(self) -> None:
        """Say what is left to be said; the worker ends."""
        if self._log:
            self._log.close()

    def _listen(self) -> None:
        """Prepare what the parent sends, and acknowledge it: the number, and what went wrong or nothing.

        Take what it says of changes that it was asked for, too.
        """
        control, changes = self._place.control, self._place.changes
        while True:
            try:
                ready = cast(list[Connection], wait([control, changes]))
                if changes in ready:
                    number, result = changes.recv()
                    if number in self._told:
                        self._told[number] = result
                if control not in ready:
                    continue
                generation, length = control.recv()
            except (EOFError, OSError):  # the parent is gone
                return
            fault = ""
            try:
                app = build(pickle.loads(os.pread(self._shared.configuration, length, 0)), self._manager)  # noqa: S301
                self._join(app)
                # What is in force stays, for there may not have been a request since it came into force.
                now = self.numbers[GENERATION]
                kept = {now: self._prepared[now]} if now in self._prepared else {}
                self._prepared = kept | {generation: app}
            except Exception as error:
                _LOG.exception("a worker cannot prepare the new configuration")
                fault = str(error) or type(error).__name__
            control.send((generation, fault))
