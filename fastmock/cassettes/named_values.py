"""Find the values of JSON fields that are named like credentials, in any text: also in JSON within JSON strings."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

import orjson

from fastmock.cassettes.byte_patterns import compiled
from fastmock.core.credentials import is_credential

Kind = Literal["secret", "ambiguous", "headers"]
"""How a name reads: as that of a secret; of a secret if its value looks random; of an object with HTTP headers."""


class Value(NamedTuple):
    """A value to hide.

    Attributes:
        name: the name of its field.
        begin, end: its first byte in the text, and that after its last one, without quotes.
        quote: the quotes that a text in its place needs; empty if it is a text itself.
        is_ambiguous: whether its field often holds something else.
    """

    name: str
    begin: int
    end: int
    quote: bytes
    is_ambiguous: bool = False


_words = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])").sub  # fooBar is foo_bar
_NOT_SECRET = frozenset(("prompt_cache_key", "cache_key"))
_is_cursor = re.compile(
    r"(?:.*[-_])?(?:next|prev|previous|page|continuation|sync|first|last|eos|bos|pad|unk|sep|cls|mask|stop|start|end)"
    r"(?:[-_]page)?[-_]token"
).fullmatch
"""Tokens of lists and of tokenizers."""
_ending = re.compile(r"(?<=.)[-_]?(?:[0-9]{1,2}|value|hash|confirm(?:ation)?)$").sub  # password2 is password
_is_secret_name = re.compile(
    r".+token|access[-_]tokens|bearer|(?:.*[-_])?(?:pat|dsn|connection[-_]?string)"
    r"|(?:.*[-_])?(?:access[-_]key|secret)[-_]?id|.*(?:auth|authori[sz]ation|jwt)"
    r"|.*(?:secret|password|passwd|passphrase|passcode|pwd|credential|cookie)s?"
    r"|(?:.*[-_.]|user|db)?pass|.*(?:access|api|auth|private|secret)[-_]?keys?|(?:.*[-_.])?org(?:ani[sz]ation)?[-_]?ids?"
    r"|(?:.*[^a-z])?(?:account|admin|app|client|consumer|encryption|license|master|personal|security|service|session"
    r"|shared|signing|subscription|tenant|user)[-_]?keys?"
).fullmatch
_is_organization = re.compile(r"(?:[a-z_-]{1,40}[-_])?(?:org(?:ani[sz]ation)?|project)(?:[-_]?id)?").fullmatch
_is_headers = re.compile(r"(?:.*[^a-z])?headers").fullmatch
_HARMLESS = re.compile(
    r"content-[a-z-]+|accept(?:-[a-z]+)?|user-agent|cache-control|host|origin|[a-z-]+-(?:version|beta)"
)
"""Headers whose values are no secrets."""
looks_random = re.compile(rb"(?=\D*\d)\S{12,}").fullmatch
_is_hidden = re.compile(rb"\*+|\[redacted(?: [0-9a-f]{8})?\]").fullmatch
_is_sentence = re.compile(rb"[a-z]*|.*\s.*", re.DOTALL).fullmatch
_has_scheme = re.compile(rb"(?i)(?:bearer|basic|token) +(?=\S{6})").match
_may_be_number = re.compile(r".*(?:password|passcode|secret|pwd|pass)").fullmatch
_is_identifier = re.compile(rb"[a-z_.-]{1,60}").fullmatch
_KEPT = ("type", "object")  # fields in an object of secrets that stay if they hold an identifier

_SPACE = rb"(?:\s|\\+[nrt])*"
# Finds the ends of all names that may be those of secrets, in a tenth of the time of Python's own search. A name that
# is only `token` counts if a long value follows, since logprobs have thousands of them.
_candidates = compiled(
    rb"(?i)(?:auth[^\"\\]{0,80}|cookie[^\"\\]{0,80}|(?:(?:key|secret|passw(?:or)?d|passphrase|passcode|pwd|credential)s?"
    rb"|[^\"\\]token|access[-_]?tokens|pass|jwt|headers|bearer|pat|dsn|connection[-_]?string|(?:key|secret)[-_]?id"
    rb"|org(?:ani[sz]ation)?(?:[-_]?ids?)?|project(?:[-_]?id)?)(?:[-_]?(?:[0-9]{1,2}|value|hash|confirm(?:ation)?))?)"
    rb"\\*\"(?:\s|\\+[nrt])*:"
    rb"|\"token\\*\"(?:\s|\\+[nrt])*:(?:\s|\\+[nrt])*(?:[{\[]|\\*\"[^\s\"]{12})"
).finditer
_SHORTEST = 8  # bytes of a plausible secret
_LONGEST_NAME = 80  # bytes
_marks = re.compile(rb'["{}\[\]]').search
_colon = re.compile(_SPACE + rb":" + _SPACE).match
_number = re.compile(rb"\d{4,}(?![\d.eE])").match
_of_logprobs = re.compile(rb'\s*,\s*"(?:logprob|bytes)"').match
_of_filter = re.compile(rb'\s*,\s*"value"').match

_LARGEST_SCHEMA = 65_536  # bytes
_SCHEMA = frozenset(
    (
        *("type", "description", "title", "format", "default", "enum", "const", "examples", "properties", "required"),
        *("items", "anyOf", "oneOf", "allOf", "$ref", "$defs", "additionalProperties", "minLength", "maxLength"),
        *("pattern", "nullable", "minItems", "maxItems", "minimum", "maximum", "readOnly", "writeOnly", "deprecated"),
    )
)
_SCHEMA_TEXTS = frozenset(("type", "description", "title", "format", "pattern", "$ref", "required"))
_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")


@lru_cache(maxsize=4096)
def kind_of(name: str) -> Kind | None:
    """Return how the name of a JSON field reads; None if it is not the name of a secret."""
    lower = _words("_", name).lower()
    lower = _ending("", lower)
    if lower in _NOT_SECRET or _is_cursor(lower):
        return None
    if _is_headers(lower):
        return "headers"
    if _is_secret_name(lower):
        return "secret"
    return "ambiguous" if _is_organization(lower) or is_credential(lower) else None


def is_plausible(value: bytes) -> bool:
    """Return whether a value may be a secret: not a word, a sentence or a short code."""
    return len(value) >= _SHORTEST and (_is_sentence(value) is None or _has_scheme(value) is not None)


def named_values(text: bytes, of_answer: bool = False) -> Iterator[Value]:
    """Yield the values to hide in a text, in their order; takes linear time.

    ``of_answer``: whether it is an answer, which must not lose anything else: there only plausible secrets count.
    """
    end = 0
    for found in _candidates(text):
        closing = text.index(b'"', found.start() + 1)
        if closing < end:
            continue  # it is within a value
        run = _backslashes(text, found.start(), closing)
        opening = text.rfind(b'"', max(end, closing - run - _LONGEST_NAME), closing)
        name = text[opening + 1 : closing - run].decode(errors="replace")
        kind = kind_of(name)
        level = _level(run)
        if opening < 0 or kind is None or run != (1 << level) - 1:
            continue
        colon = _colon(text, closing + 1)
        begin = closing if colon is None else colon.end()
        quote = b"\\" * run + b'"'
        found_here: Iterable[Value] = ()
        if text.startswith(quote, begin):
            begin += len(quote)
            stop = _end_of_text(text, begin, level)
            if _is_secret(kind, text, begin, stop, of_answer):
                found_here = (Value(name, begin, stop, b"", kind == "ambiguous"),)
        elif text[begin : begin + 1] in (b"{", b"["):
            found_here, end = _within(kind, name, text, begin, level, of_answer, end)
        elif not of_answer and kind == "secret" and _may_be_number(name.lower()):
            number = _number(text, begin)
            found_here = () if number is None else (Value(name, begin, number.end(), quote),)
        for one in found_here:
            end = max(end, one.end)
            yield one


def _within(
    kind: Kind, name: str, text: bytes, begin: int, level: int, of_answer: bool, end: int
) -> tuple[Iterable[Value], int]:
    """Return the values to hide in an object or a list, and the place at which to go on; ``end`` is that before it."""
    if kind == "ambiguous":
        if text.startswith(b"[", begin):
            inner = _texts_within(text, begin, level, is_flat=True)[0]
            texts = (one for one in inner if _is_secret(kind, text, one.begin, one.end, of_answer))
            return (Value(name, one.begin, one.end, b"", True) for one in texts), end
        return (), end
    # A tool call may name any headers, and those of secrets are found by their own names.
    if kind == "headers" and level:
        return (), end
    inner, stop = _texts_within(text, begin, level)
    if kind == "headers" and text.startswith(b"[", begin) and not any(one.name for one in inner):
        return (), end  # the heads of columns
    return _secrets_of(kind, text[begin:stop], name, text, inner, of_answer), stop


def _is_secret(kind: Kind, text: bytes, begin: int, end: int, of_answer: bool) -> bool:
    """Return whether a text is to be hidden."""
    value = text[begin:end]
    if not value or _is_hidden(value) or kind == "headers" or (of_answer and not is_plausible(value)):
        return False
    return kind == "secret" or (
        looks_random(value) is not None and not _of_logprobs(text, end + 1) and not _of_filter(text, end + 1)
    )


def _secrets_of(
    kind: Kind, value: bytes, name: str, text: bytes, inner: list[Value], of_answer: bool
) -> Iterator[Value]:
    """Yield the texts to hide within an object or a list."""
    is_schema = _is_schema(value)
    for one in inner:
        is_kept = (
            (is_schema and one.name in _SCHEMA_TEXTS)
            or (one.name in _KEPT and _is_identifier(text[one.begin : one.end]))
            or (kind == "headers" and _HARMLESS.fullmatch(one.name.lower()))
        )
        if not is_kept and _is_secret("secret", text, one.begin, one.end, of_answer):
            yield Value(f"{name}.{one.name}" if one.name else name, one.begin, one.end, b"")


def _is_schema(value: bytes) -> bool:
    """Return whether an object is the JSON Schema of a parameter."""
    if len(value) > _LARGEST_SCHEMA:
        return False
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(found, dict) or not found.keys() <= _SCHEMA:
        return False
    type_ = found.get("type", "object")
    types = type_ if isinstance(type_, list) else [type_]
    return bool(found) and all(one in _TYPES for one in types)


def _level(backslashes: int) -> int:
    """Return how many JSON strings a quote is in: in each, the backslashes before it become twice as many and one."""
    level = 0
    while backslashes & 1:
        backslashes >>= 1
        level += 1
    return level


def _backslashes(text: bytes, begin: int, end: int) -> int:
    """Return the number of backslashes before a byte."""
    place = end
    while place > begin and text[place - 1] == 0x5C:
        place -= 1
    return end - place


def _end_of_text(text: bytes, begin: int, level: int) -> int:
    """Return the end of a JSON string, without its quote."""
    place = begin
    while (quote := text.find(b'"', place)) >= 0:
        run = _backslashes(text, begin, quote)
        if (found := _level(run)) <= level:
            return quote - (1 << found) + 1
        place = quote + 1
    return len(text)


def _texts_within(text: bytes, begin: int, level: int, is_flat: bool = False) -> tuple[list[Value], int]:
    """Return the strings within an object or a list, with the names of their fields, and its end.

    ``is_flat``: whether to stop at the first object or list within it.
    """
    found: list[Value] = []
    depth, place, name = 0, begin, ""
    quote = b"\\" * ((1 << level) - 1) + b'"'
    while (mark := _marks(text, place)) is not None:
        at = mark.start()
        place = at + 1
        if mark[0] in b"{[":
            depth += 1
            if is_flat and depth > 1:
                break
        elif mark[0] in b"}]":
            depth -= 1
            if not depth:
                return found, place
        elif (run := _level(_backslashes(text, begin, at))) < level:
            return found, at  # the string around it ends
        elif run == level:
            end = _end_of_text(text, place, level)
            if _colon(text, end + len(quote)):
                name = text[place:end].decode(errors="replace")
            else:
                found.append(Value(name, place, end, b""))
            place = end + len(quote)
    return found, len(text)
