"""Recordings before the endpoints: a request is forwarded to be recorded, replayed, or answered by its endpoint."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from fastmock.cassettes.library import Found
from fastmock.cassettes.replay import Replayer
from fastmock.core import errors
from fastmock.core.completion import ChatRequest
from fastmock.core.http import Forward, Reply, Request, Stream
from fastmock.core.provider import provider_of
from fastmock.core.routing import OTHER, Endpoint, Route
from fastmock.engine.middleware import Policies
from fastmock.engine.rule_set import counter, rule_key
from fastmock.shared.rule_hits import RuleHits

MISS = "cassettes.miss"
"""The name in place of a rule for a request that neither a recording nor a rule matches."""
_COUNTED = (MISS, *(f"cassettes.{name}" for name in ("replayed", "forwarded", "recorded")))
_KEYS = [rule_key("cassettes", name, None) for name in _COUNTED]
MISS_KEY, REPLAYED_KEY, FORWARDED_KEY, RECORDED_KEY = _KEYS
"""The keys in ``shared.rule_hits`` of such requests, of replayed ones, of those that an upstream answered, and of the
answers that were recorded.
"""
_MISSED, _REPLAYED, _FORWARDED, _RECORDED = range(len(_KEYS))
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"))  # methods
RulePriority = Callable[[Request], int | None]
"""Returns the priority of the rule that matches a request; None if none does."""


def recorded_counter(hits: RuleHits) -> Callable[[], None]:
    """Return a function that counts a recorded answer."""
    count = counter(len(_KEYS), hits, _KEYS.__getitem__)
    return lambda: count(_RECORDED)


class RecordedRoutes:
    """Wraps the endpoints of an App.

    Attributes:
        any: whether there are cassettes, or requests are forwarded.
        unknown: answers the requests for which there is no endpoint.
    """

    def __init__(
        self,
        replayers: Mapping[str, Replayer],
        forwards: bool | None,
        policies: Policies,
        hits: RuleHits,
        rule_priority: RulePriority,
        refuse: Endpoint,
        read: Callable[[Request], ChatRequest],
    ) -> None:
        """Take the parts.

        Args:
            replayers: replay recordings, by session; that of all others is the empty one.
            forwards: whether to forward all requests to an upstream; False for those that nothing matches, None for
                none.
            policies: the policies, which apply to replayed answers.
            hits: counts the replayed requests and those that nothing matches.
            rule_priority: see RulePriority.
            refuse: refuses the requests for which there is no endpoint.
            read: parses a request, for the policies.
        """
        self._replayers, self._common = replayers, replayers.get("")
        self._forwards = forwards
        self.any = bool(replayers) or forwards is not None
        self._policies = policies
        self._count = counter(len(_KEYS), hits, _KEYS.__getitem__)
        self._rule_priority = rule_priority
        self._read = read
        self.unknown = self._around(refuse, OTHER)

    def wrap(self, route: Route) -> Route:
        """Return a route with the policies, and the recordings before its endpoint."""
        endpoint = self._policies.wrap(route.endpoint, route.kind) if route.policed else route.endpoint
        return replace(route, endpoint=self._around(endpoint, route.kind))

    def _around(self, endpoint: Endpoint, kind: str) -> Endpoint:
        """Return an endpoint with the recordings before it; ``kind`` is its kind."""
        if self._replayers:
            endpoint = self._replayed(endpoint, kind)
        elif self._forwards is False:
            endpoint = self._unmatched(endpoint)
        return endpoint if self._forwards is None else self._forwarded(endpoint)

    def _replayed(self, endpoint: Endpoint, kind: str) -> Endpoint:
        count = self._count
        forwards, replayer_of = self._forwards is False, self._replayer_of

        policies, read = self._policies, self._read

        def replay(replayer: Replayer, found: Found, request: Request, unique: str) -> Reply | Stream:
            answer = replayer.answer(request, unique, found)
            if not policies.any:
                return answer
            chat = read(request)
            chat.endpoint, chat.request = kind, request
            chat.prompt_tokens = answer.prompt_tokens if isinstance(answer, Reply) else 0
            return policies.apply(chat, answer)

        def answer(request: Request, unique: str) -> Reply | Stream:
            replayer = replayer_of(request)
            if replayer is None or request.method not in _METHODS:
                return endpoint(request, unique)
            found = replayer.library.find(request)
            rule = self._rule_priority(request)
            if found is not None and (rule is None or rule < replayer.settings.priority):
                answer = replay(replayer, found, request, unique)
                count(_REPLAYED)
                return answer
            if found is None and rule is None:
                if forwards:
                    raise Forward
                if replayer.settings.on_miss == "error":
                    count(_MISSED)
                    raise replayer.refuse(request).replace(rule=MISS)
            return endpoint(request, unique)

        return answer

    def _replayer_of(self, request: Request) -> Replayer | None:
        """Return what replays for the session of a request; None if nothing does."""
        if len(self._replayers) == 1 and self._common is not None:
            return self._common
        return self._replayers.get(provider_of(request).session_of(request), self._common)

    def _unmatched(self, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint that forwards the requests that no rule matches."""

        def answer(request: Request, unique: str) -> Reply | Stream:
            if request.method in _METHODS and self._rule_priority(request) is None:
                raise Forward
            return endpoint(request, unique)

        return answer

    def _forwarded(self, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint that relays the answer of the upstream once it is there."""
        forwards_all, count = self._forwards, self._count

        def answer(request: Request, unique: str) -> Reply | Stream:
            if request.method not in _METHODS:
                return endpoint(request, unique)
            relay: Reply | Stream | errors.ApiError | None = request.upstream
            if relay is None:
                if forwards_all:
                    raise Forward
                return endpoint(request, unique)
            if isinstance(relay, errors.ApiError):
                raise relay
            count(_FORWARDED)
            return relay

        return answer
