"""A text in which a regular expression is found."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from random import Random
from re import _constants as sre  # type: ignore[attr-defined]  # not public; a test holds what is used of it
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import re2

_MORE = 3  # repetitions beyond the least
_LONGEST = 10_000  # characters
_TRIES = 50
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_CATEGORIES = {
    sre.CATEGORY_DIGIT: "0123456789",
    sre.CATEGORY_NOT_DIGIT: _LETTERS,
    sre.CATEGORY_SPACE: " ",
    sre.CATEGORY_NOT_SPACE: _LETTERS,
    sre.CATEGORY_WORD: _LETTERS + "0123456789_",
    sre.CATEGORY_NOT_WORD: " -.",
}
_PRINTABLE = [chr(code) for code in range(32, 127)]
_FURTHER = [char for char in map(chr, range(160, 0x3100)) if char.isalpha()]
_PIECES = re.compile(
    r"\[\^\](?!.*\])|\(\?<(?=[A-Za-z_$])|\\k<\w+>|\\c[A-Za-z]|\\u\{[0-9A-Fa-f]{1,8}\}|\\[pP]\{[\w=]+\}|\\.|.", re.DOTALL
)
_KINDS = {
    "L": "a-zA-Z",
    "Lu": "A-Z",
    "Ll": "a-z",
    "N": "0-9",
    "P": "!-#%-*,-/",
    "Z": " ",
    "S": "$+<->",
    "C": r"\x00-\x1f",
    "Uppercase_Letter": "A-Z",
    "Lowercase_Letter": "a-z",
    "Uppercase": "A-Z",
    "Lowercase": "a-z",
    "Alphabetic": "a-z",
    "Han": "\u4e00-\u9fa5",
    "Cyrillic": "\u0430-\u044f",
    "Greek": "\u03b1-\u03c9",
    "Latin": "a-zA-Z",
}  # characters of those that Unicode has by these names


class PatternError(Exception):
    """No text is known in which the pattern is found."""


@lru_cache(1024)
def searcher(pattern: str) -> Callable[[str], Any]:
    """Return what looks for a pattern in a text.

    Raises:
        PatternError: it cannot be read.
    """
    options = re2.Options()
    options.log_errors = False
    for one in (pattern, _translated(pattern)):
        try:
            return re2.compile(one, options).search  # type: ignore[no-any-return]
        except re2.error:
            pass
        try:
            return re.compile(one).search
        except (re.error, OverflowError, RecursionError) as error:
            told = error
    raise PatternError(f"is not a regular expression: {told}")


def _parsed(pattern: str) -> Any:
    """Return a pattern in parts; what only browsers know in words of Python, as near as they come."""
    try:
        return _parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        try:
            return _parser.parse(_translated(pattern))
        except (re.error, OverflowError, RecursionError):
            raise PatternError(f"is not a regular expression: {error}") from None


def _translated(pattern: str) -> str:
    """Return a pattern as Python writes it, with ASCII for most of what Unicode names."""
    in_class = False
    parts = []
    for part in _PIECES.findall(pattern):
        if part.startswith("["):
            in_class = part == "["
        elif part == "]":
            in_class = False
        parts.append(_piece(part, in_class))
    return "".join(parts)


def _piece(part: str, in_class: bool) -> str:
    if part == "[^]":
        return r"[\s\S]"
    if part.startswith("(?<"):
        return f"(?P<{part[3:]}"
    if part.startswith(r"\k<"):
        return f"(?P={part[3:-1]})"
    if part.startswith(r"\c"):
        return f"\\x{ord(part[2]) % 32:02x}"
    if part.startswith(r"\u{"):
        return f"\\U{part[3:-1]:>08}"
    if part.lower().startswith(r"\p{"):
        kind = part[3:-1].rpartition("=")[2]
        chars = _KINDS.get(kind) or _KINDS.get(kind[:1], "a-z")
        if part.startswith(r"\P"):
            return part if in_class else f"[^{chars}]"
        return chars if in_class else f"[{chars}]"
    return part


class Pattern:
    """A pattern of a JSON Schema, which a text made for it holds."""

    def __init__(self, pattern: str, least: int, most: float) -> None:
        """Compile a pattern for texts of ``least`` to ``most`` characters.

        Raises:
            PatternError: it cannot be read, or no text was found for it.
        """
        self._least, self._most = least, most
        self._parsed = _parsed(pattern)
        self._search = searcher(pattern)
        self._sample = ""
        found = self._try(Random(0))
        if found is None:
            raise PatternError("no text was found that matches it" + (" in this length" if least or most < 1e9 else ""))
        self._sample = found

    def make(self, random: Random) -> str:
        """Return a text."""
        found = self._try(random)
        return self._sample if found is None else found

    def admits(self, text: str) -> bool:
        """Return whether the pattern is found in ``text``."""
        return self._search(text) is not None

    def _try(self, random: Random) -> str | None:
        for _ in range(_TRIES):
            text = "".join(_texts(self._parsed, random, {}))
            if len(text) < self._least:  # more may stand around what has to be found
                text = text + "a" * (self._least - len(text))
            if self._least <= len(text) <= self._most and self._search(text):
                return text
        return None


def _texts(parsed: Iterable[Any], random: Random, groups: dict[int, str]) -> list[str]:
    """Return what each part of a parsed pattern becomes."""
    return [_text(kind, value, random, groups) for kind, value in parsed]


def _text(kind: Any, value: Any, random: Random, groups: dict[int, str]) -> str:
    if kind is sre.LITERAL:
        return chr(value)
    if kind is sre.NOT_LITERAL:
        return "b" if value == ord("a") else "a"
    if kind is sre.ANY:
        return random.choice(_LETTERS)
    if kind is sre.IN:
        return _one_of(value, random)
    if kind is sre.BRANCH:
        return "".join(_texts(random.choice(value[1]), random, groups))
    if kind is sre.SUBPATTERN:
        text = "".join(_texts(value[3], random, groups))
        if value[0] is not None:
            groups[value[0]] = text
        return text
    if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        least, most, inner = value
        if least > _LONGEST:
            raise PatternError(f"asks for {least} repetitions")
        times = random.randint(least, min(int(most), least + _MORE))
        return "".join("".join(_texts(inner, random, groups)) for _ in range(times))
    if kind is sre.GROUPREF:
        return groups.get(value, "")
    if kind is sre.ATOMIC_GROUP:
        return "".join(_texts(value, random, groups))
    return ""  # anchors and lookarounds: whether they hold is looked at afterwards


def _one_of(parts: list[tuple[Any, Any]], random: Random) -> str:
    """Return a character of a class."""
    if parts[0][0] is sre.NEGATE:
        allowed: list[str] = []
        for among in (_PRINTABLE, _FURTHER):
            allowed = allowed or [
                char for char in among if not any(_holds(kind, value, char) for kind, value in parts[1:])
            ]
        plain = [char for char in allowed if char.isalnum()] or allowed
        return random.choice(plain) if plain else ""
    kind, value = random.choice(parts)
    if kind is sre.RANGE:
        return chr(random.randint(*value))
    return random.choice(_CATEGORIES[value]) if kind is sre.CATEGORY else chr(value)


def _holds(kind: Any, value: Any, char: str) -> bool:
    if kind is sre.RANGE:
        return bool(value[0] <= ord(char) <= value[1])
    return char in _CATEGORIES[value] if kind is sre.CATEGORY else char == chr(value)
