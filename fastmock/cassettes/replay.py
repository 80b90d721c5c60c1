"""Replay recorded answers: the same frames, at once or by their recorded times."""

import re
import string
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from hashlib import blake2b, shake_128
from itertools import accumulate
from typing import Any

from fastmock.cassettes.answers import is_stream
from fastmock.cassettes.canonical import Canonical, split
from fastmock.cassettes.cassette import InvalidRecordingError, RecordedAnswer
from fastmock.cassettes.differences import differences
from fastmock.cassettes.library import Found, Library, body_of
from fastmock.cassettes.settings import COMPONENTS, FASTEST, SLOWEST, Cassettes, is_speed
from fastmock.core import errors
from fastmock.core.framing import SSE
from fastmock.core.http import Headers, Reply, Request, ResponseHead, Stream
from fastmock.core.provider import provider_of
from fastmock.shared.counters import Counters
from fastmock.shared.recording_uses import USED, Uses

SPEED_HEADER = "x-fastmock-speed"
RULE_HEADER = "x-fastmock-rule"
"""Names the rule of a response, or the recording, where requests may have control headers."""
MOST_NAMED = 10_000
"""Recordings that a report names."""
_MOST_ROUTES = 3  # routes that an error names
_MOST_BYTES = 32 << 20  # of answers that are kept ready
_OVERHEAD = 2000  # bytes of such an answer besides its body
_REPEATS = 0  # the counter of requests with equal recordings
_LATE_END = 2.0  # milliseconds from the last frame to the end of a body that are replayed
_ID_NAMES = ("x-request-id", "request-id")
_EMPTY_STATUS = (204, 304)  # have no body
_NOT_REPLAYED = frozenset(("content-length", "transfer-encoding", "connection", "keep-alive", "date"))
_ids = re.compile(
    rb'"(?:id|response_id|item_id|call_id|tool_use_id|tool_call_id|completion_id)"\s*:\s*"([A-Za-z]+[-_])([A-Za-z0-9]{6,})"'
).findall
_ALPHABET = bytes.maketrans(bytes(range(256)), ((string.ascii_letters + string.digits) * 5)[:256].encode())


@lru_cache(maxsize=256)
def _head(status: int, headers: Headers, id_name: str, is_events: bool) -> ResponseHead:
    """Return the head of answers with equal headers, each once: a runtime keeps its own form of it."""
    return ResponseHead(status, headers, id_name, framing=SSE if is_events else None)


class Ready:
    """A recorded answer, ready to be sent.

    Attributes:
        head: its status and headers.
        request_id: the recorded request id; empty if it had none.
        model: the model that was asked for; empty without one.
        body: the whole body.
        ends: where each frame ends in it.
        times: when each frame is due, in seconds after the request.
        is_whole: whether it is sent in one piece.
        name: the name of its recording.
    """

    def __init__(self, answer: RecordedAnswer, name: str) -> None:
        """Take a recorded answer."""
        self.name = name
        id_name = next((name for name in _ID_NAMES if answer.headers.get(name)), _ID_NAMES[0])
        headers: Headers = tuple(
            pair for pair in answer.headers.items() if pair[0] not in _NOT_REPLAYED and pair[0] != id_name
        )
        is_events = is_stream(answer)
        self.head = _head(answer.status, headers, id_name, is_events)
        self.request_id = answer.headers.get(id_name, "")
        self.model = answer.model
        self.body = b"" if answer.status in _EMPTY_STATUS else answer.content
        self.ends = [0, *accumulate(len(frame.data) for frame in answer.frames)]
        self.times = [frame.at / 1000 for frame in answer.frames]
        self.is_whole = (len(self.times) < 2 and not is_events) or not self.body
        if not self.is_whole and self.times and answer.end > answer.frames[-1].at + _LATE_END:
            self.ends.append(len(self.body))
            self.times.append(answer.end / 1000)
        self._ids: list[tuple[bytes, bytes]] | None = None

    @property
    def size(self) -> int:
        """The memory that it takes, in bytes."""
        return _OVERHEAD + len(self.body) + 100 * len(self.ends)

    def with_fresh_ids(self, unique: str) -> bytes:
        """Return the body with other ids of the same length, so that the frames still fit."""
        if self._ids is None:
            self._ids = [*dict.fromkeys(_ids(self.body))]
        body = self.body
        for prefix, rest in self._ids:
            seed = unique.encode() + prefix + rest
            body = body.replace(prefix + rest, prefix + shake_128(seed).digest(len(rest)).translate(_ALPHABET))
        return body

    def answer(self, request_id: str, body: bytes, speed: float) -> Reply | Stream:
        """Return the answer.

        Args:
            request_id: its request id.
            body: its body.
            speed: its speed; 0 sends it at once.
        """
        if not speed:
            return Reply(self.head, request_id, body)
        times = [time / speed for time in self.times]
        if self.is_whole:
            reply = Reply(self.head, request_id, body)
            if self.head.status not in _EMPTY_STATUS:  # Robyn would send chunks
                reply.due_times = iter(times)
            return reply
        ends = self.ends
        return Stream(self.head, request_id, iter(times), lambda begin, end: body[ends[begin] : ends[end]], len(times))


def _listed(routes: Sequence[str]) -> str:
    more = f" and {len(routes) - _MOST_ROUTES} more" if len(routes) > _MOST_ROUTES else ""
    return f"{'are' if len(routes) > 1 else 'is'} {', '.join(routes[:_MOST_ROUTES])}{more}"


class Replayer:
    """Answers requests from cassettes.

    Attributes:
        library: the recordings.
        settings: the settings.
        uses: the recordings that were replayed.
        takes_time: whether answers may be paced.
    """

    def __init__(
        self,
        library: Library,
        canonical: Canonical,
        settings: Cassettes,
        counters: Counters,
        uses: Uses,
        takes_header: bool,
        common: "Replayer | None" = None,
    ) -> None:
        """Take the parts.

        Args:
            library: the recordings.
            canonical: the canonical form of requests.
            settings: the settings.
            counters: count repeats.
            uses: the recordings that were replayed.
            takes_header: whether a request may set the speed.
            common: replays the recordings of all sessions, if these are those of one: the same ones count as used too.
        """
        self.library = library
        self.settings = settings
        self.uses = uses
        self.takes_time = bool(settings.speed) or takes_header
        self._canonical = canonical
        self._counters = counters
        self._takes_header = takes_header
        self._common = common
        self._ready: OrderedDict[int, Ready] = OrderedDict()
        self._size = 0
        self._numbers: dict[tuple[tuple[int, int], int], int] | None = None

    def answer(self, request: Request, unique: str, found: Found) -> Reply | Stream:
        """Return a recorded answer.

        Raises:
            ApiError: the request was repeated too often, its header is invalid, or the cassette was changed.
        """
        number = self._choose(request, found)
        ready = self._ready.get(number) or self._load(number)
        self.uses.note(number, found.drift)
        if self._common is not None:
            self._common.note(self.library.identity(number), found.drift)
        speed = self._speed_of(request) if self._takes_header else self.settings.speed
        request_id, body = ready.request_id or f"req_{unique}", ready.body
        if self.settings.ids == "fresh":
            request_id, body = f"req_{unique}", ready.with_fresh_ids(unique)
        answer = ready.answer(request_id, body, speed)
        answer.rule, answer.model = ready.name, ready.model
        if self._takes_header:
            answer.more = ((RULE_HEADER, ready.name.encode("ascii", "backslashreplace").decode()),)
        return answer

    def note(self, identity: tuple[tuple[int, int], int], differing: int) -> None:
        """Note that a recording was replayed, if it is one of these; see ``Library.identity``."""
        if self._numbers is None:
            self._numbers = {self.library.identity(number): number for number in range(len(self.library))}
        if (number := self._numbers.get(identity)) is not None:
            self.uses.note(number, differing)

    def _choose(self, request: Request, found: Found) -> int:
        """Return the number of the recording to replay."""
        numbers, repeats = found.numbers, self.settings.repeats
        if len(numbers) == 1 and repeats != "error":
            return numbers[0]
        session = provider_of(request).session_of(request)
        key = found.key
        if session:
            key ^= int.from_bytes(blake2b(session.encode(), digest_size=8).digest(), "big")
        count = self._counters.count(key or 1, _REPEATS) - 1
        if count < len(numbers):
            return numbers[count]
        if repeats == "error":
            raise errors.RecordingsUsedUp(len(numbers), self.library.name(numbers[-1]))
        return numbers[-1] if repeats == "last" else numbers[count % len(numbers)]

    def _load(self, number: int) -> Ready:
        """Read a recording, and keep it ready."""
        try:
            ready = Ready(self.library.answer(number), self.library.name(number))
        except InvalidRecordingError as error:
            raise errors.NoRecordingMatched(None, (str(error),)) from None
        self._ready[number] = ready
        self._size += ready.size
        while self._size > _MOST_BYTES and len(self._ready) > 1:
            self._size -= self._ready.popitem(last=False)[1].size
        return ready

    def _speed_of(self, request: Request) -> float:
        given = request.headers.get(SPEED_HEADER)
        if given is None:
            return self.settings.speed
        try:
            speed = float(given)
        except ValueError:
            speed = -1
        if not is_speed(speed):
            expected = f"expected 0, or a number from {SLOWEST:g} to {FASTEST:g}"
            raise errors.ApiError(400, f"Invalid '{SPEED_HEADER}': {expected}, but got '{given}'.", SPEED_HEADER)
        return speed

    def refuse(self, request: Request) -> errors.NoRecordingMatched:
        """Return the error for a request that is not recorded, with its nearest recording."""
        return errors.NoRecordingMatched(*self.explain_miss(request))

    def explain_miss(self, request: Request) -> tuple[str | None, tuple[str, ...]]:
        """Return the name of the nearest recording, None without one, and the differences that count."""
        nearest = self.library.nearest(request)
        if nearest is None:
            return None, (self._explain_route(request),)
        name = self.library.name(nearest.number)
        try:
            recorded = split(self.library.recording(nearest.number).request.body)
        except InvalidRecordingError as error:
            return name, (str(error),)
        ours = split(body_of(request))
        found = [
            f"{text} ({component})"
            for component in nearest.components
            for text in differences(recorded[component], ours[component], self._canonical.normal)
        ]
        return name, tuple(found)

    def _explain_route(self, request: Request) -> str:
        """Return why no recording has the route of a request."""
        sent, routes = self.library.route_of(request), self.library.routes
        if not routes:
            return "there are no recordings"
        of_path = [route for route in routes if route.partition("?")[0] == sent.partition("?")[0]]
        known = of_path or get_close_matches(sent, routes, _MOST_ROUTES) or routes
        return f"nothing is recorded for {sent}; recorded {_listed(known)}"

    def use(self) -> "CassetteUse":
        """Return which recordings were replayed, over all workers."""
        library, count = self.library, 0
        unused: list[Unused] = []
        drift: list[Drift] = []
        for number in range(len(library)):
            bits = self.uses.of(number)
            count += bool(bits)
            if not bits and len(unused) < MOST_NAMED:
                unused.append(Unused(library.name(number), library.digest(number)))
            if bits & (USED - 1) and len(drift) < MOST_NAMED:
                names = tuple(name for place, name in enumerate(COMPONENTS) if bits >> place & 1)
                drift.append(Drift(library.name(number), names))
        return CassetteUse(len(library), count, tuple(unused), tuple(drift))


@dataclass(frozen=True, slots=True)
class Drift:
    """A replayed recording whose request differed in components that need not agree."""

    recording: str
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unused:
    """A recording that was not replayed.

    Attributes:
        recording: its name.
        digest: identifies it although lines before it may be removed; see ``cassette.digest_of``.
    """

    recording: str
    digest: str


@dataclass(frozen=True, slots=True)
class CassetteUse:
    """The use of the cassettes.

    Attributes:
        recordings: the number of recordings.
        replayed: how many of them were replayed.
        unused: the others, up to ``MOST_NAMED``.
        drift: recordings that were replayed with drift, likewise.
    """

    recordings: int
    replayed: int
    unused: tuple[Unused, ...]
    drift: tuple[Drift, ...]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "CassetteUse":
        """Return the use that was written as JSON."""
        drift = tuple(Drift(one["recording"], tuple(one["components"])) for one in data["drift"])
        unused = tuple(Unused(**one) for one in data["unused"])
        return cls(data["recordings"], data["replayed"], unused, drift)
