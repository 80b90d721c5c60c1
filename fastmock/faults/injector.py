"""Fault injection: select a fault for a response, apply it, and report it."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from functools import cache
from hashlib import blake2b
from math import ceil
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from pydantic import TypeAdapter, ValidationError

from fastmock.core import errors
from fastmock.core.capabilities import Runtime
from fastmock.core.completion import ChatRequest
from fastmock.core.credentials import without_session
from fastmock.core.diagnostics import Diagnostics
from fastmock.core.http import Headers, Reply, Request, Stream
from fastmock.core.problems import SettingPath, did_you_mean
from fastmock.core.provider import Provider, provider_of
from fastmock.core.seeded import seeded_draw
from fastmock.faults.answers import AnswerFault
from fastmock.faults.base import Error, Fault
from fastmock.faults.registry import FAULTS, AnyFaultSettings
from fastmock.faults.settings import ErrorType, FaultSettings, Window
from fastmock.faults.trigger import is_open, session_key, trigger
from fastmock.rules.index import Index
from fastmock.rules.validate import check_regexes
from fastmock.shared.counters import Candidate, Candidates, Count, Counters, Trigger

Answer = Reply | Stream
WriteError = Callable[[errors.ApiError, str], bytes]
"""Serializes an error as an event of a stream; the other argument is the request id."""

FAULT_HEADER, STATUS_HEADER = "x-fastmock-fault", "x-fastmock-status"

_REQUESTED = 1  # key of the counter of faults that requests ask for
_CONDITIONS = tuple(FaultSettings.model_fields)  # conditions, which are not allowed in a request header

_MOST_READ = 512  # cached header values

_API_ERRORS: Mapping[ErrorType, Callable[[str], errors.Failure]] = MappingProxyType(
    {
        "rate_limit": errors.RateLimited,
        "insufficient_quota": lambda _: errors.QuotaExceeded(),
        "server_error": lambda _: errors.InternalError(),
        "bad_gateway": lambda _: errors.BadGateway(),
        "service_unavailable": lambda _: errors.Overloaded(),
        "timeout": lambda _: errors.RequestTimeout(),
    }
)


@cache
def _adapter() -> TypeAdapter[FaultSettings]:
    """Return the parser of any fault; only servers with control headers have one."""
    return TypeAdapter(AnyFaultSettings)


class _Compiled(NamedTuple):
    """A compiled fault.

    Attributes:
        name: its name.
        action: its action.
        trigger: when it applies, and ``candidate`` the same for requests without a session.
        is_counted: whether requests are counted to select some of them.
        is_plain: whether it has none of the following conditions; prepared, as the two before, since a request with
            one counted fault takes 3 µs less.
        window, match, rule, api_key: its conditions.
    """

    name: str
    action: Fault[Any]
    trigger: Trigger
    candidate: Candidate
    is_counted: bool
    is_plain: bool
    window: Window | None
    match: Index | None
    rule: Callable[[str], object] | None
    api_key: Callable[[str], object] | None


class _Group(NamedTuple):
    """Faults that are tried together.

    Attributes:
        settings: their settings.
        faults: the faults.
    """

    settings: Sequence[FaultSettings]
    faults: Sequence[_Compiled]


class Possible(Candidates):
    """The faults that may apply to a response.

    Attributes:
        compiled: the compiled ones, at the same indexes.
    """

    __slots__ = ("compiled",)

    def __init__(self, compiled: Sequence[_Compiled], faults: Sequence[Candidate], drawn: float) -> None:
        super().__init__(faults, drawn)
        self.compiled = compiled


class SessionFaults(NamedTuple):
    """The faults of a session, and the time since which their windows count, a reading of ``time.monotonic``."""

    faults: Sequence[FaultSettings]
    since: float


class Options(NamedTuple):
    """How to apply the faults of a configuration.

    Attributes:
        simulated: the faults that ``server.simulate_errors`` stands for.
        control_headers: whether requests may ask for faults.
        runtimes: the runtimes that serve the configuration.
        seed: seed of random draws.
        rule_names: returns the names of all rules.
        describe: describes a pydantic error.
    """

    simulated: Sequence[FaultSettings]
    control_headers: bool
    runtimes: Sequence[Runtime]
    seed: int
    rule_names: Callable[[], Iterable[str]]
    describe: Callable[[Mapping[str, Any]], str]


class FaultInjector:
    """The faults of a configuration.

    Attributes:
        any: whether any fault can occur.
        takes_time: whether a fault delays responses.
        takes_headers: whether requests may ask for faults.
        changes_answers: whether a fault changes answers, which are then rendered again.
    """

    def __init__(
        self,
        settings: Sequence[FaultSettings],
        sessions: Mapping[str, "SessionFaults"],
        options: Options,
        counters: Counters,
        diagnostics: Diagnostics,
        previous: "FaultInjector | None" = None,
    ) -> None:
        """Compile the faults of all requests, and those of sessions; errors go to ``diagnostics``.

        ``previous``: the faults of an earlier version of the configuration, of which those of sessions are reused.
        """
        self._counters = counters
        self._options = options
        self._headers = self.takes_headers = options.control_headers
        if self._headers:
            _adapter()
        self._read: dict[tuple[str | None, str | None], _Compiled] = {}
        self._warn([(one, ("faults", at)) for at, one in enumerate(settings)], options.rule_names, diagnostics)
        known = {} if previous is None else previous._groups
        self._groups: dict[str | None, _Group] = {}
        of_all: tuple[str | None, Sequence[FaultSettings]] = None, (*settings, *options.simulated)
        for session, of in (of_all, *((name, one.faults) for name, one in sessions.items())):
            reused = known.get(session)
            if reused is None or reused.settings is not of:
                reused = self._compile_group(session, of, diagnostics)
            self._groups[session] = reused
        self._draw = seeded_draw(options.seed, "faults")
        self._since = {session: one.since for session, one in sessions.items()}
        compiled = [one for group in self._groups.values() for one in group.faults]
        self._has_sessions = any(group.faults for session, group in self._groups.items() if session is not None)
        self._of_all = [(None, fault) for fault in self._groups[None].faults]
        self._needs_session = self._has_sessions or any(one.is_counted for one in compiled)
        self._may_occur = bool(compiled)
        self.any = self._may_occur or self._headers
        actions = [one.action for one in compiled]
        self.takes_time = any(action.takes_time for action in actions)
        self.changes_answers = any(isinstance(action, AnswerFault) for action in actions)

    def _compile_group(
        self, session: str | None, settings: Sequence[FaultSettings], diagnostics: Diagnostics
    ) -> _Group:
        """Compile the faults of a session, or of all requests."""
        above: SettingPath = ("faults",) if session is None else ("sessions", session, "faults")
        faults = []
        for place, one in enumerate(settings):
            if one.match is not None:
                check_regexes(one.match, (*above, place, "match"), diagnostics)
            if diagnostics.problems:
                continue
            faults.append(compiled := _compile(one, _key(session, place, one)))
            if (why := self._refusal(compiled)) is not None:
                diagnostics.error((*above, place), why)
        return _Group(settings, faults)

    @staticmethod
    def _warn(
        settings: Sequence[tuple[FaultSettings, SettingPath]],
        rule_names: Callable[[], Iterable[str]],
        diagnostics: Diagnostics,
    ) -> None:
        """Warn of settings that are valid, but probably not intended."""
        if any(one.rule is not None for one, _ in settings):
            names = list(rule_names())
            for one, path in settings:
                if one.rule is not None and not any(map(re.compile(translate(one.rule)).match, names)):
                    near = did_you_mean(one.rule, names)
                    diagnostics.warn((*path, "rule"), f"no rule has this name: {one.rule!r}{near}")
        total = sum(one.probability or 0 for one, _ in settings)
        everywhere = all(one.match is None and one.rule is None and one.api_key is None for one, _ in settings)
        if total > 1.000001 and everywhere:
            diagnostics.warn(("faults",), f"probabilities add up to {total:g}: the part above 1 has no effect")

    def possible(self, chat: ChatRequest, answer: Answer, rule: str) -> Possible | None:
        """Return the faults that may apply to a response, of which ``apply`` selects one; None without any.

        Those of the request's session come first, then those added for all sessions, then those of the configuration.
        ``rule`` is the name of the winning rule; empty without rules.
        """
        request = chat.request
        assert request is not None  # noqa: S101 - set while a request is answered
        if not self._may_occur or (self._headers and self._is_requested(request)):
            return None
        provider = provider_of(request)
        session = provider.session_of(request) if self._needs_session else ""
        number = _number(session)
        compiled: list[_Compiled] = []
        faults: list[Candidate] = []
        draws = False
        for of, fault in self._tried(session) if self._has_sessions else self._of_all:
            if not fault.is_plain and not self._fits(fault, of, chat, request, rule):
                continue
            candidate = fault.candidate
            if fault.is_counted:
                if not fault.action.applies(answer, provider):
                    continue  # only responses that it can change are counted
                if number:
                    candidate = Candidate(fault.trigger, session_key(fault.trigger.key, number))
            compiled.append(fault)
            faults.append(candidate)
            if fault.trigger.probability is not None:
                draws = True
            elif not fault.is_counted:
                break  # it applies always: those after it never do
        return Possible(compiled, faults, self._draw(request) if draws else 0.0) if faults else None

    def _tried(self, session: str) -> Iterator[tuple[str | None, _Compiled]]:
        """Yield the faults that are tried for requests of a session, in order, each with the name of its group."""
        for name in dict.fromkeys((session, "", None)):
            for fault in self._groups[name].faults if name in self._groups else ():
                yield name, fault

    def _fits(self, fault: _Compiled, of: str | None, chat: ChatRequest, request: Request, rule: str) -> bool:
        """Return whether the conditions of a fault, of the group with a name, match a request."""
        return (
            (fault.window is None or is_open(fault.window, self._passed(of)))
            and (fault.rule is None or fault.rule(rule) is not None)
            and (fault.match is None or fault.match.pick(chat) == 0)
            and (fault.api_key is None or _has_key(request, fault.api_key))
        )

    def _passed(self, session: str | None) -> float:
        """Return the seconds since the faults of a session, or of all, were activated."""
        return time.monotonic() - (self._counters.since() if session is None else self._since[session])

    def apply(
        self, chat: ChatRequest, answer: Answer, possible: Possible | None, write_error: WriteError | None
    ) -> Answer:
        """Return a response with the selected fault applied.

        Args:
            chat: the request in neutral form, with its HTTP request.
            answer: the response.
            possible: the faults that may apply to it.
            write_error: serializes an error as a stream event, if the endpoint's form differs from the provider's.

        Raises:
            ApiError: the fault is an error, or the request asks for an unknown fault.
        """
        request = chat.request
        assert request is not None  # noqa: S101 - see the arguments
        fault = self._requested(request) if self._headers else None
        if fault is not None:
            self._counters.count(_REQUESTED, Count.CHOSEN)
        elif possible is not None:
            self._counters.choose(possible)
            fault = None if possible.chosen is None else possible.compiled[possible.chosen]
        if fault is None:
            return answer
        name, key = fault.name, fault.trigger.key

        def not_reached() -> None:
            self._counters.count(key, Count.MISSED)

        provider = provider_of(request)
        write_error = write_error or provider.error_event
        writer = _Writer(name, chat, provider, answer.request_id, write_error, self._fault_headers(name), not_reached)
        changed = fault.action.apply(answer, writer)
        if changed is None:
            not_reached()
            if self._headers:
                answer.more += ((FAULT_HEADER, f"{name}; not applicable"),)
            return answer
        changed.fault = name
        changed.more += self._fault_headers(name)
        return changed

    def forget(self, session: str) -> None:
        """Reset the counters of a session."""
        for name in (None, "", session):
            for fault in self._groups[name].faults if name in self._groups else ():
                self._counters.forget(session_key(fault.trigger.key, _number(session)))

    def counted(self) -> list[dict[str, object]]:
        """Return for each fault how often it was selected by all workers, and how often it was then not applicable."""
        named = [
            (fault.name, session, fault.trigger.key)
            for session, group in self._groups.items()
            for fault in group.faults
        ]
        if self._headers:
            named.append(("asked for by a header", None, _REQUESTED))
        return [
            {
                "kind": name,
                **({"session": session} if session else {}),
                "chosen": self._counters.counted(key, Count.CHOSEN),
                "not_applicable": self._counters.counted(key, Count.MISSED),
            }
            for name, session, key in named
        ]

    def _fault_headers(self, name: str) -> tuple[tuple[str, str], ...]:
        return ((FAULT_HEADER, name),) if self._headers else ()

    @staticmethod
    def _is_requested(request: Request) -> bool:
        """Return whether the request's headers ask for a fault."""
        headers = request.headers
        return headers.get(FAULT_HEADER) is not None or headers.get(STATUS_HEADER) is not None

    def _requested(self, request: Request) -> _Compiled | None:
        """Return the fault that the request's headers ask for."""
        if not self._is_requested(request):
            return None
        headers = request.headers.get(FAULT_HEADER), request.headers.get(STATUS_HEADER)
        fault = self._read.get(headers)
        if fault is None:
            if len(self._read) >= _MOST_READ:
                self._read.clear()
            fault = self._read[headers] = _compile(_parse_headers(*headers, self._options.describe), _REQUESTED)
        if (why := self._refusal(fault)) is not None:
            raise errors.ApiError(400, f"Invalid '{FAULT_HEADER}': {why}", FAULT_HEADER)
        return fault

    def _refusal(self, fault: _Compiled) -> str | None:
        """Return the reason why the runtime does not support a fault; None if it does."""
        lacking = next((one for one in self._options.runtimes if one.lacks(fault.action.needs)), None)
        return None if lacking is None else lacking.refusal(f"{fault.name!r} with these settings")


class _Writer:
    """See ``base.ErrorWriter``."""

    def __init__(
        self,
        name: str,
        chat: ChatRequest,
        provider: Provider,
        request_id: str,
        write_error: WriteError,
        more: tuple[tuple[str, str], ...],
        not_reached: Callable[[], None],
    ) -> None:
        self._name = name
        self._chat = chat
        self.provider = provider
        self._request_id = request_id
        self._write_error = write_error
        self._more = more
        self.not_reached = not_reached

    def raise_error(self, error: Error) -> NoReturn:
        """Raise an error with the headers of the fault."""
        api_error = self._api_error(error)
        replaced = {name for name, _ in error.headers}
        kept = (header for header in api_error.headers if header[0] not in replaced)
        raise api_error.replace(headers=(*kept, *error.headers, *self._more), fault=self._name)

    def event(self, error: Error) -> bytes:
        """Return an error as an event of a stream."""
        return self._write_error(self._api_error(error), self._request_id)

    def _api_error(self, error: Error) -> errors.ApiError:
        model = self._chat.model or "default"
        api_error: errors.ApiError
        if error.status is None:
            api_error = _API_ERRORS[error.error or "server_error"](model)
        else:
            api_error = errors.StatusFailure(error.status, model)
        if (wait := _wait(error.headers)) is not None:
            api_error = api_error.replace(wait=wait)
        words = {"message": error.message, "kind": error.type, "code": error.code}
        return api_error.replace(overrides={name: word for name, word in words.items() if word is not None})


def _wait(headers: Headers) -> int | None:
    """Return the milliseconds to wait before a retry, from response headers; None without such a header."""
    values = dict(headers)
    if (exact := values.get("retry-after-ms")) is not None:
        return ceil(float(exact))
    return int(values["retry-after"]) * 1000 if "retry-after" in values else None


def _compile(settings: FaultSettings, key: int) -> _Compiled:
    """Compile a fault; ``key`` is that of its counters."""
    name: str = settings.kind  # type: ignore[attr-defined]  # each kind has one
    when = trigger(key, settings)
    conditions = settings.window, settings.match, settings.rule, settings.api_key
    return _Compiled(
        name,
        FAULTS[name](settings),
        when,
        Candidate(when, key),
        when.is_counted,
        conditions == (None, None, None, None),
        settings.window,
        Index([settings.match]) if settings.match else None,
        re.compile(translate(settings.rule)).match if settings.rule else None,
        re.compile(translate(settings.api_key)).match if settings.api_key else None,
    )


def _key(session: str | None, place: int, settings: FaultSettings) -> int:
    """Return the key of a fault's counters; it stays the same as long as the fault keeps its settings and position."""
    text = f"{'' if session is None else session + ' '}{place} {settings.model_dump_json()}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") or 1


def _number(session: str) -> int:
    return int.from_bytes(blake2b(session.encode(), digest_size=8).digest(), "big") if session else 0


def _has_key(request: Request, match: Callable[[str], object]) -> bool:
    key = provider_of(request).key_of(request)
    return key is not None and any(match(one) is not None for one in (key, without_session(key)))


def _parse_headers(
    fault: str | None, status: str | None, describe: Callable[[Mapping[str, Any]], str]
) -> FaultSettings:
    """Parse the request headers that ask for a fault: ``stall; after=3; for=2s``, or a status."""
    header = FAULT_HEADER
    settings: dict[str, Any]
    if fault is None:
        header, settings = STATUS_HEADER, {"kind": "status", "status": status}
    else:
        kind, *parts = (part.strip() for part in fault.split(";"))
        settings = {"kind": kind}
        for part in filter(None, parts):
            name, _, value = part.partition("=")
            if name.strip() in _CONDITIONS:
                raise errors.ApiError(400, f"Invalid '{header}': {name.strip()} cannot be set for one request.", header)
            settings[name.strip()] = value.strip()
        if kind == "status" and status is not None:
            settings["status"] = status
    try:
        return _adapter().validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"][1:])
        message = f"{at}: {describe(first)}" if at else describe(first)
        raise errors.ApiError(400, f"Invalid '{header}': {message}", header) from None
