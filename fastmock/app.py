"""The App: answers requests by a compiled configuration, without sockets, servers or clocks."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, NamedTuple

import orjson

from fastmock._version import __version__
from fastmock.auth import Guard, authorizer
from fastmock.cassettes.replay import Replayer
from fastmock.config.settings import Settings
from fastmock.content.tokenizers import estimated
from fastmock.core import errors
from fastmock.core import headers as heads
from fastmock.core.completion import ChatRequest
from fastmock.core.content_encoding import PLAIN, decompress
from fastmock.core.http import Deferred, Reply, Request, ResponseHead, Stream
from fastmock.core.ids import unique
from fastmock.core.provider import Provider, Providers, provider_of
from fastmock.core.routing import Bound, Endpoint, Router
from fastmock.engine.plain_rules import PlainRules
from fastmock.engine.readings import Readings
from fastmock.engine.recorded_routes import RecordedRoutes
from fastmock.engine.responder import Responder
from fastmock.engine.rule_set import RuleSet
from fastmock.engine.services import Api, Services, endpoint_kinds
from fastmock.faults.injector import FaultInjector
from fastmock.shared.block import Share
from fastmock.shared.cache_counts import cache_counts
from fastmock.shared.lateness import LatenessMeter
from fastmock.shared.queue import AdmissionQueue
from fastmock.shared.readiness import Readiness
from fastmock.shared.store_state import StoreState
from fastmock.validation.validator import CHECK_HEADER

Answer = Reply | Stream
Handler = Callable[[Request], Answer]
"""A complete endpoint: it answers any request and never raises."""

PROBES = ("/health", "/ready")
"""Paths that report on the server, without a key."""

_LONG_INTEGER = re.compile(r"-?\b[1-9]\d{18,308}\b")

_LOG = logging.getLogger("fastmock")


class Parts(NamedTuple):
    """The parts of an App.

    Attributes:
        services: the services of its endpoints.
        apis: the APIs of the providers.
        faults: the faults.
        gate: the queue.
        share: the worker's part of the shared memory block.
        replayers: see ``RecordedRoutes``.
    """

    services: Services
    apis: Mapping[Provider, Api]
    faults: FaultInjector
    gate: AdmissionQueue
    share: Share
    replayers: Mapping[str, Replayer]


def _with_exact_number(error: errors.ApiError, request: Request) -> errors.ApiError:
    """Return an error with an integer beyond 64 bits as the request wrote it, since parsing rounds it."""
    if not isinstance(error, errors.OutOfRange) or type(error.value) is not int or -(2**63) <= error.value < 2**64:
        return error
    written = request.body if isinstance(request.body, str) else request.body.decode(errors="replace")
    exact = next((one[0] for one in _LONG_INTEGER.finditer(written) if int(float(one[0])) == error.value), None)
    return error if exact is None else error.replace(value=int(exact))


class App:
    """Answers requests; shared by the threads of a worker and inherited by forked workers.

    It never changes: a worker puts layers around its handlers by making another, see ``server.worker``.

    Attributes:
        config: the compiled configuration.
        warnings: warnings about the configuration.
        responders: one for each kind of completions; ``plain_rules`` are the rules of other endpoints.
        manager: the response manager, which may block; None without one.
        handlers: handlers by method and path, for runtimes with their own routing; ``fallback`` handles all other
            requests, ``reject`` answers requests that the runtime found invalid.
        takes_time: whether any response is delayed or paced; ``delays_whole``: whether non-streaming ones are too.
        share: the worker's part of the shared memory block.
        lateness: the lateness of paced responses; ``in_flight``: how many are being sent.
        store: stores responses, for all workers.
        exact: whether tokens are counted exactly.
        progress: see ``http.Progress``; ``route_names`` are the names of its routes, from number 1.
        faults: the fault injector.
        counts_connections: whether connections are counted; ``names_connections``: whether findings look at them.
        buffers: the memory budget of bodies and large responses.
        by_rules: generates responses by the rules alone, for the response manager.
        replayers: replay recordings, by session; that of all others is the empty one.
        providers: the providers.
        kinds: the kinds of endpoints.
        readings: parses requests without answering them.
        query_routes: method and path of routes without path parameters that need the query of requests other than GET.
        waiting: returns the length of the queue; None without a limit on concurrency.
    """

    def __init__(self, parts: Parts) -> None:
        services, apis = parts.services, parts.apis
        config, settings = services.config, services.settings
        profiles = services.profiles
        self.config = config
        self.warnings = services.diagnostics.warnings
        self.responders: list[Responder] = list(services.responders.values())
        self.plain_rules = [rules for api in apis.values() for rules in api.plain_rules]
        self.manager = services.manager
        has_latency = profiles.takes_time()
        others_take_time = parts.faults.takes_time or (any(one.takes_time for one in parts.replayers.values()))
        self.takes_time = has_latency or others_take_time
        self.delays_whole = (has_latency and profiles.delays_whole) or others_take_time
        self.share, self.store, self.buffers = parts.share, services.store, services.buffers
        self.lateness, self.in_flight = LatenessMeter(parts.share), services.profiles.in_flight
        self.exact = services.tokenizers is not estimated
        self.progress = services.progress
        self.faults = parts.faults
        self.waiting = None if settings.overload.max_concurrent is None else parts.gate.waiting
        self.counts_connections, self.names_connections = settings.metrics.any, config.watch.any
        self.by_rules = {name: generate for api in apis.values() for name, generate in api.generate.items()}
        self.providers = Providers(apis)
        self._heads = self.providers[0].heads
        self._origins = heads.Origins(settings.server.cors_origins, (name for one in apis for name in one.header_names))
        guard = authorizer(settings.auth)
        self._guards = [guard] if guard else []
        self._open_models = settings.auth.open_models
        self.kinds = endpoint_kinds(apis.values())
        self.replayers = parts.replayers
        hits, priority, read = services.hits, self._rule_priority, partial(_read, self)
        policies, forwards = services.policies, settings.record.forwards
        recorded = RecordedRoutes(parts.replayers, forwards, policies, hits, priority, self._refuse, read)
        self._unknown = recorded.unknown if recorded.any else None
        self._router = Router({provider: [*map(recorded.wrap, api.routes)] for provider, api in apis.items()})
        self.readings = Readings(apis, self._router)
        self._has_rules = self.rules > 0
        handlers: dict[tuple[str, str], Handler] = {}
        self.route_names: list[str] = []
        self.query_routes: set[tuple[str, str]] = set()
        for path, bound in self._router.fixed.items():
            for method, endpoints in bound.methods.items():
                if any(provider.key_parameter for provider in endpoints):
                    self.query_routes.add((method, path))
                self.route_names.append(f"{method} {path}")
                handlers[method, path] = self._handler_of(bound, method)
        reports = {"/health": partial(_health_of, self), "/ready": partial(_readiness_of, settings, parts.share)}
        self._probes = {path: _probe(self._heads, report) for path, report in reports.items()}
        probing = [(method, path) for path in PROBES for method in ("GET", "HEAD")]
        handlers |= {route: self._wrap(self._probes[route[1]], ()) for route in probing}
        self.handlers: Mapping[tuple[str, str], Handler] = handlers
        self.fallback = self._wrap(self._fallback, ())
        self.reject: Callable[[errors.ApiError, Request], Answer] = self.error_reply

    def _handler_of(self, bound: Bound, method: str) -> Handler:
        """Return the handler of a fixed path; it is faster if the path belongs to one provider."""
        guards, number = self._guards_of(method, bound.path), len(self.route_names)
        if (provider := bound.owner) is not None:
            return self._wrap(bound.endpoint(method, provider), guards, number, provider)

        def shared(request: Request, unique: str) -> Answer:
            return bound.endpoint(method, provider_of(request))(request, unique)

        return self._wrap(shared, guards, number)

    @property
    def rule_sets(self) -> Sequence[RuleSet | PlainRules[Any]]:
        """All rule sets, those of completions first."""
        return [*(one.rules for one in self.responders), *self.plain_rules]

    def replayer_of(self, session: str) -> Replayer | None:
        """Return what replays recordings for a session; None if nothing does."""
        return self.replayers.get(session, self.replayers.get(""))

    def kind_of(self, path: str) -> str:
        """Return the kind of endpoint of a path, as in the condition ``endpoint``."""
        return self._router.kind_of(path)

    def activate(self) -> None:
        """Bind the response manager to the rules of this App; an App may share the manager with its predecessor."""
        if self.manager is not None:
            self.manager.bind(self.by_rules)

    @property
    def rules(self) -> int:
        """The total number of rules."""
        return sum(len(rules.rules) for rules in self.rule_sets)

    def unreachable_rules(self) -> Iterator[str]:
        """Yield the rules that can never win, and why; takes time quadratic in their number."""
        for rules in self.rule_sets:
            yield from rules.unreachable_rules()

    def handle(self, request: Request) -> Answer:
        """Answer any request."""
        return self.handlers.get((request.method, request.path), self.fallback)(request)

    def wrapped(self, decorate: Callable[[Handler], Handler], health: Callable[[Handler], Handler]) -> "App":
        """Return this App with all handlers wrapped, including the one for requests that the runtime found invalid.

        ``health`` wraps ``PROBES`` instead.
        """
        other, reject = copy(self), self.reject
        other.handlers = {
            (method, path): (health if path in PROBES else decorate)(handler)
            for (method, path), handler in self.handlers.items()
        }
        other.fallback = decorate(self.fallback)
        other.reject = lambda error, request: decorate(lambda request: reject(error, request))(request)
        return other

    def health_only(self) -> "App":
        """Return this App without the routes of the API, which another server answers: with ``PROBES`` alone."""
        other = copy(self)
        other.handlers = {key: handler for key, handler in self.handlers.items() if key[1] in PROBES}
        other._router, other._unknown = Router({}), None
        other.fallback = other._wrap(other._fallback, ())
        return other

    def with_route(self, path: str, handler: Handler) -> "App":
        """Return this App with a handler for GET and HEAD of another path."""
        other = copy(self)
        other.handlers = {**self.handlers, ("GET", path): handler, ("HEAD", path): handler}
        return other

    def with_fallback(self, fallback: Handler) -> "App":
        """Return this App with another fallback."""
        other = copy(self)
        other.fallback = fallback
        return other

    def error_reply(self, error: errors.ApiError, request: Request, name: str = "") -> Reply:
        """Return an error as the response to a request."""
        id_ = f"req_{name or unique()}"
        if request.provider is None:
            request.provider = self.providers.find(request)
        provider = provider_of(request)
        error = provider.words(error)
        reply = Reply(provider.heads.get(error.status), id_, provider.envelope(error, id_))
        reply.model, reply.rule, reply.more = error.model, error.rule, error.headers
        reply.fault, reply.limit, reply.check = error.fault, error.limit, error.check
        if error.check:
            reply.more = (*reply.more, (CHECK_HEADER, error.check))
        return reply

    def _wrap(
        self, endpoint: Endpoint, guards: Sequence[Guard], number: int = 0, provider: Provider | None = None
    ) -> Handler:
        """Wrap an endpoint with the common parts: body limit, guards, errors, CORS.

        ``number`` is the number of its route, see ``http.Progress``; ``provider`` the only provider of its path.
        """
        limit = self.config.settings.server.max_body_bytes
        origins, find = self._origins, self.providers.find
        error_reply, progress = self.error_reply, self.progress

        def handler(request: Request) -> Answer:
            progress.cells[0] = number  # Progress.ROUTE; takes 60 ns
            request.provider = provider or find(request)
            name = unique()
            try:
                body = request.body
                if len(body) > limit:
                    raise errors.BodyTooLarge(limit)
                if body and body[0] not in PLAIN:
                    decompress(request, limit)
                for guard in guards:
                    guard(request)
                answer = endpoint(request, name)
            except errors.ApiError as error:
                answer = error_reply(_with_exact_number(error, request), request, name)
            except Deferred:
                raise
            except Exception:
                _LOG.exception("%s %s failed; this is a defect of fastmock", request.method, request.path)
                answer = error_reply(errors.InternalError(), request, name)
            # Only browsers send an origin: the lookup takes 0.3 µs, two more headers on every response 1 µs.
            if (origin := request.headers.get("origin")) is not None:
                answer.head = origins.add_cors_headers(answer.head, origin)
            return answer

        return handler

    def _guards_of(self, method: str, path: str) -> Sequence[Guard]:
        """Return the guards of a path."""
        is_open = path in PROBES or (self._open_models and self.kind_of(path) == "models")
        return () if is_open and method in ("GET", "HEAD") else self._guards

    def _fallback(self, request: Request, name: str) -> Answer:
        """Answer requests without a handler: a trailing slash, path parameters, preflights, unknown paths."""
        path = request.path
        if path.endswith("/") and path != "/":
            path = path[:-1]
        if (probe := self._probes.get(path)) is not None:
            if request.method in ("GET", "HEAD"):
                return probe(request, name)
            return _without_endpoint(request, ("GET", "HEAD"), name, self._heads)
        found = self._router.find(path)
        if found is None or request.method not in found[0].methods:
            if self._unknown is None or request.method == "OPTIONS":
                return self._refuse(request, name)
            for guard in self._guards:
                guard(request)
            return self._unknown(request, name)
        bound, request.params = found
        for guard in self._guards_of(request.method, path):
            guard(request)
        return bound.endpoint(request.method, provider_of(request))(request, name)

    def _refuse(self, request: Request, name: str) -> Reply:
        """Answer a request for an unknown path, or with a method that its path does not have."""
        found = self._router.find(request.path.rstrip("/"))
        if found is None:
            raise errors.RouteNotFound(request.method, request.path.rstrip("/") or "/")
        return _without_endpoint(request, found[0].methods, name, self._heads)

    def _rule_priority(self, request: Request) -> int | None:
        """Return the priority of the rule that matches a request; None if none does."""
        return self.readings.rule_priority(request) if self._has_rules else None


def _read(app: App, request: Request) -> ChatRequest:
    return app.readings.read(request)


def _probe(factory: heads.HeaderFactory, report: Callable[[], tuple[int, dict[str, Any]]]) -> Endpoint:
    """Return an endpoint that responds with a status and a body."""

    def answer(request: Request, name: str) -> Reply:
        status, body = report()
        return Reply(factory.get(status), f"req_{name}", orjson.dumps(body))

    return answer


def _readiness_of(settings: Settings, share: Share) -> tuple[int, dict[str, Any]]:
    """Return whether load balancers should send requests."""
    steps = [(step.at, step.ready) for step in settings.readiness.script]
    obstacle = Readiness(share, settings.startup.delay, settings.readiness.ready, steps).obstacle()
    store = {}
    if settings.store.url is not None:
        state = StoreState(share)
        store["store"] = state.shown()
        obstacle = obstacle or ("" if state.is_synced else "waiting for the store")
    status = {"status": "not ready", "reason": obstacle} if obstacle else {"status": "ready"}
    return 503 if obstacle else 200, {**status, **store}


def _health_of(app: App) -> tuple[int, dict[str, Any]]:
    """Return the status, and how late the frames of the last minute were."""
    seen = app.lateness.last_minute()
    streams = {"in_flight": app.in_flight.count(), "frames": seen.frames}
    lateness = {"p50": seen.p50, "p99": seen.p99}
    minute = {**streams, "lateness_ms": lateness}
    body: dict[str, Any] = {"status": "ok", "version": __version__, "last_minute": minute}
    body["cache"] = cache_counts(app.share)
    if app.config.settings.store.url is not None:
        body["store"] = StoreState(app.share).shown()
    if app.waiting is not None:
        body["queued"] = app.waiting()
    if faults := app.faults.counted():
        body["faults"] = faults
    return 200, body


def _without_endpoint(request: Request, methods: Iterable[str], name: str, factory: heads.HeaderFactory) -> Reply:
    """Answer a preflight; reject any other unsupported method."""
    allowed = ", ".join(sorted((*methods, "OPTIONS")))
    if (request.headers.get("upgrade") or "").lower() == "websocket":
        raise errors.UpgradeRequired()
    if request.method != "OPTIONS":
        raise errors.MethodNotAllowed(request.method, request.path, allowed)
    more = heads.preflight(request.headers.get("access-control-request-headers"))
    head = factory.get(204, "", ())
    return Reply(ResponseHead(204, (*head.headers, *more, ("allow", allowed))), f"req_{name}", b"")
