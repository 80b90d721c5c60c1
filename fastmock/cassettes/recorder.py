"""Write recordings: choose the headers, remove the secrets, and append each recording as one line."""

import errno
import fcntl
import logging
import os
import re
from array import array
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fastmock.cassettes.canonical import Canonical, exact_hash, parse_body
from fastmock.cassettes.cassette import (
    SUFFIX,
    Frame,
    RecordedAnswer,
    RecordedRequest,
    coding_of,
    decompressed,
    recording_of,
)
from fastmock.cassettes.multipart import boundary_of, joined_hash, parts_of
from fastmock.cassettes.secrets import is_secret, mask, redact_fields, scrub_text, secrets_of
from fastmock.core.content_encoding import CODINGS
from fastmock.core.http import Request
from fastmock.core.text import printable

_LOG = logging.getLogger("fastmock")

_OF_REQUESTS = re.compile(r"content-type|accept|(?!x-stainless-)[a-z-]+-(?:version|beta)")
_OF_ANSWERS = re.compile(
    r"content-(?:type|encoding|language|disposition|range)|location|accept-ranges|etag|last-modified|cache-control|vary|retry-after(?:-ms)?|x-should-retry"
    r"|(?:x-)?request-id|[a-z-]*ratelimit-[a-z-]+|[a-z-]+-(?:version|model|processing-ms)"
)
_LARGEST_PLAIN = 1 << 28  # bytes of a decompressed body
_MOST_NAMES = 1000  # files of recorders that write to one directory at a time


class NotRecordedError(Exception):
    """An answer cannot be recorded; the message says why."""


class Exchange:
    """A request and its answer, while it arrives.

    Attributes:
        name: the method and the path of the request, for messages.
        size: the bytes of the body so far.
    """

    def __init__(self, request: Request, start: float) -> None:
        """``start``: the time at which the request came in, in seconds of the caller's clock."""
        self._request = request
        self.name = f"{request.method} {printable(request.path)}"
        self._start = start
        self._at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        self._status = 0
        self._headers: Sequence[tuple[str, str]] = ()
        # Not a list of frames: tens of thousands of them would keep the garbage collector busy.
        self._times = array("d")
        self._parts: list[bytes] = []
        self.size = 0

    def begin(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Note the head of the answer."""
        self._status, self._headers = status, headers

    def add(self, data: bytes, now: float) -> None:
        """Note a part of the body."""
        self._times.append(self._since(now))
        self._parts.append(data)
        self.size += len(data)

    def forget(self) -> None:
        """Drop the body, which is too large."""
        del self._times[:], self._parts[:]

    def _since(self, now: float) -> float:
        return round((now - self._start) * 1000, 3)

    def line(self, end: float, canonical: Canonical, allowed: Iterable[str] = ()) -> bytes:
        """Return the line of a cassette, without secrets.

        Args:
            end: the time at which the body ended.
            canonical: hashes the request.
            allowed: further headers to record.

        Raises:
            NotRecordedError: it cannot be recorded without secrets.
        """
        request, names = self._request, frozenset(name.lower() for name in allowed)
        sent = [*request.headers.items()]
        query = {name: [*values] for name, values in request.query.items()}
        sent_body = request.body.encode() if isinstance(request.body, str) else request.body
        secrets = secrets_of((*sent, *self._headers), query, sent_body)

        def chosen(headers: Iterable[tuple[str, str]], is_known: re.Pattern[str]) -> dict[str, str]:
            found: dict[str, str] = {}
            for name, value in headers:
                is_chosen = is_known.fullmatch(name) or name in names
                if is_chosen and not is_secret(name) and value.isascii() and value.isprintable():
                    text = scrub_text(value, secrets)
                    found[name] = f"{found[name]}, {text}" if name in found else text
            return found

        content_type = request.headers.get("content-type") or ""
        body = parse_body(sent_body, content_type, secrets)
        path = scrub_text(request.path, secrets)
        chosen_headers = chosen(sent, _OF_REQUESTS)
        recorded = RecordedRequest(request.method, path, redact_fields(query, secrets), chosen_headers, body)
        headers = chosen(self._headers, _OF_ANSWERS)
        frames = _without_secrets([*map(Frame, self._times, self._parts)], headers, secrets)
        answer = RecordedAnswer(self._status, headers, frames, self._since(end))
        exact = exact_hash(request.method, request.path, request.query, request.body)
        joined = _joined(sent_body, content_type) if body.form == "multipart" else None
        return recording_of(recorded, answer, self._at, exact, canonical, joined).line()


def _joined(body: bytes, content_type: str) -> bytes:
    parts = parts_of(body, boundary_of(content_type)) or ()
    return joined_hash(b"".join(part.content for part in parts))


def _without_secrets(frames: list[Frame], headers: dict[str, str], secrets: Sequence[bytes]) -> list[Frame]:
    """Return the frames of a body without secrets; a compressed body with secrets is decompressed."""
    content = b"".join(frame.data for frame in frames)
    coding = coding_of(headers)
    if coding != "identity" and content:
        plain = decompressed(content, coding, _LARGEST_PLAIN)
        if plain is None:
            reason = "is damaged" if coding in CODINGS else "is unknown"
            raise NotRecordedError(f"its content coding {coding!r} {reason}, which hides whether it has secrets")
        if mask(plain, secrets) == plain:
            return frames
        del headers["content-encoding"]
        return [Frame(frames[-1].at, mask(plain, secrets))]
    masked = mask(content, secrets)
    if masked == content:
        return frames
    found, begin = [], 0
    for frame in frames:
        end = begin + len(frame.data)
        found.append(Frame(frame.at, masked[begin:end]))
        begin = end
    return found


class CassetteWriter:
    """Appends lines to a cassette of its own, each in one write.

    Attributes:
        path: the file; it is created with the first line.
    """

    def __init__(self, place: Path, worker: int) -> None:
        """Write to a directory, or to a file for the first worker and to others beside it for the rest."""
        self._place = place
        self._worker = worker
        self._descriptor: int | None = None
        self._failed = False
        self.path: Path | None = None

    def write(self, line: bytes) -> bool:
        """Append a line; return whether it was written. After a failure, nothing more is."""
        if self._failed:
            return False
        try:
            if self._descriptor is not None and not os.fstat(self._descriptor).st_nlink:  # it was removed, or replaced
                os.close(self._descriptor)
                self._descriptor = None
            if self._descriptor is None:
                self._descriptor = self._open()
            size = os.fstat(self._descriptor).st_size
            if (written := os.write(self._descriptor, line)) < len(line):
                os.ftruncate(self._descriptor, size)  # nobody else writes to it
                raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes were written")
        except OSError as error:
            self._failed = True
            where = self.path or self._place
            _LOG.error("recording stops, requests are still forwarded: %s: %s", where, error.strerror)
            return False
        return True

    def _open(self) -> int:
        """Open the first file that no other recorder writes to; remove a torn line at its end."""
        for number in range(self._worker, self._worker + _MOST_NAMES):
            path = self._named(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            _remove_torn_line(descriptor)
            self.path = path
            return descriptor
        raise OSError(errno.EBUSY, "other recorders write to all of its files")

    def _named(self, number: int) -> Path:
        if self._place.suffix != SUFFIX:
            return self._place / f"recorded-{number}{SUFFIX}"
        return self._place if not number else self._place.with_name(f"{self._place.stem}.{number}{SUFFIX}")


def _remove_torn_line(descriptor: int) -> None:
    """Remove a last line that its writer did not finish."""
    size = end = os.fstat(descriptor).st_size
    while end:
        begin = max(0, end - 65_536)
        found = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        if found >= 0:
            end = begin + found + 1
            break
        end = begin
    if end < size:
        os.ftruncate(descriptor, end)
