"""The pure core: a configuration compiled into an App, and a request answered by it. No socket, no server, no clock."""

import hashlib
import logging
from collections.abc import Callable

import orjson

from fastmock import __version__
from fastmock.api import chat, completions, errors, heads
from fastmock.api.auth import authorizer
from fastmock.api.embeddings import Embeddings
from fastmock.api.models import Models
from fastmock.api.rulebook import Findings, Rulebook
from fastmock.config.load import Config
from fastmock.config.problems import ConfigError
from fastmock.content.ids import unique
from fastmock.wire import Head, Reply, Request, Stream

Answer = Reply | Stream
Endpoint = Callable[[Request, str], Answer]

_LOG = logging.getLogger("fastmock")


def build(config: Config) -> "App":
    """Compile a configuration: every file read, every template cut, every pattern in its index.

    Raises:
        ConfigError: with everything that is wrong.
    """
    settings = config.settings
    findings = Findings(config)
    made = heads.Heads(any_origin="*" in settings.server.cors_origins)
    fingerprint = "fp_" + hashlib.blake2b(b"%d" % settings.seed, digest_size=5).hexdigest()
    chats = Rulebook(config, "chat_completions", chat.ChatShape(), chat.document_of, made, fingerprint, findings)
    texts = Rulebook(
        config, "completions", completions.CompletionShape(), completions.document_of, made, fingerprint, findings
    )
    embeddings = Embeddings(config, made, findings)
    if findings.problems:
        raise ConfigError(findings.problems)
    for name in ("log_requests", "simulate_errors"):
        if getattr(settings.server, name):
            findings.warn(("server", name), "is accepted but has no effect yet")
    models = Models(settings.models, made)
    routes: dict[str, dict[str, Endpoint]] = {
        "/chat/completions": {"POST": chat.Chat(chats)},
        "/completions": {"POST": completions.Completions(texts)},
        "/embeddings": {"POST": embeddings},
        "/models": {"GET": models.all},
    }
    return App(config, made, routes, models.one, findings.warnings, rules=chats.rules + texts.rules)


class App:
    """Answers requests; shared by the threads of a worker, and inherited by forked workers.

    Attributes:
        config: what it was compiled from.
        warnings: what worked but maybe not as meant.
        rules: how many patterns there are in all.
        paths: the paths with a fixed name, for a runtime that routes by itself: path and methods.
        takes_time: whether any answer is spread over time.
    """

    def __init__(
        self,
        config: Config,
        made: heads.Heads,
        routes: dict[str, dict[str, Endpoint]],
        one_model: Endpoint,
        warnings: list[str],
        rules: int,
    ) -> None:
        settings = config.settings
        self.config = config
        self.warnings = warnings
        self.rules = rules
        self.takes_time = settings.streaming.enabled and settings.streaming.chunk_delay_ms > 0
        self._heads = made
        self._limit = settings.server.max_body_bytes
        self._origins = frozenset(settings.server.cors_origins)
        self._by_origin: dict[tuple[Head, str], Head] = {}
        self._health = orjson.dumps({"status": "ok", "version": __version__})
        authorize = authorizer(settings.auth)

        def guarded(endpoint: Endpoint) -> Endpoint:
            if authorize is None:
                return endpoint

            def check_first(request: Request, unique: str) -> Answer:
                authorize(request.headers)
                return endpoint(request, unique)

            return check_first

        self._one_model = {"GET": guarded(one_model)}
        self._routes: dict[str, dict[str, Endpoint]] = {"/health": {"GET": self._healthy}}
        for path, methods in routes.items():
            guards = {method: guarded(endpoint) for method, endpoint in methods.items()}
            self._routes[path] = self._routes["/v1" + path] = guards
        for methods in (self._one_model, *self._routes.values()):
            if "GET" in methods:
                methods["HEAD"] = methods["GET"]  # the runtime leaves the body out
        self.paths = [(path, method) for path, methods in self._routes.items() for method in methods]
        self.handle = self._answer
        if self._origins and "*" not in self._origins:
            self.handle = self._answer_origin

    def _answer(self, request: Request) -> Answer:
        """Answer a request, whatever it is."""
        name = unique()
        try:
            if len(request.body) > self._limit:
                raise errors.too_large(self._limit)
            methods = self._routes.get(request.path) or self._other(request)
            endpoint = methods.get(request.method)
            if endpoint is None:
                return self._no_endpoint(request, methods, name)
            return endpoint(request, name)
        except errors.ApiError as error:
            return self.refuse(error, name)
        except Exception:
            _LOG.exception("%s %s failed; this is a defect of fastmock", request.method, request.path)
            return self.refuse(errors.server_error(), name)

    def refuse(self, error: errors.ApiError, name: str = "") -> Reply:
        """Return an error as an answer; for a runtime, also one that it found by itself."""
        head = self._heads.get(error.status, heads.JSON, error.headers)
        return Reply(head, f"req_{name or unique()}", error.body())

    def _other(self, request: Request) -> dict[str, Endpoint]:
        """Find what is not found by the exact path: a trailing slash, a model by its name."""
        path = request.path
        if path.endswith("/") and path != "/":
            path = path[:-1]
            if path in self._routes:
                return self._routes[path]
        if path.startswith(("/v1/models/", "/models/")):
            return self._one_model
        raise errors.no_such_url(request.method, path)

    def _no_endpoint(self, request: Request, methods: dict[str, Endpoint], name: str) -> Reply:
        allowed = ", ".join(sorted((*methods, "OPTIONS")))
        if request.method != "OPTIONS":
            raise errors.wrong_method(request.method, request.path, allowed)
        more = heads.preflight(request.headers.get("access-control-request-headers")) if self._origins else ()
        head = self._heads.get(204, "", ())
        return Reply(Head(204, (*head.headers, *more, ("allow", allowed))), f"req_{name}", b"")

    def _healthy(self, request: Request, name: str) -> Reply:
        return Reply(self._heads.get(200), f"req_{name}", self._health)

    def _answer_origin(self, request: Request) -> Answer:
        """Answer, and name the caller's origin where it is one of those that may read the answer."""
        answer = self._answer(request)
        origin = request.headers.get("origin")
        if origin in self._origins and origin is not None:
            key = (answer.head, origin)
            if key not in self._by_origin:
                if len(self._by_origin) > 1000:
                    self._by_origin.clear()
                self._by_origin[key] = heads.for_origin(answer.head, origin)
            answer.head = self._by_origin[key]
        return answer
