"""What goes wrong on purpose, put around the saying of answers: which fault, in whose words, and what is told of it."""

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import translate
from hashlib import blake2b
from math import ceil
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from pydantic import TypeAdapter, ValidationError

from fastmock.auth import key_of
from fastmock.config.load import Config, describe
from fastmock.config.overlay import RuleSection
from fastmock.config.settings import Server
from fastmock.core import errors
from fastmock.core.credentials import bare, session_of
from fastmock.core.diagnostics import Findings, check_regexes
from fastmock.core.http import Ask, Headers, Reply, Request, Stream
from fastmock.core.problems import SettingPath, did_you_mean
from fastmock.core.seeded import drawer
from fastmock.faults.base import Act, Error
from fastmock.faults.registry import ACTS
from fastmock.faults.settings import ErrorType, Fault, Status, Strikes
from fastmock.faults.trigger import Chooser, Count, Known, Tally, of_session
from fastmock.limits.limiter import duration
from fastmock.providers.anthropic import errors as anthropic
from fastmock.rules.index import Index

Answer = Reply | Stream
SayError = Callable[[errors.ApiError, str], bytes]
"""Writes an error, given with the request's id, as a stream says it in its midst."""

FAULT_HEADER, STATUS_HEADER = "x-fastmock-fault", "x-fastmock-status"

_ASKED = 1  # what the faults are counted by that requests ask for
_WHEN = tuple(Strikes.model_fields)  # what says when a fault strikes, which a request that asks for one knows

_MOST_READ = 512  # values of those headers that are remembered

_OWN: Mapping[ErrorType, Callable[[str], errors.ApiError]] = MappingProxyType(
    {
        "rate_limit": errors.rate_limited,
        "insufficient_quota": lambda _: errors.quota_exceeded(),
        "server_error": lambda _: errors.server_error(),
        "bad_gateway": lambda _: errors.bad_gateway(),
        "service_unavailable": lambda _: errors.overloaded(),
        "timeout": lambda _: errors.timed_out(),
    }
)
_fault: TypeAdapter[Strikes] = TypeAdapter(Fault)


class _Compiled(NamedTuple):
    """A fault: its name, what it does, and what it looks at."""

    name: str
    act: Act[Any]
    match: Index | None
    rule: Callable[[str], object] | None
    api_key: Callable[[str], object] | None


class Faults:
    """All the faults of a configuration.

    Attributes:
        any: whether anything can go wrong.
        takes_time: whether a fault makes an answer take time.
        needs_granian: the first setting that only Granian can do, and its path; None without one.
    """

    def __init__(self, config: Config, tally: Tally, findings: Findings) -> None:
        """Compile them; what is wrong goes to ``findings``."""
        settings = config.settings
        self._tally = tally
        self._headers = settings.server.control_headers
        self._robyn = "robyn" in (config.runtime, settings.server.runtime)
        self._read: dict[tuple[str | None, str | None], _Compiled] = {}
        given: list[tuple[Strikes, SettingPath]] = [(one, ("faults", at)) for at, one in enumerate(settings.faults)]
        self._faults = []
        self.needs_granian: tuple[str, SettingPath] | None = None
        for one, path in given:
            if one.match is not None:
                check_regexes(one.match, (*path, "match"), findings)
            if findings.problems:
                continue
            compiled = _compile(one)
            self._faults.append(compiled)
            if compiled.act.only_granian:
                self.needs_granian = self.needs_granian or (compiled.name, path)
                if self._robyn:
                    findings.error(path, _beyond_robyn(compiled.name))
        self._warn(given, config, findings)
        simulated = _simulated(settings.server)
        self._faults += map(_compile, simulated)
        known = [Known(_key(place, one), one) for place, one in enumerate((*(one for one, _ in given), *simulated))]
        self._keys = [one.key for one in known]
        self._chooser = Chooser(known, drawer(settings.seed, "faults"), tally)
        self.any = bool(known) or self._headers
        self.takes_time = any(one.act.takes_time for one in self._faults)

    @staticmethod
    def _warn(given: Sequence[tuple[Strikes, SettingPath]], config: Config, findings: Findings) -> None:
        """Say what works, but maybe not as meant."""
        sections: tuple[RuleSection, ...] = ("chat_completions", "completions")
        names = {f"{section}.default" for section in sections}
        if any(one.rule is not None for one, _ in given):
            names.update(placed.name for section in sections for placed in config.rules(section))
        for one, path in given:
            if one.rule is not None and not any(map(re.compile(translate(one.rule)).match, names)):
                findings.warn(
                    (*path, "rule"), f"no pattern has such a name: {one.rule!r}{did_you_mean(one.rule, names)}"
                )
        total = sum(one.probability or 0 for one, _ in given)
        everywhere = all(one.match is None and one.rule is None and one.api_key is None for one, _ in given)
        if total > 1.000001 and everywhere:
            findings.warn(("faults",), f"probabilities add up to {total:g}: what is above 1 never comes up")

    def strike(self, ask: Ask, answer: Answer, rule: str, say: SayError) -> Answer:
        """Return what becomes of an answer.

        Args:
            ask: what was asked for; it has a request.
            answer: what is said to it.
            rule: the name of the rule that won; empty where there are none.
            say: writes an error in the midst of a stream.

        Raises:
            ApiError: an error is said instead, or the request asks for a fault that there is not.
        """
        if not self.any:
            return answer
        request = ask.request
        assert request is not None  # noqa: S101 - see above
        fault, key = self._asked_for(request) if self._headers else None, _ASKED
        if fault is not None:
            self._tally.count(key, Count.CHOSEN)
        if fault is None:
            number = self._chooser.choose(
                request,
                lambda number: self._fits(number, ask, request, rule),
                lambda number: self._faults[number].act.applies(answer),
                _session,
            )
            if number is None:
                return answer
            fault, key = self._faults[number], self._keys[number]
        name = fault.name

        def missed() -> None:
            self._tally.count(key, Count.MISSED)

        teller = _Teller(name, ask, request, answer.request_id, say, self._told(name), missed)
        struck = fault.act.strike(answer, teller)
        if struck is None:
            missed()
            if self._headers:
                answer.more += ((FAULT_HEADER, f"{name}; not applicable"),)
            return answer
        struck.fault = name
        struck.more += self._told(name)
        return struck

    def forget(self, session: str) -> None:
        """Begin to count anew, for a session."""
        for key in self._keys:
            self._tally.forget(of_session(key, _number(session)))

    def counted(self) -> list[dict[str, object]]:
        """Say of each fault how often it was chosen, by all workers, and how often it then had nothing to strike at."""
        named = [(fault.name, key) for fault, key in zip(self._faults, self._keys, strict=True)]
        if self._headers:
            named.append(("asked for by a header", _ASKED))
        return [
            {
                "kind": name,
                "chosen": self._tally.counted(key, Count.CHOSEN),
                "not_applicable": self._tally.counted(key, Count.MISSED),
            }
            for name, key in named
        ]

    def _told(self, name: str) -> tuple[tuple[str, str], ...]:
        return ((FAULT_HEADER, name),) if self._headers else ()

    def _fits(self, number: int, ask: Ask, request: Request, rule: str) -> bool:
        """Return whether a fault may strike at a request."""
        fault = self._faults[number]
        return (
            (fault.rule is None or fault.rule(rule) is not None)
            and (fault.match is None or fault.match.pick(ask) == 0)
            and (fault.api_key is None or _has_key(request, fault.api_key))
        )

    def _asked_for(self, request: Request) -> _Compiled | None:
        """Return the fault that the request's own headers ask for."""
        said = request.headers.get(FAULT_HEADER), request.headers.get(STATUS_HEADER)
        if said == (None, None):
            return None
        fault = self._read.get(said)
        if fault is None:
            if len(self._read) >= _MOST_READ:
                self._read.clear()
            fault = self._read[said] = _compile(_parsed(*said))
        if self._robyn and fault.act.only_granian:
            raise errors.ApiError(400, f"Invalid '{FAULT_HEADER}': {_beyond_robyn(fault.name)}", FAULT_HEADER)
        return fault


class _Teller:
    """See ``act.Telling``."""

    def __init__(
        self,
        name: str,
        ask: Ask,
        request: Request,
        request_id: str,
        say: SayError,
        more: tuple[tuple[str, str], ...],
        missed: Callable[[], None],
    ) -> None:
        self._name = name
        self._ask = ask
        self._request = request
        self._request_id = request_id
        self._say = say
        self._more = more
        self.missed = missed

    def refuse(self, error: Error) -> NoReturn:
        """See ``act.Telling``."""
        made = self._made(error)
        replaced = {name for name, _ in error.headers}
        kept = (header for header in made.headers if header[0] not in replaced)
        raise made.but(headers=(*kept, *error.headers, *self._more), fault=self._name)

    def event(self, error: Error) -> bytes:
        """See ``act.Telling``."""
        return self._say(self._made(error), self._request_id)

    def _made(self, error: Error) -> errors.ApiError:
        if error.status is None:
            made = _OWN[error.error or "server_error"](self._ask.model or "default")
        elif anthropic.speaks(self._request):
            made = anthropic.of_status(error.status)
        else:
            made = errors.of_status(error.status, self._ask.model or "default")
        if error.message is None and (wait := _wait(error.headers)) is not None:
            made = made.but(message=made.message.replace("again in 1s", f"again in {duration(wait)}"))
        words = {"message": error.message, "kind": error.type, "code": error.code}
        given = {name: word for name, word in words.items() if word is not None}
        return made.but(**given, as_is=error.status is not None or bool(given))


def _wait(headers: Headers) -> int | None:
    """Return after how many milliseconds some headers say to come again; None where they say nothing."""
    given = dict(headers)
    if (exact := given.get("retry-after-ms")) is not None:
        return ceil(float(exact))
    return int(given["retry-after"]) * 1000 if "retry-after" in given else None


def _compile(settings: Strikes) -> _Compiled:
    name: str = settings.kind  # type: ignore[attr-defined]  # each kind has one
    return _Compiled(
        name,
        ACTS[type(settings)](settings),
        Index([settings.match]) if settings.match else None,
        re.compile(translate(settings.rule)).match if settings.rule else None,
        re.compile(translate(settings.api_key)).match if settings.api_key else None,
    )


def _key(place: int, settings: Strikes) -> int:
    """Return what a fault is counted by: as long as it stays what it is and where it is, a reload changes nothing."""
    said = f"{place} {settings.model_dump_json()}"
    return int.from_bytes(blake2b(said.encode(), digest_size=8).digest(), "big") or 1


def _session(request: Request) -> int:
    """Return the number of the session that a request is of."""
    return _number(session_of(request.headers))


def _number(session: str) -> int:
    return int.from_bytes(blake2b(session.encode(), digest_size=8).digest(), "big") if session else 0


def _has_key(request: Request, match: Callable[[str], object]) -> bool:
    try:
        key = key_of(request)
        return any(match(one) is not None for one in (key, bare(key)))
    except errors.ApiError:  # it has none
        return False


def _simulated(server: Server) -> list[Strikes]:
    """Return the faults that ``server.simulate_errors`` stands for."""
    total = sum(server.error_types.values())
    if not server.simulate_errors or not server.error_rate or not total:
        return []
    return [
        Status(kind="status", error=error, probability=min(1.0, server.error_rate * weight / total))
        for error, weight in server.error_types.items()
        if weight
    ]


def _parsed(fault: str | None, status: str | None) -> Strikes:
    """Read the headers by which a request asks for a fault: ``stall; after=3; for=2s``, or a status."""
    header = FAULT_HEADER
    given: dict[str, Any]
    if fault is None:
        header, given = STATUS_HEADER, {"kind": "status", "status": status}
    else:
        kind, *parts = (part.strip() for part in fault.split(";"))
        given = {"kind": kind}
        for part in filter(None, parts):
            name, _, value = part.partition("=")
            if name.strip() in _WHEN:
                raise errors.ApiError(400, f"Invalid '{header}': {name.strip()} is not for one request.", header)
            given[name.strip()] = value.strip()
        if kind == "status" and status is not None:
            given["status"] = status
    try:
        return _fault.validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"][1:])
        said = f"{at}: {describe(first)}" if at else describe(first)
        raise errors.ApiError(400, f"Invalid '{header}': {said}", header) from None


def _beyond_robyn(name: str) -> str:
    return f"Robyn cannot do {name!r} so; leave 'server.runtime' at auto, or take granian"
