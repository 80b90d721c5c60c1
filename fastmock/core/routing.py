"""Routes: paths with parameters and methods, and the endpoints that answer them."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from fastmock.core.http import Reply, Request, Stream
from fastmock.core.provider import Provider

Endpoint = Callable[[Request, str], Reply | Stream]
"""Answers one path and method: takes a request and the request id, returns a response or raises an ApiError."""

OTHER = "other"
"""The kind of endpoints without a name of their own."""


@dataclass(frozen=True)
class Route:
    """A route, as a provider declares it.

    Attributes:
        method: the method in capitals; GET includes HEAD.
        path: path after the provider's base. A name in braces matches a segment, with an asterisk any number of
            segments: ``/models/{id*}``.
        endpoint: answers the requests.
        kind: kind of endpoint in rules, metrics and the journal.
        policed: whether to apply limits, faults and the queue; False if the endpoint does so itself.
    """

    method: str
    path: str
    endpoint: Endpoint
    kind: str = OTHER
    policed: bool = True


class Bound:
    """The endpoints of one path, by method and provider; several providers may share the path."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.kind = OTHER
        self.methods: dict[str, dict[Provider, Endpoint]] = {}
        self.match = _pattern(path).fullmatch if "{" in path else None

    def add(self, provider: Provider, route: Route) -> None:
        """Add a provider's route."""
        if route.kind != OTHER:
            self.kind = route.kind
        for method in (route.method, "HEAD") if route.method == "GET" else (route.method,):
            self.methods.setdefault(method, {})[provider] = route.endpoint

    @property
    def owner(self) -> Provider | None:
        """The only provider of the path; None if there are several."""
        providers = {provider for endpoints in self.methods.values() for provider in endpoints}
        return providers.pop() if len(providers) == 1 else None

    def endpoint(self, method: str, provider: Provider) -> Endpoint:
        """Return the endpoint of an existing method: the given provider's, or the first provider's."""
        endpoints = self.methods[method]
        return endpoints.get(provider) or next(iter(endpoints.values()))


@cache
def _pattern(path: str) -> re.Pattern[str]:
    """Return the regular expression of a path."""
    parts = re.split(r"(\{\w+\*?\})", path)
    return re.compile("".join(_part(part) if part.startswith("{") else re.escape(part) for part in parts))


def _part(parameter: str) -> str:
    name = parameter.strip("{}")
    return f"(?P<{name.removesuffix('*')}>{'.+' if name.endswith('*') else '[^/]+'})"


class Router:
    """All routes of all providers.

    Attributes:
        fixed: the routes without parameters, by path.
    """

    def __init__(self, routes: Mapping[Provider, Iterable[Route]]) -> None:
        """``routes``: the routes of each provider."""
        bound: dict[str, Bound] = {}
        for provider, declared in routes.items():
            for base in provider.bases:
                for route in declared:
                    path = f"{base}{route.path}"
                    bound.setdefault(path, Bound(path)).add(provider, route)
        self.fixed = {path: one for path, one in bound.items() if one.match is None}
        self._variable = [(one.match, one) for one in bound.values() if one.match is not None]

    def find(self, path: str) -> tuple[Bound, Mapping[str, str]] | None:
        """Return the endpoints of a path and its parameters; None for an unknown path."""
        if (found := self.fixed.get(path)) is not None:
            return found, {}
        return next(((one, match.groupdict()) for run, one in self._variable if (match := run(path))), None)

    def kind_of(self, path: str) -> str:
        """Return the kind of endpoint of a path."""
        found = self.find(path.rstrip("/"))
        return OTHER if found is None else found[0].kind
