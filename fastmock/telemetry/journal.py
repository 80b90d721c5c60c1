"""The journal: the last requests and responses of all workers.

A request is written before its response is sent, so that a client with a response finds its request on every worker.
The outcome is added before the last part is sent.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import orjson
from typing_extensions import override

from fastmock.app import Answer, App
from fastmock.core.completion import ChatRequest
from fastmock.core.credentials import REDACTED, SESSION_HEADER, is_credential
from fastmock.core.errors import ApiError
from fastmock.core.http import Request, Stream, model_of
from fastmock.core.problems import did_you_mean
from fastmock.core.provider import provider_of
from fastmock.core.routing import OTHER
from fastmock.engine.recorded_routes import MISS
from fastmock.findings.attempts import RETRY_COUNT, Attempt
from fastmock.findings.facts import facts_of
from fastmock.findings.settings import NOTHING_WATCHED, WatchedSessions
from fastmock.shared.ring_buffer import ENDED, LEFT, OPEN, Entry, Outcome, RingBuffer
from fastmock.telemetry.observer import Follower, Observer

HEAD_SIZE = 8192
"""Bytes reserved for a request besides its body."""

_LONGEST = 256  # characters of a path, model name or header value in an entry that is too large
_LONGEST_COUNT = 6  # digits of the number of a retry
_MOST_SHOWN = 100  # default number of returned requests
_STATES = {OPEN: "open", ENDED: "ended", LEFT: "left"}
_GLOBS = ("method", "path", "endpoint", "model", "rule", "fault", "check")
_FILTERS = (*_GLOBS, "status", "session", "since", "limit", "explain")


@dataclass(frozen=True, slots=True)
class Record:
    """A request in the journal.

    Attributes:
        entry: the stored entry.
        head: everything besides the body; see ``Journal.record``.
    """

    entry: Entry
    head: dict[str, Any]

    @property
    def cut(self) -> bool:
        """Whether the body is incomplete."""
        return len(self.entry.body) < int(self.head["size"])

    @property
    def headers_cut(self) -> bool:
        """Whether the headers are incomplete."""
        return "headers_cut" in self.head

    @property
    def missed(self) -> bool:
        """Whether no rule matched, so that the default reply was used."""
        rule: str = self.head["rule"]
        return rule.endswith(".default")

    @property
    def facts(self) -> dict[str, Any] | None:
        """See ``findings.facts``; None if the request was not watched."""
        found: dict[str, Any] | None = self.head.get("facts")
        return found

    def attempt(self, app: App) -> Attempt:
        """Return the request as findings see it; it must have been watched."""
        head, facts, outcome = self.head, self.facts or {}, self.entry.outcome
        # An instant response was noted when it was sent, any other one before.
        spent = facts.get("spent_ns")
        arrived = head["time"] - (outcome.seconds if spent is None else spent / 1e9)
        count = head["headers"].get(RETRY_COUNT, "")
        return Attempt(
            number=self.entry.number,
            client=head["session"] or facts["client"],
            body=(head["path"], head["size"], self.entry.body),
            model=head["model"],
            arrived=arrived,
            ended=None if outcome.state == OPEN else arrived + outcome.seconds,
            status=head["status"],
            is_left=outcome.state == LEFT,
            sent=outcome.size,
            stream=head["stream"],
            fault=head["fault"],
            limit=head["limit"],
            retry=int(count) if count.isdecimal() and len(count) < _LONGEST_COUNT else None,
            facts=facts,
            read=lambda: [] if self.cut else app.readings.messages(self.request()),
        )

    def nearest(self, app: App) -> dict[str, Any]:
        """Return the closest rule of ``app``, or recording, and how it differs."""
        if self.head["rule"] == MISS and (replayer := app.replayer_of(self.head["session"])) is not None:
            name, differences = replayer.explain_miss(self.request())
            return {} if name is None else {"nearest": name, "differences": list(differences)}
        chat, rules = app.readings.parse_recorded(self.request())
        verdict = rules.explain(chat) if rules is not None else None
        if verdict is None or verdict.nearest is None:
            return {}
        return {"nearest": verdict.nearest, "differences": list(verdict.differences)}

    def chat(self, app: App) -> ChatRequest:
        """Return the request in neutral form; if its body was cut, with the values from the entry."""
        chat, _ = app.readings.parse_recorded(self.request())
        if self.cut:
            chat.model, chat.endpoint, chat.stream = self.head["model"], self.head["endpoint"], self.head["stream"]
        return chat

    def request(self) -> Request:
        """Return the HTTP request, without its credentials."""
        headers = self.head["headers"]
        if self.head["session"]:  # the API key may have named it
            headers = {**headers, SESSION_HEADER: self.head["session"]}
        return Request(self.head["method"], self.head["path"], headers, self.entry.body)

    def shown(self) -> dict[str, Any]:
        """Return the representation in the control API."""
        head, outcome = dict(self.head), self.entry.outcome
        body: Any
        try:
            body = orjson.loads(self.entry.body) if self.entry.body else None
            orjson.dumps(body)  # parsing allows more levels than serializing
        except (orjson.JSONDecodeError, TypeError):
            body = self.entry.body.decode(errors="replace")
        size = head.pop("size")
        return {
            "number": self.entry.number,
            **head,
            "body": body,
            "body_bytes": size,
            "body_cut": self.cut,
            **timing(outcome),
        }


def timing(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome of a response; times in milliseconds."""
    return {
        "state": _STATES.get(outcome.state, "open"),
        "duration_ms": round(outcome.seconds * 1000, 3) if outcome.state != OPEN else None,
        "ttft_ms": round(outcome.first * 1000, 3) if outcome.first else None,
        "response_bytes": outcome.size,
    }


class Journal(Observer):
    """One worker's view of the journal.

    Attributes:
        ring_buffer: the entries.
        is_shared: whether it also has the requests of other servers.
    """

    def __init__(
        self,
        ring_buffer: RingBuffer,
        kind_of: Callable[[str], str] = lambda path: OTHER,
        watch: WatchedSessions = NOTHING_WATCHED,
        is_shared: bool = False,
    ) -> None:
        """Take the parts.

        Args:
            ring_buffer: the entries.
            kind_of: returns the kind of endpoint of a path.
            watch: tells which requests are watched for findings.
            is_shared: whether it also has the requests of other servers, which arrive late.
        """
        self.is_shared = is_shared
        self.ring_buffer = ring_buffer
        self._most_body = ring_buffer.most - HEAD_SIZE
        self._kind_of = kind_of
        self._watch = watch if watch.any else None

    @override
    def answered(self, request: Request, answer: Answer, spent: int, is_instant: bool) -> Follower | None:
        if not is_instant or isinstance(answer, Stream):
            return _Follower(
                self.ring_buffer, self.record(request, answer, Outcome(), spent), isinstance(answer, Stream)
            )
        streamed = spent / 1e9 if answer.chat is not None and answer.chat.stream else 0.0
        self.record(request, answer, Outcome(spent / 1e9, streamed, answer.size, ENDED))
        return None

    def record(self, request: Request, answer: Answer, outcome: Outcome, spent: int | None = None) -> int:
        """Write a request and its response; return its number.

        ``spent``: for a response that takes time the nanoseconds since the request came in.
        """
        headers = dict(request.headers.items())
        session = provider_of(request).session_of(request, headers)
        facts = None
        if self._watch is not None and self._watch.includes(session):
            facts = facts_of(request, headers, answer, spent)
        for name in headers:
            if is_credential(name):
                headers[name] = REDACTED
        body = request.body.encode() if isinstance(request.body, str) else request.body
        chat = answer.chat
        head = {
            "time": time.time(),
            "request_id": answer.request_id,
            "session": session,
            "method": request.method,
            "path": request.path,
            "endpoint": self._kind_of(request.path) if chat is None else chat.endpoint,
            "model": model_of(answer),
            "stream": chat is not None and chat.stream,
            "rule": answer.rule,
            "status": answer.head.status,
            "fault": answer.fault,
            "limit": answer.limit,
            "check": answer.check,
            "headers": headers,
            "size": len(body),
        }
        if facts is not None:
            head["facts"] = facts
        data = orjson.dumps(head)
        if len(data) > HEAD_SIZE:
            data = _shortened(head)
        return self.ring_buffer.write(data, body[: self._most_body], outcome)

    def records(self, numbers: Sequence[int]) -> Iterator[Record]:
        """Yield the requests with these numbers that are still stored."""
        for number in numbers:
            if (entry := self.ring_buffer.read(number)) is not None:
                yield Record(entry, orjson.loads(entry.head))

    def latest(self, since: int = 0) -> Iterator[Record]:
        """Yield the stored requests from a number on, the latest first."""
        numbers = self.ring_buffer.numbers()
        records = self.records(range(max(numbers.start, since), max(numbers.stop, since))[::-1])
        return iter(sorted(records, key=_time_of, reverse=True)) if self.is_shared else records

    def clear(self, *sessions: str) -> None:
        """Delete the requests of some sessions; without one, all."""
        if not sessions:
            self.ring_buffer.clear()
            return
        for record in self.records(self.ring_buffer.numbers()):
            if record.head["session"] in sessions:
                self.ring_buffer.forget(record.entry.number)

    def state(self, session: str = "") -> dict[str, int]:
        """Return the numbers of requests since the last deletion, of stored ones and of lost ones.

        With a ``session``, the first is the number of its stored requests.
        """
        written = self.ring_buffer.written - self.ring_buffer.floor
        if session:
            written = sum(record.head["session"] == session for record in self.records(self.ring_buffer.numbers()))
        return {
            "written": written,
            "size": self.ring_buffer.size,
            "lost": self.ring_buffer.lost,
        }


def _time_of(record: Record) -> float:
    time_: float = record.head["time"]
    return time_


def _shortened(head: dict[str, Any]) -> bytes:
    """Return the entry with long values cut, and without headers if that is not enough."""
    for name in ("path", "model", "rule", "method"):
        head[name] = head[name][:_LONGEST]
    head["headers_cut"] = True
    head["headers"] = {name[:_LONGEST]: value[:_LONGEST] for name, value in head["headers"].items()}
    data = orjson.dumps(head)
    if len(data) > HEAD_SIZE:
        head["headers"] = {}
        data = orjson.dumps(head)
    return data


class _Follower(Follower):
    """Records the outcome of a response, for a stream before its last part is sent."""

    def __init__(self, ring_buffer: RingBuffer, number: int, is_stream: bool) -> None:
        self._ring_buffer = ring_buffer
        self._number = number
        self._is_stream = is_stream
        self._first = 0.0
        self._size = 0

    @override
    def sent(self, begin: int, end: int, size: int, at: int, is_last: bool) -> None:
        self._size += size
        if size and not self._first:
            self._first = at / 1e9
            self._note(at, OPEN)
        if is_last:
            self._note(at, ENDED)

    @override
    def ended(self, size: int, at: int, is_whole: bool) -> None:
        if not self._is_stream:
            self._size = size
            self._note(at, ENDED if is_whole else LEFT)
        elif not is_whole:
            self._note(at, LEFT)

    def _note(self, at: int, state: int) -> None:
        self._ring_buffer.end(self._number, Outcome(at / 1e9, self._first, self._size, state))


class Filter:
    """The filter of a listing, from the parameters of its URL."""

    def __init__(self, query: Mapping[str, Sequence[str]], session: str) -> None:
        """Parse the parameters; ``session`` is the session of the client.

        Raises:
            ApiError: a parameter is unknown or invalid.
        """
        for name in query:
            if name not in _FILTERS:
                near = did_you_mean(name, _FILTERS) or f"; known are {', '.join(_FILTERS)}"
                raise ApiError(400, f"Unknown parameter: '{name}'{near}", name, "unknown_parameter")
        given = {name: values[-1] for name, values in query.items()}
        self._globs = {name: given[name] for name in _GLOBS if name in given}
        self._status = given.get("status", "").lower()
        if not re.fullmatch(r"(?:\d\d\d|[1-5]xx)?", self._status):
            raise ApiError(400, f"Invalid 'status': expected a number or such as 5xx, not '{self._status}'.", "status")
        self._session = given.get("session", session)
        self.since = whole_number("since", given.get("since", "0"))
        self.limit = whole_number("limit", given.get("limit", str(_MOST_SHOWN)))
        self.explain = truth("explain", given.get("explain", "false"))

    def takes(self, head: Mapping[str, Any]) -> bool:
        """Return whether a request passes the filter."""
        status = str(head["status"])
        return (
            (not self._session or head["session"] == self._session)
            and (not self._status or status == self._status or f"{status[0]}xx" == self._status)
            and all(fnmatchcase(head[name], glob) for name, glob in self._globs.items())
        )


def whole_number(name: str, text: str) -> int:
    """Parse the parameter of a URL; raise ApiError if it is not a whole number."""
    if not text.isdecimal() or len(text) > 18:
        raise ApiError(400, f"Invalid '{name}': expected a whole number from 0, but got '{text}'.", name)
    return int(text)


def truth(name: str, text: str) -> bool:
    """Parse the parameter of a URL; raise ApiError if it is neither true nor false."""
    if text not in ("true", "false", "1", "0"):
        raise ApiError(400, f"Invalid '{name}': expected true or false, but got '{text}'.", name)
    return text in ("true", "1")
