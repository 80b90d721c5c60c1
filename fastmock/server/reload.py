"""Activate a new configuration on all workers at once, or on none.

A change is tried in another process first, unless it is certain to be compiled quickly, which saves half of the time.
Then every worker prepares an App from it, and once all have, the generation number in the shared block changes, which
every request compares. Workers repeat the change themselves: at 1,000 rules that takes 10 ms, compared with 80 ms for
transferring the whole configuration.
"""

import logging
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Protocol, get_args

from fastmock.app import App
from fastmock.build import build
from fastmock.config.config import Config
from fastmock.config.flags import changed_until_restart
from fastmock.config.overlay import NotThereError, Overlay, RuleSection
from fastmock.config.permitted import FILES, without_contents
from fastmock.config.settings import Settings
from fastmock.core.errors import ApiError
from fastmock.core.garbage import collection_paused
from fastmock.core.problems import ConfigError, Problem
from fastmock.engine.rule_set import unreachable_rules
from fastmock.responses import ResponseManager
from fastmock.server.channel import Channel
from fastmock.server.trial import TrialError, Trials

RELOAD = "reload"
"""The change that rereads all files; any other is named after its method of ``Overlay``."""

_LONG_TRIAL = 1.0  # seconds; a slower change is not repeated by the parent, which supervises nothing meanwhile
_MOST_COMPARED = 250_000  # pairs of rules that are compared to find unreachable ones, which takes 0.3 s
_QUICK = frozenset(
    ("adding", "replacing", "putting", "removing", "adding_faults", "removing_faults", "configuring_session")
)
_SLOW_KEYS = FILES | {"content_regex", "cassettes"}  # of rules and settings that a trial must compile
_MOST_RULES, _LARGEST = 5000, 65_536  # rules, and bytes of a change, up to which it needs no trial
_LOOK = 0.1  # seconds between checks whether the workers still respond

_LOG = logging.getLogger("fastmock")

Answer = tuple[int, dict[str, Any]]
"""The status and the body of the response to a change."""


class State(NamedTuple):
    """A configuration, its runtime changes, and the App compiled from it.

    The App is None in a parent that has left compiling to the workers.
    """

    config: Config
    overlay: Overlay
    app: App | None


class Compiler(Protocol):
    """Compiles configurations; raises ConfigError for an invalid one."""

    manager: ResponseManager | None
    """The response manager passed as an object; None if the configuration names it, or there is none."""

    def load(self, overlay: Overlay) -> App:
        """Read all files, and compile the configuration with the changes of an overlay."""

    def relaid(self, overlay: Overlay, config: Config) -> Config:
        """Return a configuration that was loaded before, with another overlay."""

    def refused(self, new: Config, old: Config) -> list[Problem]:
        """Return the changes that the control API may not make; see ``config.permitted``."""

    def compile(self, config: Config, previous: App | None, warns: bool) -> App:
        """Compile a configuration; see ``build.build``."""


class Step(NamedTuple):
    """A step from one state to the next, as tried and as sent to the workers.

    Attributes:
        number: the generation it leads to, and ``base`` the one it starts from.
        how: see ``Change``.
        arguments: those of the change; for a reload that was tried, the pickled configuration.
    """

    number: int
    base: int
    how: str
    arguments: tuple[Any, ...]

    def configured_from(self, before: State, compiler: Compiler) -> tuple[Config, Overlay]:
        """Return the resulting configuration and its runtime changes, unless the step is a reload."""
        overlay: Overlay = getattr(before.overlay, self.how)(*self.arguments)
        return compiler.relaid(overlay, before.config), overlay

    def lead_from(self, before: State, compiler: Compiler) -> State:
        """Return the next state; anything that can fail was tried before."""
        if self.how == RELOAD:
            config: Config = pickle.loads(self.arguments[0])  # noqa: S301 - our own
            return State(config, before.overlay, build(config, compiler.manager, warns=False))
        with collection_paused():  # otherwise it takes 45 ms of 65 at 1,000 rules
            config, overlay = self.configured_from(before, compiler)
            return State(config, overlay, compiler.compile(config, before.app, warns=False))

    def lead_parent_from(self, before: State, compiler: Compiler, compiles: bool) -> State:
        """Return the next state of the parent, which must not run new user code; without an App if that, or
        ``compiles``, forbids it: then each worker compiles it when it starts.
        """
        if self.how != RELOAD:
            if compiles and before.app is not None:
                return self.lead_from(before, compiler)
            return State(*self.configured_from(before, compiler), None)
        config: Config = pickle.loads(self.arguments[0])  # noqa: S301 - our own
        manager = compiler.manager or (before.app.manager if before.app else None)
        named = config.settings.responses.manager
        if not compiles or (named and not manager) or named != before.config.settings.responses.manager:
            return State(config, before.overlay, None)
        return State(config, before.overlay, build(config, manager, warns=False))


class Prepare(NamedTuple):
    """The message to a worker to prepare a step."""

    step: Step


@dataclass
class Change:
    """A requested change.

    Attributes:
        how: the name of its method of ``Overlay``, or ``RELOAD``.
        arguments: the arguments of the method.
        answer: called with the status and the body of the response.
    """

    how: str
    arguments: tuple[Any, ...]
    answer: Callable[[int, dict[str, Any]], None]


def _is_quick(change: Change) -> bool:
    """Return whether compiling a change is certain to take a short time and little memory."""
    if change.how not in _QUICK and not (change.how == "resetting" and change.arguments[1]):
        return False
    left, todo = _LARGEST, list(change.arguments)
    while todo:
        value = todo.pop()
        if isinstance(value, Mapping):
            if not _SLOW_KEYS.isdisjoint(value):
                return False
            todo += value
            todo += value.values()
        elif isinstance(value, list | tuple):
            todo += value
        left -= len(value) if isinstance(value, str) else 8
        if left < 0:
            return False
    return True


class Worker(Protocol):
    """The part of a worker that changes need."""

    channel: Channel | None

    @property
    def responds(self) -> bool:
        """Whether it can be expected to act on a message soon."""


class Outcome(NamedTuple):
    """The outcome of a trial: the response to an invalid change, or the result of a valid one.

    Attributes:
        refusal: that response.
        config: the configuration of a reload, pickled.
        brought: the names of the rules that the change adds.
        rules: the number of rules afterwards.
        warnings: warnings to report.
        faults_anew: whether the counters of faults are reset.
    """

    refusal: Answer | None = None
    config: bytes = b""
    brought: tuple[tuple[str, str], ...] = ()
    rules: int = 0
    warnings: tuple[str, ...] = ()
    faults_anew: bool = False


class Changes:
    """Applies changes one after another, without blocking: call ``advance`` whenever something may have happened.

    Attributes:
        generation: the number of the active state.
        rules: its number of rules.
    """

    def __init__(
        self,
        state: State,
        compiler: Compiler,
        workers: Iterable[Worker],
        put_in_force: Callable[[int, bool], None],
        in_child: Callable[[], None],
    ) -> None:
        """Start with an active state.

        Args:
            state: that state.
            compiler: compiles the result of a change.
            workers: the workers that have to prepare a change.
            put_in_force: called with the number of the new generation, and whether its faults are reset.
            in_child: called first in the process of a trial.
        """
        self._state = state
        self._started = state.config.settings
        self.generation = 0
        self.rules = state.app.rules if state.app else 0
        self._compiler = compiler
        self._workers = workers
        self._put_in_force = put_in_force
        self._in_child = in_child
        self._attempt = 0
        self._queue: deque[Change] = deque()
        self._trials: Trials | None = None
        self._is_tried = False
        self._began = self._took = self._deadline = 0.0
        self._step: Step | None = None
        self._next: State | None = None
        self._is_confirmed = False  # whether a worker has compiled the change
        self._must_try = False  # whether the change needs a trial although it is quick
        self._message = b""
        self._outcome = Outcome()
        self._waiting: list[Channel] = []

    @property
    def config(self) -> Config:
        """The active configuration."""
        return self._state.config

    @property
    def state(self) -> State:
        """The active state. It is compiled only when it is needed, which most changes do not wait for."""
        config, before = self._state.config, self._state.app
        if before is not None and before.config is not config:  # it is an older one
            with collection_paused():
                self._state = self._state._replace(app=self._compiler.compile(config, before, warns=False))
        return self._state

    def submit(self, change: Change) -> None:
        """Queue a change after those requested before."""
        self._queue.append(change)

    @property
    def waits_for(self) -> list[int]:
        """The descriptors, besides those of the workers, that become readable when ``advance`` should be called."""
        return [self._trials.fileno()] if self._trials and self._is_tried else []

    @property
    def due(self) -> float | None:
        """The latest time to call ``advance``, a reading of ``time.monotonic``; None without a change."""
        if not self._queue:
            return None
        return min(self._deadline, time.monotonic() + _LOOK) if self._waiting else self._deadline

    def reaped(self, pid: int, status: int) -> None:
        """Record that a process has ended, which may be that of the trials."""
        if self._trials is not None and self._trials.pid == pid:
            self._trials.status = status

    def prepared(self, channel: Channel, number: int, fault: str, warnings: Sequence[str]) -> None:
        """Record that a worker has prepared a change, with its warnings, or the reason for its failure."""
        if self._step is not None and number == self._step.number and channel in self._waiting:
            self._waiting.remove(channel)
            if self._next is not None:
                all_warnings = dict.fromkeys((*warnings, *self._outcome.warnings))
                self._outcome = self._outcome._replace(warnings=tuple(all_warnings))
            self._is_confirmed = self._is_confirmed or not fault
            if fault and self._next is not None:
                self._try_after_all()
            elif fault:
                self._give_up(503, f"a worker cannot prepare it ({fault})")

    def join(self, channel: Channel) -> None:
        """Have a worker just forked from the active state prepare the change in progress."""
        if self._step is not None and channel.send(self._message):
            self._waiting.append(channel)

    def refuse_all(self, why: str) -> None:
        """Refuse the change in progress and all queued ones, because the server stops."""
        while self._queue:
            self._give_up(503, why)
        self._end_trials()

    def forget_in_child(self) -> None:
        """Release the process of the trials, in a newly forked process."""
        if self._trials is not None:
            self._trials.close()

    def advance(self) -> None:
        """Proceed as far as possible now."""
        while self._queue:
            if self._step is not None:
                going_on = self._advance_workers()
            elif self._is_tried:
                going_on = self._advance_trial()
            else:
                going_on = self._begin(self._queue[0])
            if not going_on:
                return

    def _begin(self, change: Change) -> bool:
        self._began = time.monotonic()
        self._deadline = self._began + self._timeout
        attempt = Step(self._attempt + 1, self.generation, change.how, change.arguments)
        can_be_quick = not self._must_try and self._state.app is not None and self.rules <= _MOST_RULES
        if can_be_quick and _is_quick(change):
            self._begin_without_trial(attempt)
            return True
        if change.how == RELOAD:  # may run user code, and must import it anew
            self._end_trials()
        if self._trials is None or not self._trials.begin(attempt):
            self._end_trials()
            try:
                self._trials = Trials(
                    Rehearsal(self.state, self.generation, self._compiler, self._started), self._in_child
                )
            except OSError as error:
                self._give_up(503, f"no process can be started to try it ({error.strerror})")
                return True
            if not self._trials.begin(attempt):
                self._give_up(503, "it cannot be handed to the process that tries it")
                return True
        self._is_tried = True
        return True

    def _begin_without_trial(self, step: Step) -> None:
        """Have the workers prepare a change that they compile quickly, and this process only when it needs to."""
        self._end_trials()  # their process would not know the state that this leads to
        before = self._state
        try:
            config, overlay = step.configured_from(before, self._compiler)
        except Exception:  # whatever it is, a trial reports it, and nothing that a change does ends this process
            self._try_after_all()
            return
        self._prepare(step)
        self._next = State(config, overlay, before.app)
        self._outcome = _outcome(before, self._next, self._started, ())  # workers add the warnings of the App

    def _try_after_all(self) -> None:
        """Begin the change anew with a trial, which refuses it with all errors in it."""
        self._step, self._next, self._waiting, self._must_try = None, None, [], True

    def _prepare(self, step: Step) -> None:
        """Have the workers prepare a step."""
        self._attempt, self._step, self._is_confirmed = step.number, step, False
        self._message = pickle.dumps(Prepare(step))
        self._waiting = [one.channel for one in self._workers if one.channel and one.channel.send(self._message)]

    def _advance_trial(self) -> bool:
        assert self._trials is not None  # noqa: S101 - see _begin
        try:
            outcome: Outcome | None = self._trials.outcome()
        except TrialError as error:
            if self._trials.status == 0 and self._queue[0].how != RELOAD:
                self._is_tried = False  # it had expired, and ended just as it was given a change: start another
            else:
                self._give_up(400, str(error))
            return True
        if outcome is not None:
            self._end_trial(outcome)
        elif time.monotonic() >= self._deadline:
            self._give_up(400, f"compiling it takes longer than 'server.change_timeout', {self._timeout:g} s")
        else:
            return False
        return True

    def _end_trial(self, outcome: Outcome) -> None:
        self._is_tried, self._took, self._outcome = False, time.monotonic() - self._began, outcome
        if outcome.refusal:
            self._answer(*outcome.refusal)
            return
        change = self._queue[0]
        arguments = (outcome.config,) if change.how == RELOAD else change.arguments
        self._prepare(Step(self._attempt + 1, self.generation, change.how, arguments))

    def _end_trials(self) -> None:
        if self._trials is not None:
            self._trials.cancel()
        self._trials = None

    def _advance_workers(self) -> bool:
        """Wait for the workers. A hung one prepares the change before it answers its next request."""
        responding = {id(worker.channel) for worker in self._workers if worker.responds}
        self._waiting = [channel for channel in self._waiting if id(channel) in responding]
        if not self._waiting:
            self._finish()
        elif time.monotonic() >= self._deadline:
            self._give_up(503, "a worker took too long to prepare it")
        else:
            return False
        return True

    def _finish(self) -> None:
        """Activate the change; then apply it here too, so that workers can be forked from it at once."""
        step, outcome, after = self._step, self._outcome, self._next
        assert step is not None  # noqa: S101 - see advance
        if after is not None and not self._is_confirmed:  # no worker responds
            self._try_after_all()
            return
        self.generation, self.rules = step.number, outcome.rules
        self._put_in_force(step.number, outcome.faults_anew)
        body = {"generation": step.number, "rules": list(outcome.brought), "warnings": list(outcome.warnings)}
        self._answer(200, body)
        self._state = after or step.lead_parent_from(self.state, self._compiler, self._took < _LONG_TRIAL)

    @property
    def _timeout(self) -> float:
        return self.config.settings.server.change_timeout

    def _give_up(self, status: int, why: str) -> None:
        if self._is_tried:
            self._end_trials()
        self._answer(*refusal(status, f"Nothing was changed: {why}.", "not_changed"))

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self._step, self._next, self._is_tried, self._must_try = None, None, False, False
        self._waiting = []
        self._queue.popleft().answer(status, body)


def refusal(status: int, message: str, code: str, problems: Iterable[Problem] = ()) -> Answer:
    """Return the response to a refused change."""
    body = ApiError(status, message, None, code).envelope()
    if reported := [asdict(problem) for problem in problems]:
        body["error"]["problems"] = reported
    return status, body


class Rehearsal:
    """Tries changes in a process of its own, which follows the active state."""

    def __init__(self, state: State, generation: int, compiler: Compiler, started: Settings) -> None:
        """``started`` are the settings with which the server started."""
        self._states = {generation: state}
        self._compiler = compiler
        self._started = started

    def __call__(self, attempt: Step) -> tuple[Outcome, bool]:
        """Try a change; return the outcome, and whether more can be tried after it."""
        before = self._states[attempt.base]
        try:
            if attempt.how == RELOAD:
                app = self._compiler.load(before.overlay)
                data = pickle.dumps(replace(app.config))  # without its caches
                after = State(app.config, before.overlay, app)
                return _outcome(before, after, self._started, app.warnings, data), False  # it has run user code
            with collection_paused():
                after = self._changed(attempt, before)
        except NotThereError:
            return Outcome(refusal(404, f"No rule has the id {attempt.arguments[0]!r}.", "not_found")), True
        except ConfigError as error:
            message = "; ".join(map(str, error.problems))
            return Outcome(refusal(400, message, "invalid_configuration", error.problems)), attempt.how != RELOAD
        except RecursionError:
            return Outcome(refusal(400, "It is nested too deeply.", "invalid_configuration")), False
        except MemoryError:
            return Outcome(refusal(400, "Compiling it takes too much memory.", "invalid_configuration")), False
        self._states = {attempt.base: before, attempt.number: after}
        return _outcome(before, after, self._started, after.app.warnings if after.app else ()), True

    def _changed(self, attempt: Step, before: State) -> State:
        """Apply a change of the control API, which has fewer rights than a configuration."""
        config, overlay = attempt.configured_from(before, self._compiler)
        if refused := self._compiler.refused(config, before.config):  # before any file is read
            raise ConfigError(refused)
        try:
            return State(config, overlay, self._compiler.compile(config, before.app, warns=False))
        except ConfigError as error:
            raise ConfigError(without_contents(error.problems, config)) from None


def _outcome(before: State, after: State, started: Settings, warnings: Iterable[str], data: bytes = b"") -> Outcome:
    """Return the outcome of a successful change.

    Args:
        before: the state before.
        after: the state after it.
        started: the settings with which the server started.
        warnings: the warnings of the new App.
        data: the configuration of a reload, pickled.
    """
    config = after.config
    old = {id(rule) for rule in before.overlay.rules}
    brought = [rule for rule in after.overlay.rules if id(rule) not in old]
    changed = changed_until_restart(started, config.settings)
    fixed = (f"{name} has changed; restart the server to apply it" for name in changed)
    all_warnings = (*fixed, *warnings, *_unreachable(config, {id(rule.pattern) for rule in brought}))
    return Outcome(
        config=data,
        brought=tuple(rule.named for rule in brought),
        rules=sum(len(config.rules(section)) for section in get_args(RuleSection)),
        warnings=all_warnings,
        faults_anew=bool(data) or before.config.settings.faults != config.settings.faults,
    )


def _unreachable(config: Config, brought: set[int]) -> Iterator[str]:
    """Yield a warning for each added rule that can never win; rules are compared by identity."""
    for section in get_args(RuleSection):
        rules = config.rules(section)
        only = [number for number, rule in enumerate(rules) if id(rule.pattern) in brought]
        if only and len(only) * len(rules) <= _MOST_COMPARED:
            yield from unreachable_rules([rule.pattern.match for rule in rules], [rule.name for rule in rules], only)
