"""The App in force in one worker, and how a new one comes into force on all workers at once.

In two phases: the parent sends the step that leads to a new configuration, and every worker prepares an App from it;
when all have, the parent changes the generation number in the shared block. A request compares that number, so every
request that starts after the change is answered by the new App, on connections that were open before too.
"""

import logging
import os
import pickle
import select
import sys
import threading
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from fastmock.app import App
from fastmock.control.api import Control
from fastmock.core.bounds import BoundsError, check_bounds
from fastmock.server import signals
from fastmock.server.channel import Channel, ChannelClosedError
from fastmock.server.heartbeat import Heartbeat
from fastmock.server.reload import Compiler, Prepare, State, Step, refusal
from fastmock.shared.block import GENERATION
from fastmock.shared.ring_buffer import RingBuffer
from fastmock.telemetry.journal import Journal
from fastmock.telemetry.observer import Observer, observe
from fastmock.telemetry.request_log import RequestLog, as_json, as_text

_LOG = logging.getLogger("fastmock")


class Shared(NamedTuple):
    """What all workers of a server share.

    Attributes:
        numbers: the shared block.
        tape: where the journal is kept.
        directory: the run directory; None where there is none.
        api_port: where the API is, where that is not where the control API is.
        compiler: compiles changes of the configuration.
    """

    numbers: "memoryview[int]"
    tape: RingBuffer
    directory: Path | None
    api_port: int | None
    compiler: Compiler


class Place(NamedTuple):
    """What one worker has to itself.

    Attributes:
        number: its own, from 0.
        channel: to the parent: steps to prepare and answers to changes come by it, changes are asked for by it.
        heartbeat: its heartbeat.
        answers, controls: whether it answers requests for the API, and those for the control API.
    """

    number: int
    channel: Channel
    heartbeat: Heartbeat
    answers: bool
    controls: bool


class Prepared(NamedTuple):
    """To the parent: a generation is prepared, or why it could not be."""

    number: int
    fault: str


class ChatRequest(NamedTuple):
    """To the parent: make a change; see ``reload.Change``."""

    number: int
    how: str
    arguments: tuple[Any, ...]


class Answered(NamedTuple):
    """From the parent: the answer to a change."""

    number: int
    status: int
    body: dict[str, Any]


_Told = dict[int, tuple[int, dict[str, Any]] | None]
"""What the parent has said of each change that somebody waits for."""


class _Change:
    """See ``api.Change``."""

    def __init__(self, number: int, told: "_Told") -> None:
        self._number = number
        self._told = told
        told[number] = None

    def result(self) -> tuple[int, dict[str, Any]] | None:
        """See ``api.Change``."""
        return self._told[self._number]

    def __del__(self) -> None:
        self._told.pop(self._number, None)


class WorkerContext:
    """What a runtime serves from. Whoever answers a request looks first whether it is still the one in force:

    ``if live.numbers[GENERATION] != live.generation: live.obey()``

    Attributes:
        app: the App in force.
        generation: its number.
        numbers: the shared block.
        heartbeat: the worker's heartbeat; a thread that answers requests has itself watched by it.
        stopping: whether the worker is told to stop.
        api_port: see Shared.
        generated_token: see ``api.Server``; set before the first request.
    """

    generated_token: str | None = None

    def __init__(self, state: State, generation: int, shared: Shared, place: Place) -> None:
        """Begin in a worker, just forked, with what the parent had in force then."""
        if state.app is None:
            state = state._replace(app=shared.compiler.compile(state.config, None, warns=False))
        assert state.app is not None  # noqa: S101 - see above
        self.app = app = state.app
        self.numbers = shared.numbers
        self.heartbeat = place.heartbeat
        self.stopping = False
        self.api_port = shared.api_port
        self._shared = shared
        self._place = place
        self._ids = count()
        self._told: _Told = {}
        self.generation = generation
        self._states = {generation: state}
        self._prepared = threading.Condition()
        settings = app.config.settings.server
        self._log: RequestLog | None = None
        if settings.log_requests and sys.stdout is not None:  # it is None where the shell closed it
            self._log = RequestLog(as_json if settings.log_format == "json" else as_text, sys.stdout.fileno())
        self._join(app)
        with signals.blocked():  # they are for the runtime's own threads
            threading.Thread(target=self._listen, name="control", daemon=True).start()
            if self._log:
                self._log.start()
        self.heartbeat.start()

    def obey(self) -> None:
        """Take the App that the parent has put in force.

        A worker that did not respond while the others prepared it still has to: that is waited for here.
        """
        with self._prepared:
            while (state := self._states.get(generation := self.numbers[GENERATION])) is None:
                self._prepared.wait()
        assert state.app is not None  # noqa: S101 - workers have one
        state.app.activate()
        self.app = state.app
        self.generation = generation

    def current(self) -> App:
        """Return the App in force, for who is not called by a request."""
        if self.numbers[GENERATION] != self.generation:
            self.obey()
        return self.app

    def change(self, how: str, *arguments: Any) -> _Change:
        """See ``api.Server``."""
        change = _Change(number := next(self._ids), self._told)
        try:
            for argument in arguments:
                check_bounds(argument)
        except BoundsError as error:
            self._told[number] = refusal(400, f"It {error}.", "invalid_configuration")
        else:
            if not self._place.channel.send(pickle.dumps(ChatRequest(number, how, arguments))):
                self._told[number] = refusal(503, "The server takes no change now; try again.", "not_changed")
        return change

    def _join(self, app: App) -> None:
        """Have an App work with the other workers, and put around it what watches it."""
        app.share.join(self.numbers, self._place.number)
        app.store.join(self._shared.directory)
        app.progress.cells = self.heartbeat.cells
        settings = app.config.settings
        journal = Journal(self._shared.tape, app.kind_of)
        observers: list[Observer] = []
        metrics = None
        if settings.metrics.any:
            from fastmock.telemetry.metrics import Metrics

            metrics = Metrics(app)
        if not self._place.answers:
            app.silence()
        elif metrics:
            observers.append(metrics)
        if self._log:
            observers.append(self._log)
        if settings.journal.enabled and self._place.answers:
            observers.append(journal)
        observe(app, observers)
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
        """Do what the parent asks for, until it is gone."""
        channel = self._place.channel
        poll = select.poll()  # which takes descriptors of any number
        poll.register(channel.fileno(), select.POLLIN)
        while True:
            poll.poll()
            try:
                message = channel.receive()
            except ChannelClosedError:  # the kernel ends this process too
                return
            if message is not None:
                told: Prepare | Answered = pickle.loads(message)  # noqa: S301 - our own
                if isinstance(told, Prepare):
                    channel.send(pickle.dumps(self._prepare(told.step)))
                elif told.number in self._told:
                    self._told[told.number] = told.status, told.body

    def _prepare(self, step: Step) -> Prepared:
        """Prepare a step."""
        try:
            state = step.lead_from(self._states[step.base], self._shared.compiler)
            assert state.app is not None  # noqa: S101 - workers have one
            self._join(state.app)
        except Exception as error:
            _LOG.exception("a worker cannot prepare the new configuration")
            if self.numbers[GENERATION] >= step.number:  # it is in force already: this worker cannot go on
                os._exit(1)
            return Prepared(step.number, str(error) or type(error).__name__)
        with self._prepared:
            # What is in force stays, for there may not have been a request since it came into force.
            kept = (self.numbers[GENERATION], self.generation, step.base)
            self._states = {number: self._states[number] for number in kept if number in self._states}
            self._states[step.number] = state
            self._prepared.notify_all()
        return Prepared(step.number, "")
