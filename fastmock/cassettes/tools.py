"""Tools for cassettes: list, show, check, prune and compare them."""

import fcntl
import os
import tempfile
from collections.abc import Collection, Generator, Iterable, Iterator
from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from fastmock.cassettes.answers import is_stream, last_user_text, plain_content, read_answer
from fastmock.cassettes.canonical import EXACT_SIZE, Canonical, Hashes, split
from fastmock.cassettes.cassette import (
    CassetteError,
    InvalidRecordingError,
    Line,
    RecordedAnswer,
    Recording,
    cassettes_in,
    digest_of,
    lines_of,
    parse_line,
)
from fastmock.cassettes.differences import differences
from fastmock.cassettes.secrets import is_secret, places_of_secrets, redact_fields
from fastmock.cassettes.settings import COMPONENTS

_LONGEST = 60  # characters of a message that are shown
_TIMES = ("created", "created_at", "completed_at")  # fields that differ in each answer
_MOST_CHANGES = 3  # differences between two answers that are shown


class Entry(NamedTuple):
    """A line of a cassette: the name of its recording, the line, and the recording or the reason why it is damaged."""

    name: str
    path: Path
    line: Line
    recording: Recording | None
    reason: str = ""


def entries_of(places: Iterable[Path]) -> Iterator[Entry]:
    """Yield all lines of the cassettes at some places.

    Raises:
        CassetteError: a place does not exist, or a file has no recording at all.
        OSError: a file cannot be read.
    """
    for path in dict.fromkeys(path for place in places for path in cassettes_in(place)):
        found = [*_entries_in(path)]
        if len(found) > 1 and all(entry.recording is None for entry in found):
            raise CassetteError(f"{path} is not a cassette: line {found[0].line.number} {found[0].reason}")
        yield from found


def _entries_in(path: Path) -> Iterator[Entry]:
    for line in lines_of(path.read_bytes()):
        name = f"{path}:{line.number}"
        try:
            yield Entry(name, path, line, parse_line(line.text))
        except InvalidRecordingError as error:
            reason = str(error) if line.ends else "is torn: its writer did not finish it"
            yield Entry(name, path, line, None, reason)


def listed(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield a line about each recording."""
    for name, _, _, recording, reason in entries:
        if recording is None:
            yield f"{name}  {reason}"
            continue
        request, answer, body = recording.request, recording.answer, recording.request.body.value
        model = f" {body['model']}" if isinstance(body, dict) and isinstance(body.get("model"), str) else ""
        text = last_user_text(body)
        shown = f"  {text[:_LONGEST]!r}" if text else ""
        frames = f"{len(answer.frames)} frames, " if len(answer.frames) != 1 else ""
        yield f"{name}  {request.method} {request.path}{model} -> {answer.status} ({frames}{answer.end:.0f} ms){shown}"


def shown(entry: Entry) -> Iterator[str]:
    """Yield the lines that show a recording."""
    recording = entry.recording
    if recording is None:
        yield f"{entry.name} {entry.reason}"
        return
    request, answer = recording.request, recording.answer
    query = "?" + "&".join(f"{k}={v}" for k, many in request.query.items() for v in many) if request.query else ""
    yield f"{entry.name}, recorded at {recording.at}"
    yield f"{request.method} {request.path}{query}"
    yield from (f"{name}: {value}" for name, value in request.headers.items())
    if request.body.form:
        value = request.body.value
        text = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
        yield from ("", *text.splitlines())
    yield from ("", f"{answer.status}, {answer.end:.0f} ms")
    yield from (f"{name}: {value}" for name, value in answer.headers.items())
    yield ""
    content = plain_content(answer)
    if len(answer.frames) > 1 and content == answer.content:
        for frame in answer.frames:
            yield from (f"{frame.at:>9.1f} ms  {text}" for text in _texts(frame.data))
        if is_stream(answer):
            yield from ("", "In short:", *_read(answer))
    elif content is not None:
        try:
            yield from orjson.dumps(orjson.loads(content), option=orjson.OPT_INDENT_2).decode().splitlines()
        except orjson.JSONDecodeError:
            yield from _texts(content)


def _read(answer: RecordedAnswer) -> Iterator[str]:
    """Yield the content of a stream, joined."""
    for name, value in _content_of(answer).items():
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        yield from (f"  {name}: {text}").splitlines()


def _content_of(answer: RecordedAnswer) -> dict[str, Any]:
    """Return the content of a stream, without what is empty."""
    found = read_answer(answer)
    calls = [{"name": call.name, "arguments": call.arguments} for call in found.calls]
    parts = {"reasoning": found.reasoning, "refusal": found.refusal, "text": found.text, "tool_calls": calls}
    return {name: value for name, value in (*parts.items(), ("error", found.error)) if value}


def _texts(data: bytes) -> list[str]:
    try:
        return [line for line in data.decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        return [f"<{len(data)} bytes>"]


def checked(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield a line about each recording that is damaged, holds a secret, or has wrong hashes."""
    canonical = Canonical()
    for name, _, _, recording, reason in entries:
        if recording is None:
            yield f"{name} {reason}"
            continue
        for place in dict.fromkeys(_secrets_in(recording)):
            yield f"{name} holds a secret in {place}"
        if recording.canonical == canonical.name and hashes_of(recording, canonical) != recording.hashes:
            yield f"{name} was edited: its hashes are not those of its request; 'check --rehash' mends it"


def _secrets_in(recording: Recording) -> Iterator[str]:
    """Yield the places of the secrets in a recording; they are those that a recorder would hide."""
    request, answer = recording.request, recording.answer
    for name, headers in (("request", request.headers), ("answer", answer.headers)):
        for header, value in headers.items():
            if is_secret(header) or [*places_of_secrets(value.encode())]:
                yield f"the header {header!r} of the {name}"
    query: Any = request.query
    fields = [("query", query)] + [("form", request.body.value)] * (request.body.form == "form")
    for name, pairs in fields:
        redacted = redact_fields(pairs)
        yield from (f"the parameter {one!r} of the {name}" for one in pairs if redacted.get(one) != pairs[one])
    if request.body.form != "form":
        yield from (f"the body of the request: {one}" for one in places_of_secrets(orjson.dumps(request.body.value)))
    content = plain_content(answer)
    yield from (
        f"the body of the answer: {one}" for one in places_of_secrets(content or answer.content, of_answer=True)
    )


def hashes_of(recording: Recording, canonical: Canonical) -> Hashes:
    """Return the hashes of the request of a recording."""
    request = recording.request
    return canonical.hashes(request.method, request.path, request.query, request.body)


class Pruning(NamedTuple):
    """Changes to cassettes: remove recordings by their digests, damaged lines, and repetitions of equal answers; hash
    edited requests again.
    """

    digests: Collection[str]
    damaged: bool
    duplicates: bool
    rehash: bool


def pruned(places: Iterable[Path], pruning: Pruning) -> Generator[str, None, set[str]]:
    """Remove recordings; yield a line about each that was removed or changed, and return the digests that were found.

    Each file is replaced as a whole, so that a running server keeps the one that it has opened.
    """
    seen: set[tuple[bytes, int, bytes]] = set()
    found: set[str] = set()
    canonical = Canonical()
    for path in dict.fromkeys(path for place in places for path in cassettes_in(place)):
        kept, changed = [], False
        _check_unused(path)
        for entry in entries_of([path]):
            recording, text = entry.recording, entry.line.text
            if recording is None:
                reason = "damaged" if pruning.damaged else ""
            else:
                key = (recording.exact, recording.answer.status, recording.answer.content)
                reason = ""
                if pruning.digests and (digest := digest_of(text)) in pruning.digests:
                    found.add(digest)
                    reason = "unused"
                if not reason and pruning.duplicates and key in seen:
                    reason = "a duplicate"
                seen.add(key)
                if pruning.rehash and hashes_of(recording, canonical) != recording.hashes:
                    text = _rehashed(recording, canonical)
                    changed = True
                    yield f"{entry.name} was hashed again"
            if reason:
                changed = True
                yield f"{entry.name} was removed: {reason}"
            else:
                kept.append(text + b"\n")
        if changed:
            _replace(path, b"".join(kept))
    return found


def _check_unused(path: Path) -> None:
    """Raise CassetteError if a recorder writes to a cassette."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CassetteError(f"{path} is being recorded to: stop its recorder first") from None


def _rehashed(recording: Recording, canonical: Canonical) -> bytes:
    """Return the line of a recording whose request was edited, which was never sent like this."""
    hashes = hashes_of(recording, canonical)
    exact = blake2b(b"".join((hashes.route.encode(), *hashes.components)), digest_size=EXACT_SIZE).digest()
    again = replace(recording, exact=exact, hashes=hashes, canonical=canonical.name, joined=None)
    return again.line().rstrip(b"\n")


def _replace(path: Path, content: bytes) -> None:
    """Replace a file at once; remove it if nothing is left."""
    if not content:
        path.unlink()
        return
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), path.stat().st_mode & 0o777)
    Path(name).replace(path)


def compared(before: Iterable[Entry], after: Iterable[Entry]) -> Iterator[str]:
    """Yield the differences between two sets of cassettes: requests, and answers to the same request."""
    olds, news = _by_request(before), _by_request(after)
    for key in dict.fromkeys((*olds, *news)):
        old, new = olds.get(key, []), news.get(key, [])
        for one, other in zip(old, new, strict=False):
            yield from _changes(*one, *other)
        yield from (f"- {next(listed([entry]))}" for entry, _ in old[len(new) :])
        yield from (f"+ {next(listed([entry]))}" for entry, _ in new[len(old) :])


def _by_request(entries: Iterable[Entry]) -> dict[tuple[str, bytes], list[tuple[Entry, Recording]]]:
    """Return the recordings by their request, without its sampling parameters."""
    canonical = Canonical()
    found: dict[tuple[str, bytes], list[tuple[Entry, Recording]]] = {}
    for entry in entries:
        if entry.recording is not None:
            route, hashes = hashes_of(entry.recording, canonical)
            key = route, b"".join(one for name, one in zip(COMPONENTS, hashes, strict=True) if name != "sampling")
            found.setdefault(key, []).append((entry, entry.recording))
    return found


def _changes(entry: Entry, old: Recording, other: Entry, new: Recording) -> Iterator[str]:
    """Yield the differences between two recordings of the same request."""
    found = [f"status is {new.answer.status}, it was {old.answer.status}"] * (new.answer.status != old.answer.status)
    before, after = split(old.request.body)["sampling"], split(new.request.body)["sampling"]
    found += [f"sampling: {one}" for one in differences(before, after)]
    found += [f"body: {one}" for one in _changes_of_body(old.answer, new.answer)]
    if found:
        yield f"! {entry.name} and {other.name}: {'; '.join(islice(found, _MOST_CHANGES))}"


def _changes_of_body(old: RecordedAnswer, new: RecordedAnswer) -> Iterable[str]:
    """Return the differences between two bodies, but for ids and times."""
    before, after = plain_content(old) or b"", plain_content(new) or b""
    if before == after:
        return ()
    if is_stream(old) and is_stream(new):
        return differences(_content_of(old), _content_of(new), Canonical().normal)
    try:
        one, other = _without_times(orjson.loads(before)), _without_times(orjson.loads(after))
    except orjson.JSONDecodeError:
        return [
            f"has {len(after)} bytes, it had {len(before)}; they differ from byte {_first_difference(before, after)}"
        ]
    return differences(one, other, Canonical().normal)


def _without_times(body: Any) -> Any:
    is_object = isinstance(body, dict)
    return {name: value for name, value in body.items() if name not in _TIMES} if is_object else body


def _first_difference(one: bytes, other: bytes) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (left, right) in pairs if left != right), min(len(one), len(other)))
