"""Routes: paths with parameters and methods, and the endpoints that answer them."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fastmock.core.http import Reply, Request, Stream
from fastmock.core.provider import Provider

Endpoint = Callable[[Request, str], Reply | Stream]
"""Answers one path and method: a request and the request id in, an answer out, or an ApiError."""

OTHER = "other"
"""The kind of the endpoints that have no name of their own."""


@dataclass(frozen=True)
class Route:
    """A route, as a provider declares it.

    Attributes:
        method: in capitals; a GET is one for HEAD too.
        path: without the provider's base. A name in braces stands for a segment, with an asterisk for any number of
            them: ``/models/{id*}``.
        endpoint: answers it.
        kind: the kind of endpoint, as rules, metrics and the journal call it.
        policed: whether limits, faults and the queue are put around it; not where the endpoint does so itself.
    """

    method: str
    path: str
    endpoint: Endpoint
    kind: str = OTHER
    policed: bool = True


class Bound:
    """The endpoints of one path, by method and by their provider, of which several may have the path."""

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
        """The provider that alone has the path; None where several do."""
        providers = {provider for endpoints in self.methods.values() for provider in endpoints}
        return providers.pop() if len(providers) == 1 else None

    def endpoint(self, method: str, provider: Provider) -> Endpoint:
        """Return the endpoint of a method that the path has: that of a provider, or of the first."""
        endpoints = self.methods[method]
        return endpoints.get(provider) or next(iter(endpoints.values()))


def _pattern(path: str) -> re.Pattern[str]:
    """Return the pattern of a path."""
    parts = re.split(r"(\{\w+\*?\})", path)
    return re.compile("".join(_part(part) if part.startswith("{") else re.escape(part) for part in parts))


def _part(parameter: str) -> str:
    name = parameter.strip("{}")
    return f"(?P<{name.removesuffix('*')}>{'.+' if name.endswith('*') else '[^/]+'})"


class Router:
    """All routes of all providers.

    Attributes:
        fixed: those without parameters, by path.
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
        """Return the endpoints of a path and its parameters; None where there are none."""
        if (found := self.fixed.get(path)) is not None:
            return found, {}
        return next(((one, match.groupdict()) for run, one in self._variable if (match := run(path))), None)

    def kind_of(self, path: str) -> str:
        """Return the kind of endpoint that a path is of."""
        found = self.find(path.rstrip("/"))
        return OTHER if found is None else found[0].kind
