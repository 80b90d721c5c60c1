"""The parameters of requests, classified once per combination of names: clients repeat the same ones."""

from collections.abc import Mapping
from typing import Any

from fastmock.engine.length import LEAST, LENGTHS
from fastmock.providers.openai.params import Check

_MOST_KNOWN = 512  # cached combinations of some 500 bytes each
_MOST_NAMES = 64  # maximum parameters of a cached combination


class Present:
    """The kinds of parameters in a request.

    Attributes:
        checks: the check of each parameter that has one.
        options: whether any parameter besides sampling parameters is present.
        special: whether any parameter affects the form, the usage or the storage of the answer.
        constraining: whether any parameter constrains the form of the answer.
        sets_length: whether any parameter limits the length of the answer; ``sets_least``: whether any sets a minimum.
    """

    __slots__ = ("checks", "constraining", "options", "sets_least", "sets_length", "special")

    def __init__(self, names: tuple[str, ...], parameters: "Parameters") -> None:
        self.checks = tuple((name, parameters.checks[name]) for name in names if name in parameters.checks)
        self.options = not parameters.options.isdisjoint(names)
        self.special = not parameters.special.isdisjoint(names)
        self.constraining = not parameters.constraining.isdisjoint(names)
        self.sets_length = not LENGTHS.isdisjoint(names)
        self.sets_least = not LEAST.isdisjoint(names)


class Parameters:
    """The parameters of an endpoint by kind; see Present."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        options: frozenset[str] = frozenset(),
        special: frozenset[str] = frozenset(),
        constraining: frozenset[str] = frozenset(),
    ) -> None:
        self.checks = checks
        self.options = options
        self.special = special
        self.constraining = constraining
        self._known: dict[tuple[str, ...], Present] = {}

    def of(self, body: Mapping[str, Any]) -> Present:
        """Return the kinds of parameters in a request body, and check the values; raise ApiError if one is invalid."""
        names = tuple(body)
        present = self._known.get(names)
        if present is None:
            present = Present(names, self)
            if len(names) <= _MOST_NAMES:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[names] = present
        for name, check in present.checks:
            value = body[name]
            if value is not None:
                check(value, name)
        return present
