"""Generate a text in which a regular expression is found.

Patterns come from clients: RE2 matches them, or a matcher without backtracking if RE2 lacks a construct.
"""

import re
import warnings
from collections.abc import Iterable, Sequence
from random import Random
from re import _constants as sre  # type: ignore[attr-defined]  # not public; a test checks the parts used
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import re2

from fastmock.content.json_schema.budget import Budget
from fastmock.content.json_schema.regex_matcher import Scan, UnsupportedPatternError, in_set

LONGEST_PATTERN = 4000
"""The maximum length of a pattern, in characters."""

_RE2_MEMORY = 256 * 1024  # bytes per compiled pattern
_COMPILE_STEPS, _STEPS_PER_CHARACTER, _STEPS_PER_CLASS = 100, 6, 200  # to compile a pattern
_INSTRUCTIONS_PER_STEP = 100  # instructions of a program, times characters of a text
_MORE = 3  # repetitions beyond the minimum
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
_VISIBLE = _PRINTABLE[1:]
_FURTHER = [char for char in map(chr, range(160, 0x3100)) if char.isalpha()]
_UNICODE_CLASS = re.compile(r"\\[pP]")
_PIECES = re.compile(
    r"\[\^\](?!.*\])|\(\?<(?=[A-Za-z_$])|\\k<\w+>|\\c[A-Za-z]"
    r"|\\u\{[0-9A-Fa-f]{1,8}\}|\\u[0-9A-Fa-f]{4}|\\[pP]\{[\w=]+\}|\\.|.",
    re.DOTALL,
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
    """No matching text is found for a pattern, or it is invalid."""


class Regex:
    """A compiled pattern that never backtracks."""

    def __init__(self, pattern: str, budget: Budget) -> None:
        """Compile a pattern.

        Raises:
            PatternError: it is invalid or too long.
        """
        if len(pattern) > LONGEST_PATTERN:
            raise PatternError(f"is longer than {LONGEST_PATTERN} characters")
        classes = len(_UNICODE_CLASS.findall(pattern))
        budget.spend(_COMPILE_STEPS + _STEPS_PER_CHARACTER * len(pattern) + _STEPS_PER_CLASS * classes)
        self._pattern = pattern
        self._budget = budget
        self._re2 = _re2(pattern)  # doubled: it is compiled once more, to match backwards
        budget.spend(self._re2.programsize if self._re2 else len(pattern))
        self._parsed: Any = None
        self._choices: dict[int, list[str]] = {}
        if self._re2 is None:
            self._parse()

    def _parse(self) -> Any:
        if self._parsed is None:
            self._parsed = _parsed(self._pattern)
        return self._parsed

    def found_in(self, text: str) -> bool:
        """Return whether the pattern is found in a text.

        Raises:
            UnsupportedPatternError: that cannot be decided without backtracking.
        """
        if self._re2 is None:
            return Scan(text, self._parsed.state.flags, self._budget).search(self._parsed)
        self._budget.spend(2 + self._re2.programsize * len(text) // _INSTRUCTIONS_PER_STEP)
        try:
            return self._re2.search(text) is not None
        except UnicodeEncodeError:  # surrogates
            return False

    def draw(self, random: Random, least: int) -> str | None:
        """Return a text of at least ``least`` characters in which the pattern is found; None if none was drawn."""
        self._budget.spend(3)
        draft = _Draft(random, self._budget, self._choices)
        draft.write(self._parse())
        text = draft.text()
        text += "a" * (least - len(text))  # the match may be surrounded by other text
        try:
            return text if self.found_in(text) else None
        except UnsupportedPatternError:
            return text if self._proven(draft, text) else None

    def _proven(self, draft: "_Draft", text: str) -> bool:
        """Return whether a text matches by construction: only its assertions are left to check."""
        flags = self._parsed.state.flags
        if flags & ~re.UNICODE or not draft.provable:
            raise PatternError("has a construct that cannot be checked without backtracking")
        scan = Scan(text, flags, self._budget)
        try:
            return all(scan.asserts(*asserted) for asserted in draft.asserted)
        except UnsupportedPatternError:
            raise PatternError("has a lookaround that cannot be checked without backtracking") from None


def _re2(pattern: str) -> Any:
    """Return a pattern compiled by RE2; None if RE2 does not support it."""
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True  # captures need a slower automaton
    options.max_mem = _RE2_MEMORY
    for one in (pattern, _translated(pattern, for_re2=True)):
        try:
            return re2.compile(one, options)
        except (re2.error, UnicodeEncodeError):
            pass
    return None


class Patterns:
    """The patterns of one schema, each compiled once."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._compiled: dict[str, Regex] = {}

    def regex(self, pattern: str) -> Regex:
        """Return a compiled pattern; raise PatternError if it is invalid."""
        regex = self._compiled.get(pattern)
        if regex is None:
            regex = self._compiled[pattern] = Regex(pattern, self._budget)
        return regex


def _parsed(pattern: str) -> Any:
    """Return a parsed pattern; JavaScript constructs are translated to Python's, as closely as possible."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about nested sets
        try:
            return _parser.parse(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            try:
                return _parser.parse(_translated(pattern))
            except (re.error, OverflowError, RecursionError):
                raise PatternError(f"is not a regular expression: {error}") from None


def _translated(pattern: str, for_re2: bool = False) -> str:
    """Return a pattern in the syntax of Python or RE2, with ASCII for most Unicode classes."""
    in_class = False
    parts = []
    for part in _PIECES.findall(pattern):
        if part.startswith("["):
            in_class = part == "["
        elif part == "]":
            in_class = False
        parts.append(f"\\x{{{part[2:].strip('{}')}}}" if for_re2 and part.startswith(r"\u") else _piece(part, in_class))
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
    """A pattern of a JSON Schema, with a function to generate texts for it."""

    def __init__(self, pattern: str, least: int, most: float, patterns: Patterns) -> None:
        """Compile a pattern for texts of ``least`` to ``most`` characters.

        Raises:
            PatternError: it is invalid, or no text was found for it.
        """
        self._least, self._most = least, most
        self._regex = patterns.regex(pattern)
        self._sample = self._last = ""
        found = self._try(Random(0))
        if found is None:
            raise PatternError("no text was found that matches it" + (" in this length" if least or most < 1e9 else ""))
        self._sample = found

    def make(self, random: Random) -> str:
        """Return a text that matches."""
        found = self._try(random)
        self._last = self._sample if found is None else found
        return self._last

    def admits(self, text: str) -> bool:
        """Return whether the pattern is known to be found in ``text``."""
        try:
            return self._regex.found_in(text)
        except UnsupportedPatternError:
            return text in (self._last, self._sample)

    def _try(self, random: Random) -> str | None:
        for _ in range(_TRIES):
            text = self._regex.draw(random, self._least)
            if text is not None and self._least <= len(text) <= self._most:
                return text
        return None


class _Draft:
    """A text in progress for a parsed pattern.

    Attributes:
        asserted: anchors and lookarounds, with the positions where they have to hold.
        provable: whether the text matches if they hold.
    """

    def __init__(self, random: Random, budget: Budget, choices: dict[int, list[str]]) -> None:
        self.asserted: list[tuple[Any, Any, int]] = []
        self.provable = True
        self._random, self._budget, self._choices = random, budget, choices
        self._parts: list[str] = []
        self._length = 0
        self._groups: dict[int, str] = {}
        self._any: Sequence[str] = _LETTERS  # characters used for "."

    def text(self) -> str:
        """Return the text."""
        return "".join(self._parts)

    def write(self, parsed: Iterable[Any]) -> None:
        """Write a text for each part of a pattern."""
        for kind, value in parsed:
            self._budget.spend(2)
            if kind is sre.LITERAL:
                self._add(_char(value))
            elif kind is sre.NOT_LITERAL:
                self._add("b" if value == ord("a") else "a")
            elif kind is sre.ANY:
                self._add(self._random.choice(self._any))
            elif kind is sre.IN:
                self._add(self._one_of(value))
            elif kind is sre.BRANCH:
                self.write(self._random.choice(value[1]))
            else:
                self._write_group(kind, value)

    def _write_group(self, kind: Any, value: Any) -> None:
        if kind is sre.SUBPATTERN:
            first = len(self._parts)
            self.write(value[3])
            if value[0] is not None:
                self._groups[value[0]] = "".join(self._parts[first:])
                self._budget.spend((len(self._parts) - first) // 10)
            self.provable = self.provable and not value[1] and not value[2]
        elif kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            least, most, inner = value
            self.provable = self.provable and kind is not sre.POSSESSIVE_REPEAT
            for _ in range(self._random.randint(least, min(int(most), least + _MORE))):
                self._budget.spend()
                self.write(inner)
        elif kind is sre.GROUPREF:
            self.provable = self.provable and value in self._groups
            self._add(self._groups.get(value, ""))
        elif kind is sre.ATOMIC_GROUP:
            self.provable = False
            self.write(value)
        elif kind in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
            self.asserted.append((kind, value, self._length))
            if kind is not sre.AT:  # as in password rules: the lookahead may require characters of any kind
                self._any = _VISIBLE
        else:
            self.provable = False

    def _add(self, text: str) -> None:
        self._length += len(text)
        self._budget.spend(len(text) // 10)
        if self._length > _LONGEST:
            raise PatternError(f"asks for a text of more than {_LONGEST} characters")
        self._parts.append(text)

    def _one_of(self, parts: list[tuple[Any, Any]]) -> str:
        """Return a character of a class."""
        if parts[0][0] is sre.NEGATE:
            plain = self._choices.get(id(parts))
            if plain is None:
                plain = self._choices[id(parts)] = self._outside(parts[1:])
            return self._random.choice(plain) if plain else ""
        kind, value = self._random.choice(parts)
        if kind is sre.RANGE:
            return _char(self._random.randint(*value)) or _char(value[0])
        return self._random.choice(_CATEGORIES[value]) if kind is sre.CATEGORY else _char(value)

    def _outside(self, parts: list[tuple[Any, Any]]) -> list[str]:
        """Return characters outside of a class: letters and digits if possible."""
        allowed: list[str] = []
        for among in (_PRINTABLE, _FURTHER):
            if not allowed:
                self._budget.spend(len(among) * len(parts) // 3)
                allowed = [char for char in among if not any(in_set(*part, char) for part in parts)]
        return [char for char in allowed if char.isalnum()] or allowed


def _char(code: int) -> str:
    """Return a character; empty for a surrogate, which no text may contain alone."""
    return "" if 0xD800 <= code < 0xE000 else chr(code)
