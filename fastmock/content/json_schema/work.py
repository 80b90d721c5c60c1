"""Shared state of compiling one schema: its budget, its patterns, and cached results for its parts."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from fastmock.content.json_schema.budget import Budget
from fastmock.content.json_schema.nodes import Path, SchemaError, canonical
from fastmock.content.json_schema.regex_matcher import UnsupportedPatternError
from fastmock.content.json_schema.regex_strings import PatternError, Patterns

_BYTES_PER_STEP = 10  # of a value's canonical form


class Work:
    """The budget of a schema and its cached results."""

    def __init__(self) -> None:
        self.budget = Budget()
        self.spend = self.budget.spend
        self.patterns = Patterns(self.budget)
        self._keys: dict[
            int, tuple[Any, bytes]
        ] = {}  # by identity, which stays valid because the value is kept with it
        self._sets: dict[int, tuple[Any, frozenset[bytes]]] = {}

    def key(self, value: Any) -> bytes:
        """Return a key that is equal exactly for values that JSON Schema regards as equal."""
        if not isinstance(value, dict | list):
            return self._digest(value)
        known = self._keys.get(id(value))
        if known is None:
            known = self._keys[id(value)] = (value, self._digest(value))
        return known[1]

    def keys(self, values: list[Any]) -> frozenset[bytes]:
        """Return the keys of the elements of a list."""
        known = self._sets.get(id(values))
        if known is None:
            self.spend(len(values))
            known = self._sets[id(values)] = (values, frozenset(map(self.key, values)))
        return known[1]

    def same(self, one: Any, other: Any) -> bool:
        """Compare two values by JSON Schema's rules: 1 is 1.0, and not true."""
        return one is other or self.key(one) == self.key(other)

    def distinct(self, values: Iterable[Any]) -> list[Any]:
        """Return values without those that equal an earlier one."""
        first: dict[bytes, Any] = {}
        for value in values:
            first.setdefault(self.key(value), value)
        return list(first.values())

    def found_in(self, pattern: Any, text: str, path: Path) -> bool:
        """Return whether a pattern is found in a text; raise SchemaError if that cannot be decided."""
        self.spend()
        try:
            return self.patterns.regex(pattern).found_in(text)
        except PatternError as error:
            why = str(error)
        except UnsupportedPatternError:
            why = "has a construct that cannot be checked without backtracking"
        except TypeError:
            why = "must be a string"
        raise SchemaError((*path, "pattern"), why)

    def _digest(self, value: Any) -> bytes:
        try:
            form = canonical(value)
        except TypeError:
            raise SchemaError((), "has a value that is nested too deeply, or too large a number") from None
        self.spend(1 + len(form) // _BYTES_PER_STEP)
        return form if len(form) < 16 else blake2b(form, digest_size=16).digest()
