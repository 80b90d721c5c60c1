"""A cassette: JSON lines, each with a request and its answer. See ``docs/cassette.schema.json``."""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from fastmock.cassettes.canonical import EXACT_SIZE, NOTHING_HASHED, Body, Canonical, Hashes
from fastmock.cassettes.settings import COMPONENTS
from fastmock.core.content_encoding import CODINGS

VERSION = 1
"""The version of the format."""
SUFFIX = ".jsonl"
_LARGEST_VIEW = 1 << 20  # bytes
_LONGEST = 86_400_000  # milliseconds of an answer
_is_header_name = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+").fullmatch
_FORMS: dict[str, type | tuple[type, ...]] = {
    "json": object,
    "text": str,
    "form": dict,
    "multipart": list,
    "bytes": dict,
}


class Frame(NamedTuple):
    """A part of a body as it arrived; ``at`` is the time in milliseconds since the request came in."""

    at: float
    data: bytes


class InvalidRecordingError(ValueError):
    """A line of a cassette is damaged or of another version; the message says why."""


class CassetteError(Exception):
    """A cassette cannot be read or changed as wished."""


@dataclass(frozen=True)
class RecordedRequest:
    """A recorded request, without secrets.

    Attributes:
        method, path: the method and the decoded path.
        query: the query parameters.
        headers: the headers that are worth recording.
        body: see ``canonical.Body``.
    """

    method: str
    path: str
    query: dict[str, list[str]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: Body = Body("", None)  # noqa: RUF009 - it never changes


@dataclass(frozen=True)
class RecordedAnswer:
    """A recorded answer.

    Attributes:
        status: the HTTP status.
        headers: the headers that are worth recording.
        frames: the body, as it arrived.
        end: milliseconds from the request to the end of the body.
        model: the model that was asked for; empty if there was none, or it was not read.
    """

    status: int
    headers: dict[str, str]
    frames: Sequence[Frame]
    end: float
    model: str = ""

    @property
    def content(self) -> bytes:
        """The whole body."""
        return b"".join(frame.data for frame in self.frames)


@dataclass(frozen=True)
class Recording:
    """A recorded request with its answer: a line of a cassette.

    Attributes:
        at: the time at which the request came in, UTC in ISO 8601.
        request, answer: see there.
        exact: the hash of the request as it was sent.
        hashes: the hashes of its components.
        canonical: names the canonical form that they are the hashes of.
        joined: see ``multipart.joined_hash``; None for other bodies.
    """

    at: str
    request: RecordedRequest
    answer: RecordedAnswer
    exact: bytes
    hashes: Hashes
    canonical: str
    joined: bytes | None = None

    def line(self) -> bytes:
        """Return the line of a cassette, with its end."""
        request, answer = self.request, self.answer
        entry: dict[str, Any] = {
            "version": VERSION,
            "at": self.at,
            "request": {
                "method": request.method,
                "path": request.path,
                **({"query": request.query} if request.query else {}),
                **({"headers": request.headers} if request.headers else {}),
                **({"body": body} if (body := request.body.as_json()) else {}),
            },
            "exact": self.exact.hex(),
            **({} if self.joined is None else {"joined": self.joined.hex()}),
            "canonical": self.canonical,
            "route": self.hashes.route,
            "hashes": {
                name: one.hex()
                for name, one in zip(COMPONENTS, self.hashes.components, strict=True)
                if one != NOTHING_HASHED
            },
            "answer": {
                "status": answer.status,
                "headers": answer.headers,
                "frames": [[frame.at, _written(frame.data)] for frame in answer.frames],
                "end": answer.end,
            },
        }
        if (view := view_of(answer)) is not None:
            entry["answer"]["view"] = view
        return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)


def recording_of(
    request: RecordedRequest,
    answer: RecordedAnswer,
    at: str,
    exact: bytes,
    canonical: Canonical,
    joined: bytes | None,
) -> Recording:
    """Return a recording; ``exact`` is the hash of the request as it was sent, for ``joined`` see Recording."""
    hashes = canonical.hashes(request.method, request.path, request.query, request.body)
    return Recording(at, request, answer, exact, hashes, canonical.name, joined)


def parse_line(line: bytes) -> Recording:
    """Parse a line of a cassette; raise InvalidRecordingError if it is damaged."""
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidRecordingError(f"is not valid JSON: {error}") from None
    check_entry(entry)
    request = entry["request"]
    return Recording(
        entry["at"],
        RecordedRequest(
            request["method"],
            request["path"],
            request.get("query", {}),
            request.get("headers", {}),
            Body.from_json(request.get("body")),
        ),
        _answer_from(entry["answer"]),
        bytes.fromhex(entry["exact"]),
        Hashes(entry["route"], hashes_from(entry["hashes"])),
        entry["canonical"],
        bytes.fromhex(entry["joined"]) if "joined" in entry else None,
    )


def _answer_from(answer: dict[str, Any], model: str = "") -> RecordedAnswer:
    frames = [Frame(at, _read(data)) for at, data in answer["frames"]]
    return RecordedAnswer(answer["status"], answer["headers"], frames, answer["end"], model)


def parse_answer(line: bytes, exact: bytes) -> RecordedAnswer | None:
    """Return the answer of a line that was checked before; None if the line has changed, as the hash of its request, or
    the damage, shows.

    Takes a third of the time of ``parse_line``.
    """
    try:
        entry = orjson.loads(line)
        if entry["exact"] != exact.hex():
            return None
        body = (entry["request"].get("body") or {}).get("json")
        model = body.get("model") if isinstance(body, dict) else None
        return _answer_from(entry["answer"], model if isinstance(model, str) else "")
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def hashes_from(written: dict[str, str]) -> tuple[bytes, ...]:
    """Return the hashes of all components; a cassette leaves those of missing ones out."""
    return tuple(bytes.fromhex(written[name]) if name in written else NOTHING_HASHED for name in COMPONENTS)


def check_entry(entry: Any) -> None:
    """Check a parsed line of a cassette: whatever passes can be indexed, matched, shown and replayed.

    Raises:
        InvalidRecordingError: it is damaged.
    """
    try:
        if entry["version"] != VERSION:
            raise InvalidRecordingError(f"has version {entry['version']!r}, but this fastmock reads version {VERSION}")
        _check_hashes(entry)
        _check_request(entry["request"])
        _check_answer(entry["answer"])
    except KeyError as error:
        raise InvalidRecordingError(f"lacks {error.args[0]!r}") from None
    except InvalidRecordingError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidRecordingError(f"is not a recording: {error}") from None


def _require(is_true: bool, what: str) -> None:
    if not is_true:
        raise InvalidRecordingError(f"has an invalid {what}")


def _check_hashes(entry: dict[str, Any]) -> None:
    _require(all(type(entry[name]) is str for name in ("at", "route", "canonical")), "time, route or canonical form")
    _require(len(bytes.fromhex(entry["exact"])) == EXACT_SIZE, "hash 'exact'")
    _require(all(len(one) == len(NOTHING_HASHED) for one in hashes_from(entry["hashes"])), "hash of a component")
    if "joined" in entry:
        _require(len(bytes.fromhex(entry["joined"])) == EXACT_SIZE, "hash 'joined'")


def _check_request(request: dict[str, Any]) -> None:
    _require(type(request["method"]) is type(request["path"]) is str, "method or path")
    _require(_are_texts(request.get("headers", {})), "header of the request")
    query = request.get("query", {})
    _require(type(query) is dict and all(_is_list_of_texts(values) for values in query.values()), "query")
    body = request.get("body")
    if body is not None:
        _require(type(body) is dict and len(body) == 1, "body")
        [(form, value)] = body.items()
        _require(form in _FORMS and isinstance(value, _FORMS[form]), "body")
        _require(form != "multipart" or all(_is_part(part) for part in value), "body")
        _require(form != "form" or all(_is_list_of_texts(values) for values in value.values()), "body")


def _check_answer(answer: dict[str, Any]) -> None:
    status = answer["status"]
    _require(type(status) is int and 200 <= status <= 599, f"status {status!r}")
    _require(_are_texts(answer["headers"]), "header of the answer")
    last = 0
    for at, data in answer["frames"]:
        if type(data) is not str:
            _read(data)
        if type(at) not in (int, float) or not last <= at <= _LONGEST:
            raise InvalidRecordingError(f"has the invalid time {at!r}")
        last = at
    end = answer["end"]
    _require(type(end) in (int, float) and last <= end <= _LONGEST, "end")


def _are_texts(headers: Any) -> bool:
    """Return whether these are headers that can be sent."""
    return type(headers) is dict and all(
        _is_header_name(name) and type(value) is str and value.isascii() and value.isprintable()
        for name, value in headers.items()
    )


def _is_list_of_texts(values: Any) -> bool:
    return type(values) is list and all(type(value) is str for value in values)


def _is_part(part: Any) -> bool:
    return type(part) is dict and type(part.get("name", "")) is str


def _written(data: bytes) -> str | dict[str, str]:
    """Return the data of a frame as JSON: text, or base64 where it is not text."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _read(data: Any) -> bytes:
    if isinstance(data, str):
        return data.encode()
    return base64.b64decode(data["base64"], validate=True)


def view_of(answer: RecordedAnswer) -> Any:
    """Return the body of an answer for people, if its frames hide it: they are compressed, or binary.

    It serves no other purpose.
    """
    coding = coding_of(answer.headers)
    if coding == "identity":
        return None
    content = decompressed(answer.content, coding)
    if content is None:
        return None
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            return content.decode()
        except UnicodeDecodeError:
            return None


def coding_of(headers: Mapping[str, str]) -> str:
    """Return the content coding that headers name; ``identity`` without one."""
    return headers.get("content-encoding", "").strip().lower() or "identity"


def decompressed(content: bytes, coding: str, limit: int = _LARGEST_VIEW) -> bytes | None:
    """Return a decompressed body; None if that is not possible, or if it is larger than ``limit``."""
    decode = CODINGS.get(coding)
    try:
        found = None if decode is None else decode(content, limit)
    except ValueError:
        return None
    return None if found is None or len(found) > limit else found


def cassettes_in(place: Path) -> list[Path]:
    """Return the cassettes at a place: the file with those of further workers beside it, or all
    of a directory and those below it, in order.

    Raises:
        CassetteError: there is no such place.
    """
    if place.is_dir():
        return sorted(path for path in place.rglob(f"*{SUFFIX}") if path.is_file())
    if place.is_file():
        # Further workers of a recorder write beside it.
        beside = {int(path.suffixes[-2][1:]): path for path in _numbered(place)} if place.suffix == SUFFIX else {}
        return [place, *(beside[number] for number in sorted(beside))]
    raise CassetteError(f"{place} does not exist")


def _numbered(place: Path) -> list[Path]:
    pattern = re.compile(rf"{re.escape(place.stem)}\.[1-9]\d{{0,3}}{re.escape(SUFFIX)}")
    return [path for path in place.parent.iterdir() if pattern.fullmatch(path.name) and path.is_file()]


class Line(NamedTuple):
    """A line of a cassette.

    Attributes:
        number: its number, from 1.
        begin: the index of its first byte in the file.
        text: its bytes, without the end.
        ends: whether it has an end; the last line of a file may have none.
    """

    number: int
    begin: int
    text: bytes
    ends: bool


def lines_of(data: bytes) -> Iterator[Line]:
    """Yield the lines of a cassette that are not empty."""
    begin, number = 0, 1
    while begin < len(data):
        end = data.find(b"\n", begin)
        ends, stop = end >= 0, end if end >= 0 else len(data)
        text = data[begin:stop]
        if text.strip():
            yield Line(number, begin, text, ends)
        begin, number = stop + 1, number + 1


def digest_of(line: bytes) -> str:
    """Return a hash of a line, without its end: it identifies a recording wherever it is."""
    return blake2b(line, digest_size=12).hexdigest()
