"""The App in force in one worker, and how a new one comes into force on all workers at once.

In two phases: the parent sends a configuration that it has validated, and every worker prepares an App from it; when
all have, the parent flips the generation number in the shared block. A request compares that number, so every request
that starts after the flip is answered by the new App, on connections that were open before too.
"""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from fastmock.app import App, build
from fastmock.control.request_log import RequestLog, as_json, as_text
from fastmock.state.block import GENERATION

_LOG = logging.getLogger("fastmock")


@contextmanager
def _signals_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Live:
    """What a runtime serves from. Whoever answers a request looks first whether it is still the one in force:

    ``if live.numbers[GENERATION] != live.generation: live.obey()``

    Attributes:
        app: the App in force.
        generation: its number.
        numbers: the shared block.
    """

    def __init__(self, app: App, numbers: "memoryview[int]", worker: int, directory: Path, control: Connection) -> None:
        """Begin in a worker, just forked and numbered from 0, with what the parent had in force then.

        ``directory`` is the server's run directory, which is made when it is needed.
        """
        self.app = app
        self.numbers = numbers
        self._worker = worker
        self._directory = directory
        app.share.join(numbers, worker)
        app.store.join(directory)
        self.generation = numbers[GENERATION]
        self._prepared: dict[int, App] = {}
        settings = app.config.settings.server
        named = app.config.settings.responses.manager is not None
        self._manager = None if named else app.manager  # one that was given as an object has no name to be made anew by
        self._log: RequestLog | None = None
        self._count(app)
        if settings.log_requests and sys.stdout is not None:  # it is None where the shell closed it
            self._log = RequestLog(as_json if settings.log_format == "json" else as_text, sys.stdout.fileno())
            self._log.watch(app)
        with _signals_blocked():  # signals are for the runtime's own threads
            threading.Thread(target=self._listen, args=(control,), name="control", daemon=True).start()
            if self._log:
                self._log.start()

    def obey(self) -> None:
        """Take the App that the parent has put in force."""
        generation = self.numbers[GENERATION]
        self.app = self._prepared[generation]
        self.generation = generation

    def _count(self, app: App) -> None:
        """Have the answers of an App counted for metrics, where that is wanted."""
        if app.config.settings.metrics.any:
            from fastmock.control.metrics import Metrics

            Metrics(app).watch()

    def close(self) -> None:
        """Say what is left to be said; the worker ends."""
        if self._log:
            self._log.close()

    def _listen(self, control: Connection) -> None:
        """Prepare what the parent sends, and acknowledge it: the number, and what went wrong or nothing."""
        while True:
            try:
                generation, config = control.recv()
            except (EOFError, OSError):  # the parent is gone
                return
            fault = ""
            try:
                app = build(config, self._manager)
                app.share.join(self.numbers, self._worker)
                app.store.join(self._directory)
                self._count(app)
                if self._log:
                    self._log.watch(app)
                # What is in force stays, for there may not have been a request since it came into force.
                now = self.numbers[GENERATION]
                kept = {now: self._prepared[now]} if now in self._prepared else {}
                self._prepared = kept | {generation: app}
            except Exception as error:
                _LOG.exception("a worker cannot prepare the new configuration")
                fault = str(error) or type(error).__name__
            control.send((generation, fault))
