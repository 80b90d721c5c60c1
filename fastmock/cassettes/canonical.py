"""The canonical form of a request: its components, without secrets and without what differs from run to run.

Recording and matching both use ``Canonical``: a request matches its own recording by construction.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import takewhile
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, urlencode

import orjson
import re2

from fastmock.cassettes.byte_patterns import compiled
from fastmock.cassettes.multipart import boundary_of, parts_of
from fastmock.cassettes.secrets import is_secret, redact_fields, scrub
from fastmock.cassettes.settings import COMPONENTS
from fastmock.core.http import Query

VERSION = 2
"""The version of the canonical form; recordings of another version are hashed again when they are loaded."""

_MODEL, _INSTRUCTIONS, _CONVERSATION, _TOOLS, _SAMPLING, _FORMAT, _OTHER = range(len(COMPONENTS))
_KEYS: Mapping[str, int] = {
    "model": _MODEL,
    **dict.fromkeys(("instructions", "system"), _INSTRUCTIONS),
    **dict.fromkeys(("messages", "input", "prompt", "previous_response_id", "conversation"), _CONVERSATION),
    **dict.fromkeys(
        ("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "max_tool_calls", "mcp_servers"),
        _TOOLS,
    ),
    **dict.fromkeys(
        ("temperature", "top_p", "top_k", "min_p", "seed", "max_tokens", "max_completion_tokens", "max_output_tokens"),
        _SAMPLING,
    ),
    **dict.fromkeys(
        ("presence_penalty", "frequency_penalty", "logit_bias", "stop", "stop_sequences", "best_of", "thinking"),
        _SAMPLING,
    ),
    **dict.fromkeys(("reasoning", "reasoning_effort", "verbosity"), _SAMPLING),
    **dict.fromkeys(("response_format", "text", "output_format", "output_config", "modalities"), _FORMAT),
    **dict.fromkeys(("encoding_format", "dimensions", "audio"), _FORMAT),
}
_SAFE = "/:@!$&'()*+,;=~-._[]"  # characters of a path that are not encoded
_INSTRUCTING = ("system", "developer")  # roles of messages
_SORTED = orjson.OPT_SORT_KEYS
_EMPTY = b""
EXACT_SIZE = 16
"""Bytes of the hash of a request as it was sent."""
_DIGEST = 8  # bytes of the hash of a component
NOTHING_HASHED = blake2b(_EMPTY, digest_size=_DIGEST).digest()
"""The hash of a component that a request does not have."""

_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_DATE = (
    r"\b\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?: ?(?:Z|UTC|GMT|[+-]\d{2}:?\d{2}))?)?\b"
    rf"|\b(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{{0,6}},? )?(?:(?:{_MONTHS})[a-z]{{0,6}}\.? \d{{1,2}}(?:st|nd|rd|th)?"
    rf"|\d{{1,2}}(?:st|nd|rd|th)? (?:{_MONTHS})[a-z]{{0,6}}),? \d{{4}}\b"
)
_UUID = r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
_ID = (
    r"\b(?:chatcmpl|cmpl|resp|msg|call|toolu|srvtoolu|fc|rs|req|item|run|conv|step|thread|ws|ci|fs|mcp|ctc)"
    r"[-_][A-Za-z0-9]{8,}\b"
)
_FORMS = (("date", _DATE), ("uuid", _UUID), ("id", _ID))


class Hashes(NamedTuple):
    """The hashes of a request.

    Attributes:
        route: the method and the path, and the query of a request without a body.
        components: the hash of each of ``COMPONENTS``.
    """

    route: str
    components: tuple[bytes, ...]


class Body(NamedTuple):
    """The body of a request in parsed form, without secrets.

    Attributes:
        form: ``json``, ``form``, ``multipart``, ``text``, ``bytes``, or empty without a body.
        value: the parsed body; for ``bytes`` its size and hash.
    """

    form: str
    value: Any

    def as_json(self) -> dict[str, Any] | None:
        """Return it as a cassette holds it."""
        return {self.form: self.value} if self.form else None

    @classmethod
    def from_json(cls, found: Any) -> "Body":
        """Return the body that a cassette holds."""
        if not found:
            return NO_BODY
        [(form, value)] = found.items()
        return cls(form, value)

    def scrubbed(self) -> "Body":
        """Return it without the secrets that an earlier version did not know."""
        return Body(self.form, orjson.loads(scrub(orjson.dumps(self.value)))) if self.form else self


NO_BODY = Body("", None)


def exact_hash(method: str, path: str, query: Query, body: str | bytes) -> bytes:
    """Return the hash of a request as it was sent; takes 1.5 µs for 1 KB."""
    sent = body.encode() if isinstance(body, str) else body
    route = f"{method} {path}" if sent else route_of(method, path, query, False)
    return blake2b(route.encode(errors="replace") + b"\0" + sent, digest_size=EXACT_SIZE).digest()


def route_of(method: str, path: str, query: Query, has_body: bool) -> str:
    """Return the part of a request that always has to match.

    The query of a request with a body does not count: not every runtime tells it.
    """
    path = quote(scrub(path.encode(errors="replace")), safe=_SAFE)
    if has_body or not query:
        return f"{method} {path}"
    fields = {name: query[name] for name in sorted(query) if not is_secret(name)}
    return f"{method} {path}?{urlencode(fields, doseq=True)}"


def parse_body(body: str | bytes, content_type: str, secrets: Sequence[bytes] = ()) -> Body:
    """Parse the body of a request and remove its secrets."""
    raw = body.encode() if isinstance(body, str) else body
    if not raw:
        return NO_BODY
    try:
        return Body("json", orjson.loads(scrub(orjson.dumps(orjson.loads(raw)), secrets)))
    except (orjson.JSONDecodeError, TypeError):  # the second one is raised for deeply nested values
        pass
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data" and (boundary := boundary_of(content_type)):
        found = parts_of(raw, boundary)
        if found is not None:
            return Body("multipart", [part.as_json(secrets) for part in found])
    if kind == "application/x-www-form-urlencoded":
        fields = parse_qs(raw.decode(errors="replace"), keep_blank_values=True)
        if fields:
            return Body("form", redact_fields(fields, secrets))
    try:
        return Body("text", scrub(raw, secrets).decode())
    except UnicodeDecodeError:
        return Body("bytes", {"size": len(raw), "blake2b": blake2b(raw, digest_size=16).hexdigest()})


class Canonical:
    """Hashes requests.

    Attributes:
        name: names the version and the patterns: equal names mean equal hashes.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """``patterns``: regular expressions of further parts of texts that may differ from run to run."""
        given = tuple(patterns)
        named = [*(f"(?P<p{place}>{pattern})" for place, pattern in enumerate(given))]
        named += [f"(?P<{name}>{form})" for name, form in _FORMS]
        self._varying = re.compile("|".join(named).encode())
        # Searching alone takes a tenth of the time of Python's own substitution, and many texts hold nothing.
        try:
            self._may_vary = compiled("|".join((*given, *dict(_FORMS).values())))
        except re2.error:  # a pattern with a lookaround or a backreference
            self._may_vary = self._varying
        suffix = blake2b("\0".join(given).encode(), digest_size=4).hexdigest() if given else ""
        self.name = f"{VERSION}{'-' if suffix else ''}{suffix}"

    def hashes(self, method: str, path: str, query: Query, body: Body) -> Hashes:
        """Return the hashes of a request."""
        texts = [self._normal(_dumped(part)) for part in _split(body)]
        route = route_of(method, path, query, bool(body.form))
        return Hashes(route, tuple(blake2b(text, digest_size=_DIGEST).digest() for text in texts))

    def _normal(self, text: bytes) -> bytes:
        """Return a text with placeholders for what differs from run to run.

        Equal ids get equal placeholders, so that a result of a tool still belongs to its call.
        """
        if not text or self._may_vary.search(text) is None:
            return text
        numbers: dict[bytes, int] = {}

        def placeholder(found: re.Match[bytes]) -> bytes:
            if found.lastgroup != "id":
                return b"<%s>" % str(found.lastgroup).encode()
            return b"<id %d>" % numbers.setdefault(found[0], len(numbers))

        return self._varying.sub(placeholder, text)

    def normal(self, text: str) -> str:
        """Return a text as it is compared."""
        return self._normal(text.encode()).decode(errors="replace")


def _dumped(part: Any) -> bytes:
    return _EMPTY if part is None else orjson.dumps(part, option=_SORTED)


def _split(body: Body) -> list[Any]:
    """Return the components of a body, in the order of ``COMPONENTS``; None for those that it does not have."""
    found: list[Any] = [None] * len(COMPONENTS)
    value = body.value
    if body.form != "json" or not isinstance(value, dict):
        if body.form:
            found[_OTHER if body.form in ("text", "bytes", "json") else _CONVERSATION] = value
        if body.form in ("multipart", "form"):
            return _split_fields(value, found)
        return found
    for name, inner in value.items():
        place = _KEYS.get(name, _OTHER)
        leading = 0
        if place == _CONVERSATION and isinstance(inner, list):
            leading = sum(1 for _ in takewhile(_instructs, inner))
        if leading:
            _put(found, _INSTRUCTIONS, name, inner[:leading])
        _put(found, place, name, inner[leading:] if leading else inner)
    return found


def _split_fields(value: Any, found: list[Any]) -> list[Any]:
    """Split the fields of a form."""
    found[_CONVERSATION] = None
    fields = value.items() if isinstance(value, dict) else [(part.get("name", ""), part) for part in value]
    for place, (name, inner) in enumerate(fields):
        is_file = isinstance(inner, dict) and "text" not in inner
        _put(found, _CONVERSATION if is_file else _KEYS.get(name, _OTHER), f"{name} {place}", inner)
    return found


def _put(found: list[Any], place: int, name: str, value: Any) -> None:
    if found[place] is None:
        found[place] = {}
    found[place][name] = value


def _instructs(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") in _INSTRUCTING


def split(body: Body) -> dict[str, Any]:
    """Return the components of a body by name."""
    return dict(zip(COMPONENTS, _split(body), strict=True))
