"""The recordings of all cassettes, in an index: their lines stay in the files until they are replayed."""

import gc
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar, NamedTuple

import orjson

from fastmock.cassettes.canonical import Body, Canonical, exact_hash, parse_body, route_of
from fastmock.cassettes.cassette import (
    InvalidRecordingError,
    Line,
    RecordedAnswer,
    Recording,
    cassettes_in,
    check_entry,
    digest_of,
    hashes_from,
    lines_of,
    parse_answer,
    parse_line,
)
from fastmock.cassettes.multipart import joined_hash
from fastmock.cassettes.secrets import secrets_of
from fastmock.cassettes.settings import COMPONENTS, Component
from fastmock.core.arrays import np
from fastmock.core.http import Request

_MOST_OPEN = 64  # files that are kept open
_MOST_FOUND = 4096  # requests whose recordings are remembered


class Damage(NamedTuple):
    """A line that cannot be used: its file, its number, and the reason."""

    file: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line} {self.reason}"


class Found(NamedTuple):
    """The recordings of a request, in the order in which they were made.

    Attributes:
        numbers: their numbers.
        drift: the components that differ from the recorded ones although the request matches: a bit for each.
        key: identifies the recorded request, to count its repeats; below 2**64 and not 0.
    """

    numbers: tuple[int, ...]
    drift: int
    key: int


class Nearest(NamedTuple):
    """The nearest recording to a request that matches none: its name, and the components that must agree but differ."""

    number: int
    components: tuple[Component, ...]


class Source:
    """A cassette that can be read.

    Attributes:
        path: the file.
        identity: its device and inode.
    """

    _open: ClassVar[dict["Source", int]] = {}
    """The descriptors of the sources opened last, for all libraries of the process."""
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: Path) -> None:
        """``path`` is the file."""
        self.path = path
        status = path.stat()
        self.identity = status.st_dev, status.st_ino

    def read(self, size: int, begin: int) -> bytes:
        """Read a part of the file; return nothing if it was replaced, or cannot be read any more."""
        with self._lock:
            descriptor = self._open.get(self)
            try:
                return os.pread(self._opened() if descriptor is None else descriptor, size, begin)
            except OSError:
                return b""

    def _opened(self) -> int:
        """Open the file, in place of the one opened first; with the lock held."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) != self.identity:
            os.close(descriptor)
            raise FileNotFoundError
        if len(self._open) >= _MOST_OPEN:
            os.close(self._open.pop(next(iter(self._open))))
        self._open[self] = descriptor
        return descriptor


class _Entry(NamedTuple):
    """The part of a line that is indexed, in the order of recordings."""

    at: str
    source: int
    line: int
    begin: int
    size: int
    route: str
    exact: bytes
    hashes: tuple[bytes, ...]
    joined: str


class Library:
    """Finds recordings.

    Attributes:
        damages: the lines that were left out.
        signature: identifies the recordings; below 2**64.
    """

    def __init__(self, places: Iterable[Path], canonical: Canonical, match: Sequence[Component]) -> None:
        """Read the cassettes at some places.

        Raises:
            OSError: a file cannot be read.
            CassetteError: a place does not exist.
        """
        self._canonical = canonical
        self._required = [place for place, name in enumerate(COMPONENTS) if name in match]
        self.damages: list[Damage] = []
        self._sources: list[Source] = []
        entries: list[_Entry] = []
        with _without_collection():
            for path in dict.fromkeys(path for place in places for path in cassettes_in(place)):
                entries += self._read(path)
            entries.sort(key=lambda entry: entry.at)  # stable: equal times keep the order of the files
            self._index(entries)
        names = [self.signature_of(places), canonical.name, self._required]
        digest = blake2b(repr(names).encode(), digest_size=8).digest()
        self.signature = int.from_bytes(digest, "big")
        self._known: dict[bytes, Found | None] = {}

    def __len__(self) -> int:
        return len(self._begins)

    @staticmethod
    def signature_of(places: Iterable[Path]) -> list[tuple[str, int, int, int]]:
        """Return the state of all files at some places: equal states mean equal recordings."""
        found = []
        for path in (path for place in places for path in cassettes_in(place)):
            status = path.stat()
            found.append((str(path), status.st_size, status.st_mtime_ns, status.st_ino))
        return found

    def _read(self, path: Path) -> Iterator[_Entry]:
        """Yield the entries of a cassette."""
        number = len(self._sources)
        self._sources.append(Source(path))
        data = path.read_bytes()
        damages, found = [], 0
        for line in lines_of(data):
            try:
                yield self._entry(number, line)
                found += 1
            except InvalidRecordingError as error:
                if line.ends:
                    damages.append(Damage(path, line.number, str(error)))
                # else it is torn: its writer was stopped while it wrote
        if len(damages) > 1 and not found:
            first = damages[0]
            damages = [Damage(path, first.line, f"{first.reason}; no line is a recording: this is not a cassette")]
        self.damages += damages

    def _entry(self, source: int, line: Line) -> _Entry:
        """Return the entry of a line; raise InvalidRecordingError if it is damaged."""
        try:
            found = orjson.loads(line.text)
        except orjson.JSONDecodeError as error:
            raise InvalidRecordingError(f"is not valid JSON: {error}") from None
        check_entry(found)
        if found["canonical"] == self._canonical.name:
            route, parts = found["route"], hashes_from(found["hashes"])
        else:
            request = found["request"]
            body = Body.from_json(request.get("body")).scrubbed()
            route, parts = self._canonical.hashes(request["method"], request["path"], request.get("query", {}), body)
        exact, joined = bytes.fromhex(found["exact"]), found.get("joined", "")
        return _Entry(found["at"], source, line.number, line.begin, len(line.text), route, exact, parts, joined)

    def _index(self, entries: Sequence[_Entry]) -> None:
        """Index the entries."""
        count = len(entries)
        self._files = np.fromiter((entry.source for entry in entries), np.uint32, count)
        self._lines = np.fromiter((entry.line for entry in entries), np.uint32, count)
        self._begins = np.fromiter((entry.begin for entry in entries), np.uint64, count)
        self._sizes = np.fromiter((entry.size for entry in entries), np.uint32, count)
        self._routes: dict[str, int] = {}
        routes = (self._routes.setdefault(entry.route, len(self._routes)) for entry in entries)
        self._route_of = np.fromiter(routes, np.uint32, count)
        joined = b"".join(part for entry in entries for part in entry.hashes)
        self._hashes = np.frombuffer(joined, np.uint64).reshape(count, len(COMPONENTS))
        exact: dict[bytes, list[int]] = {}
        keys: dict[bytes, list[int]] = {}
        self._by_joined: dict[tuple[str, str], bytes] = {}
        for number, entry in enumerate(entries):
            exact.setdefault(entry.exact, []).append(number)
            if entry.joined:
                known = self._by_joined.setdefault((entry.route, entry.joined), entry.exact)
                if known and known != entry.exact:  # which of the two forms was sent cannot be told
                    self._by_joined[entry.route, entry.joined] = b""
            keys.setdefault(self._key(entry.route, entry.hashes), []).append(number)
        self._exacts = {key: tuple(numbers) for key, numbers in exact.items()}
        self._by_key = {key: tuple(numbers) for key, numbers in keys.items()}
        self._exact_of = [entry.exact for entry in entries]

    def _key(self, route: str, hashes: Sequence[bytes]) -> bytes:
        """Return the hash of all that must agree."""
        parts = (route.encode(), *(hashes[place] for place in self._required))
        return blake2b(b"\0".join(parts), digest_size=12).digest()

    def find(self, request: Request) -> Found | None:
        """Return the recordings of a request; None if there are none.

        Equal requests are found by the hash of their bytes; others once by their components.
        """
        body = request.body
        exact = exact_hash(request.method, request.path, request.query, body)
        numbers = self._exacts.get(exact)
        if numbers is not None:
            return Found(numbers, 0, int.from_bytes(exact[:8], "big") or 1)
        if (known := self._known.get(exact, self)) is not self:
            return known  # type: ignore[return-value]
        found = self._find_similar(request)
        if len(self._known) >= _MOST_FOUND:
            for key in list(self._known)[: _MOST_FOUND // 2]:
                self._known.pop(key, None)
        self._known[exact] = found
        return found

    def _find_similar(self, request: Request) -> Found | None:
        """Return the recordings whose required components are those of a request, of the most similar request."""
        route, hashes = self._hashes_of(request)
        numbers = self._by_key.get(self._key(route, hashes))
        if numbers is None:
            return self._find_joined(route, request)
        ours = np.frombuffer(b"".join(hashes), np.uint64)
        differing = self._hashes[list(numbers)] != ours
        row = self._hashes[numbers[int(differing.sum(axis=1).argmin())]]
        # Requests that differ only in what is normalized are repeats of one.
        equal = tuple(number for number in numbers if (self._hashes[number] == row).all())
        drift = sum(1 << int(place) for place in np.flatnonzero(row != ours))
        key = blake2b(route.encode(errors="replace") + row.tobytes(), digest_size=8).digest()
        return Found(equal, drift, int.from_bytes(key, "big") or 1)

    def _find_joined(self, route: str, request: Request) -> Found | None:
        """Return the recordings of a form, of which the runtime shows only the contents of its parts, joined."""
        if not self._by_joined or not (request.headers.get("content-type") or "").startswith("multipart/"):
            return None
        sent = request.body.encode() if isinstance(request.body, str) else request.body
        exact = self._by_joined.get((route, joined_hash(sent).hex()), b"")
        return None if not exact else Found(self._exacts[exact], 0, int.from_bytes(exact[:8], "big") or 1)

    def _hashes_of(self, request: Request) -> tuple[str, tuple[bytes, ...]]:
        return self._canonical.hashes(request.method, request.path, request.query, body_of(request))

    def nearest(self, request: Request) -> Nearest | None:
        """Return the recording of the same route that differs in the fewest components; None without one."""
        route, hashes = self._hashes_of(request)
        number = self._routes.get(route)
        if number is None:
            return None
        of_route = np.flatnonzero(self._route_of == number)
        ours = np.frombuffer(b"".join(hashes), np.uint64)
        differing = self._hashes[of_route] != ours
        weights = np.ones(len(COMPONENTS))
        weights[self._required] = len(COMPONENTS)
        place = int((differing * weights).sum(axis=1).argmin())
        names = tuple(COMPONENTS[one] for one in self._required if differing[place][one])
        return Nearest(int(of_route[place]), names)

    @property
    def routes(self) -> list[str]:
        """All recorded routes: method, path, and the query of requests without a body."""
        return [*self._routes]

    @staticmethod
    def route_of(request: Request) -> str:
        """Return the route of a request."""
        return route_of(request.method, request.path, request.query, bool(request.body))

    def name(self, number: int) -> str:
        """Return the name of a recording: its file and line."""
        return f"{self._sources[self._files[number]].path}:{self._lines[number]}"

    def identity(self, number: int) -> tuple[tuple[int, int], int]:
        """Return what identifies a recording among all files: that of its file, and its place there."""
        return self._sources[self._files[number]].identity, int(self._begins[number])

    def _text(self, number: int) -> bytes:
        """Read the line of a recording."""
        source: Source = self._sources[self._files[number]]
        return source.read(int(self._sizes[number]), int(self._begins[number]))

    def digest(self, number: int) -> str:
        """Return the digest of a recording; see ``cassette.digest_of``."""
        return digest_of(self._text(number))

    def recording(self, number: int) -> Recording:
        """Read a recording.

        Raises:
            InvalidRecordingError: the file was changed since it was indexed.
        """
        with suppress(InvalidRecordingError):
            found = parse_line(self._text(number))
            if found.exact == self._exact_of[number]:
                return found
        raise self._changed(number)

    def answer(self, number: int) -> RecordedAnswer:
        """Read the answer of a recording; raise as ``recording`` does."""
        found = parse_answer(self._text(number), self._exact_of[number])
        if found is None:
            raise self._changed(number)
        return found

    def _changed(self, number: int) -> InvalidRecordingError:
        path = self._sources[self._files[number]].path
        return InvalidRecordingError(f"{path} was changed; reload the configuration to use it")


def body_of(request: Request) -> Body:
    """Return the body of a request in parsed form, without secrets."""
    body = request.body.encode(errors="replace") if isinstance(request.body, str) else request.body
    secrets = secrets_of(request.headers.items(), request.query, body)
    return parse_body(body, request.headers.get("content-type") or "", secrets)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Suspend the garbage collector: it would search the growing index again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
