"""The parameters that a request has, looked at once for each combination of names: clients send the same ones again."""

from collections.abc import Mapping
from typing import Any

from fastmock.engine.length import LEAST, LENGTHS
from fastmock.providers.openai.params import Check

_MOST_KNOWN = 512  # combinations, which take some 500 bytes each
_MOST_NAMES = 64  # parameters of a combination that is remembered


class Present:
    """The kinds of parameters that a request has.

    Attributes:
        checks: the check of each parameter that has one.
        options: whether any says more than how to sample.
        special: whether any is of those that change the form, the usage or the storage of the answer.
        demanding: whether any demands a form of the answer.
        sets_length: whether any sets the length of the answer, and ``sets_least`` its least length.
    """

    __slots__ = ("checks", "demanding", "options", "sets_least", "sets_length", "special")

    def __init__(self, names: tuple[str, ...], parameters: "Parameters") -> None:
        self.checks = tuple((name, parameters.checks[name]) for name in names if name in parameters.checks)
        self.options = not parameters.options.isdisjoint(names)
        self.special = not parameters.special.isdisjoint(names)
        self.demanding = not parameters.demanding.isdisjoint(names)
        self.sets_length = not LENGTHS.isdisjoint(names)
        self.sets_least = not LEAST.isdisjoint(names)


class Parameters:
    """The parameters of an endpoint by their kinds; see Present."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        options: frozenset[str] = frozenset(),
        special: frozenset[str] = frozenset(),
        demanding: frozenset[str] = frozenset(),
    ) -> None:
        self.checks = checks
        self.options = options
        self.special = special
        self.demanding = demanding
        self._known: dict[tuple[str, ...], Present] = {}

    def of(self, body: Mapping[str, Any]) -> Present:
        """Return what a request has, and check it; raise ApiError where a parameter is wrong."""
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
