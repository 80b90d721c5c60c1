"""The active App of one worker, and the activation of a new one on all workers at once.

It has two phases: the parent sends the step that leads to a new configuration, and every worker prepares an App from
it; once all have, the parent changes the generation number in the shared block. A request compares that number, so
every request that starts after the change is answered by the new App, also on connections that were open before.
"""

import logging
import os
import pickle
import select
import sys
import threading
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastmock.app import App
from fastmock.config.overlay import NotThereError, Overlay
from fastmock.config.settings import Settings
from fastmock.control.api import Control
from fastmock.control.clearing import clear
from fastmock.control.replies import Change
from fastmock.core.bounds import BoundsError, check_bounds
from fastmock.core.problems import ConfigError
from fastmock.engine.recorded_routes import recorded_counter
from fastmock.replication.connection import connect
from fastmock.server import signals
from fastmock.server.channel import Channel, ChannelClosedError
from fastmock.server.heartbeat import Heartbeat
from fastmock.server.reload import Compiler, Prepare, State, Step, refusal
from fastmock.server.replica import with_replica_name
from fastmock.shared.block import GENERATION
from fastmock.shared.ring_buffer import RingBuffer
from fastmock.shared.store_state import StoreState
from fastmock.telemetry.journal import Journal
from fastmock.telemetry.observer import Observer, observe
from fastmock.telemetry.request_log import RequestLog, as_json, as_text

if TYPE_CHECKING:
    from fastmock.cassettes.forward import Forwarder
    from fastmock.server.member import Member, StoreCalls

_LOG = logging.getLogger("fastmock")


class Shared(NamedTuple):
    """Resources shared by all workers of a server.

    Attributes:
        numbers: the shared block.
        ring_buffer: the ring buffer of the journal.
        directory: the run directory; None if there is none.
        api_port: the port of the LLM API, if the control API has a port of its own.
        compiler: compiles changes of the configuration.
        member: this server among those that share a store; None without one.
    """

    numbers: "memoryview[int]"
    ring_buffer: RingBuffer
    directory: Path | None
    api_port: int | None
    compiler: Compiler
    member: "Member | None" = None


class Place(NamedTuple):
    """Resources of one worker.

    Attributes:
        number: its number, from 0.
        channel: the channel to the parent, for steps to prepare, requested changes and the responses to them.
        heartbeat: its heartbeat.
        answers, controls: whether it serves the LLM API, and the control API.
    """

    number: int
    channel: Channel
    heartbeat: Heartbeat
    answers: bool
    controls: bool


class Prepared(NamedTuple):
    """To the parent: a generation is prepared, with the warnings of its App, or the reason for the failure."""

    number: int
    fault: str
    warnings: tuple[str, ...] = ()


class ChangeRequest(NamedTuple):
    """To the parent: apply a change; see ``reload.Change``."""

    number: int
    how: str
    arguments: tuple[Any, ...]


class Answered(NamedTuple):
    """From the parent: the response to a change."""

    number: int
    status: int
    body: dict[str, Any]


_Responses = dict[int, tuple[int, dict[str, Any]] | None]
"""The parent's response to each pending change; None until it arrives."""


class _Change:
    """A pending change: implements ``control.replies.Change``."""

    def __init__(self, number: int, responses: "_Responses") -> None:
        self._number = number
        self._responses = responses
        responses[number] = None

    def result(self) -> tuple[int, dict[str, Any]] | None:
        """Return the status and the body of the response; None while they are pending."""
        return self._responses[self._number]

    def __del__(self) -> None:
        self._responses.pop(self._number, None)


class WorkerContext:
    """The state from which a runtime serves. Each request first checks whether its App is still the active one:

    ``if live.numbers[GENERATION] != live.generation: live.obey()``

    Attributes:
        app: the active App.
        generation: its number.
        numbers: the shared block.
        heartbeat: the worker's heartbeat, which watches the threads that answer requests.
        stopping: whether the worker is stopping.
        api_port: see Shared.
        forwarder: forwards requests to upstreams; None if none are recorded.
        journal: the journal.
        store_state: the state of the store that several servers share.
        generated_token: see ``api.Server``; set before the first request.
    """

    generated_token: str | None = None

    def __init__(self, state: State, generation: int, shared: Shared, place: Place) -> None:
        """Start in a newly forked worker, with the parent's active state."""
        if state.app is None:
            state = state._replace(app=shared.compiler.compile(state.config, None, warns=False))
        assert state.app is not None  # noqa: S101 - see above
        app = state.app
        self.numbers = shared.numbers
        self.heartbeat = place.heartbeat
        self.stopping = False
        self.api_port = shared.api_port
        self._shared = shared
        self._place = place
        self._ids = count()
        self._responses: _Responses = {}
        self.generation = generation
        self._prepared = threading.Condition()
        settings = app.config.settings.server
        self._log: RequestLog | None = None
        if settings.log_requests and sys.stdout is not None:  # None if the shell closed it
            self._log = RequestLog(as_json if settings.log_format == "json" else as_text, sys.stdout.fileno())
        self.app = self._join(app)
        if app.share.alone and shared.member is None:
            shared.ring_buffer.used_by_one_process()
        self.store_state = StoreState(app.share)
        self._calls = self._store_calls(app.config.settings)
        self._states = {generation: state._replace(app=self.app)}
        with signals.blocked():  # signals are for the runtime's own threads
            threading.Thread(target=self._listen, name="control", daemon=True).start()
            if self._log:
                self._log.start()
            self.forwarder = self._start_forwarder(app)
        self.heartbeat.start()

    def _store_calls(self, settings: Settings) -> "StoreCalls | None":
        """Return what asks all servers on the store; None without one."""
        member = self._shared.member
        if member is None:
            return None
        from fastmock.server.member import StoreCalls

        patience = settings.server.change_timeout + settings.store.max_lag / 1000
        return StoreCalls(connect(settings.store, self.store_state), member, self.app.share, patience)

    def _start_forwarder(self, app: App) -> "Forwarder | None":
        """Start the forwarder of requests to upstreams, if they are to be recorded."""
        settings = app.config.settings
        if settings.record.to is None:
            return None
        from fastmock.cassettes.forward import forwarder

        made = forwarder(
            settings.record, settings.cassettes, self._place.number, recorded_counter(app.responders[0].hits)
        )
        made.start()
        return made

    def obey(self) -> None:
        """Switch to the App that the parent has activated.

        A worker that did not respond while the others prepared it still has to prepare it: this waits for that.
        """
        with self._prepared:
            while (state := self._states.get(generation := self.numbers[GENERATION])) is None:
                self._prepared.wait()
        assert state.app is not None  # noqa: S101 - workers have one
        state.app.activate()
        self.app = state.app
        self.generation = generation

    def current(self) -> App:
        """Return the active App, for callers outside of a request."""
        if self.numbers[GENERATION] != self.generation:
            self.obey()
        return self.app

    @property
    def overlay(self) -> Overlay:
        """The active runtime changes."""
        self.current()
        return self._states[self.generation].overlay

    def change(self, how: str, *arguments: Any) -> Change:
        """Request a change, of all servers on the store if there is one; ``how`` is the name of a method of
        ``config.overlay.Overlay``.
        """
        return self.change_here(how, *arguments) if self._calls is None else self._calls.change(how, arguments)

    def flush(self) -> Change | None:
        """Have the journal get the requests of all servers on the store; None without one."""
        return None if self._calls is None else self._calls.flush()

    def clear(self, wanted: Sequence[str], sessions: Sequence[str]) -> Change | None:
        """Clear the journal or the counters, of all servers on the store; None if it is done."""
        if self._calls is not None:
            return self._calls.clear(wanted, sessions)
        clear(self.app, self.journal, wanted, sessions)
        return None

    def change_here(self, how: str, *arguments: Any) -> _Change:
        """Request a change from the parent, of this server alone."""
        change = _Change(number := next(self._ids), self._responses)
        try:
            for argument in arguments:
                check_bounds(argument)
        except BoundsError as error:
            self._responses[number] = refusal(400, f"It {error}.", "invalid_configuration")
        else:
            if not self._place.channel.send(pickle.dumps(ChangeRequest(number, how, arguments))):
                self._responses[number] = refusal(
                    503, "The server cannot accept a change now; try again.", "not_changed"
                )
        return change

    def _join(self, app: App) -> App:
        """Attach an App to the shared resources; return it with the layers of this worker around it."""
        app.share.join(self.numbers, self._place.number)
        app.store.join(self._shared.directory)
        app.progress.cells = self.heartbeat.cells
        settings, answers = app.config.settings, self._place.answers
        self.journal = journal = Journal(
            self._shared.ring_buffer, app.kind_of, app.config.watch, is_shared=self._shared.member is not None
        )
        metrics = None
        if settings.metrics.any:
            from fastmock.telemetry.metrics import Metrics

            metrics = Metrics(app)
        observers: Sequence[Observer | None] = (
            metrics if answers else None,
            self._log,
            journal if answers and settings.journal.enabled else None,
        )
        # From the inside out: the API, its observers, the metrics, the control API.
        served = app if answers else app.health_only()
        served = observe(served, [observer for observer in observers if observer is not None])
        served = metrics.served(served) if metrics else served
        served = with_replica_name(served, settings.server)
        return Control(self, app, journal).served(served) if self._place.controls else served

    def stop(self) -> None:
        """Stop everything that would run indefinitely."""
        self.stopping = True

    def close(self, deadline: float = 0.0) -> None:
        """Finish the recordings, until a deadline, and write the remaining request log; the worker ends."""
        if self.forwarder is not None:
            self.forwarder.finish(deadline)
        if self._log:
            self._log.close()

    def _listen(self) -> None:
        """Handle the parent's messages, until it is gone."""
        channel = self._place.channel
        poll = select.poll()  # supports descriptors of any number
        poll.register(channel.fileno(), select.POLLIN)
        while True:
            poll.poll()
            try:
                message = channel.receive()
            except ChannelClosedError:  # the kernel ends this process too
                return
            if message is not None:
                received: Prepare | Answered = pickle.loads(message)  # noqa: S301 - our own
                if isinstance(received, Prepare):
                    channel.send(pickle.dumps(self._prepare(received.step)))
                elif received.number in self._responses:
                    self._responses[received.number] = received.status, received.body

    def _prepare(self, step: Step) -> Prepared:
        """Prepare a step."""
        try:
            state = step.lead_from(self._states[step.base], self._shared.compiler)
            assert state.app is not None  # noqa: S101 - workers have one
            warnings = tuple(state.app.warnings)
            state = state._replace(app=self._join(state.app))
        except (ConfigError, NotThereError) as error:  # the parent finds the same, and refuses the change
            return Prepared(step.number, str(error))
        except Exception as error:
            _LOG.exception("a worker cannot prepare the new configuration")
            if self.numbers[GENERATION] >= step.number:  # already active: this worker cannot continue
                os._exit(1)
            return Prepared(step.number, str(error) or type(error).__name__)
        with self._prepared:
            # The active state is kept, because there may not have been a request since its activation.
            kept = (self.numbers[GENERATION], self.generation, step.base)
            self._states = {number: self._states[number] for number in kept if number in self._states}
            self._states[step.number] = state
            self._prepared.notify_all()
        return Prepared(step.number, "", warnings)
