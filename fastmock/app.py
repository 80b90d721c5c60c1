"""The pure core: a configuration compiled into an App, and a request answered by it. No socket, no server, no clock."""

import hashlib
import logging
import re
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from fastmock._version import __version__
from fastmock.auth import Guard, authorizer
from fastmock.config.load import Config, describe, load, relaid
from fastmock.config.overlay import Overlay, RuleSection
from fastmock.content import tokenizers
from fastmock.core import errors
from fastmock.core import headers as heads
from fastmock.core.content_encoding import PLAIN, decompress
from fastmock.core.diagnostics import Findings
from fastmock.core.headers import of_answers
from fastmock.core.http import Ask, Head, MoveApart, Progress, Reply, Request, Stream
from fastmock.core.ids import unique
from fastmock.core.json import parse
from fastmock.core.problems import ConfigError, SettingPath, did_you_mean
from fastmock.core.provider import Provider, provider_of
from fastmock.engine.buffers import Buffers
from fastmock.engine.manager import Generate, ManagedCompletions, ManagedEmbeddings, compiled
from fastmock.engine.middleware import Policies
from fastmock.engine.profiles import Traffic
from fastmock.engine.responder import Rulebook
from fastmock.faults.injector import FaultInjector
from fastmock.faults.injector import Options as FaultOptions
from fastmock.limits.limiter import RateLimits
from fastmock.providers import PROVIDERS, find, owner
from fastmock.providers.anthropic.messages.endpoint import Messages
from fastmock.providers.anthropic.provider import ANTHROPIC
from fastmock.providers.openai import completions
from fastmock.providers.openai.chat import endpoint as chat
from fastmock.providers.openai.chat.render import ChatShape
from fastmock.providers.openai.chat.stored import StoredCompletions
from fastmock.providers.openai.embeddings import Embeddings
from fastmock.providers.openai.models import Models
from fastmock.providers.openai.moderations import Moderations
from fastmock.providers.openai.provider import OPENAI
from fastmock.providers.openai.responses.conversations import Conversations
from fastmock.providers.openai.responses.endpoint import Responses
from fastmock.providers.openai.responses.render import error_event, numbering
from fastmock.providers.openai.responses.stored import StoredResponses
from fastmock.responses import ResponseManager
from fastmock.rules.explain import Verdict
from fastmock.shared.block import Share
from fastmock.shared.queue import Gate
from fastmock.shared.rate_buckets import Buckets
from fastmock.storage.response_log import Ring
from fastmock.storage.sqlite import Store
from fastmock.validation.validator import CHECK_HEADER

Answer = Reply | Stream
Endpoint = Callable[[Request, str], Answer]
"""What one path and method do: a request and a unique name in, an answer out, or an ApiError."""
Handler = Callable[[Request], Answer]
"""An endpoint made whole: it answers whatever comes, and raises nothing."""
Routes = dict[str, dict[str, Endpoint]]
"""By path, without the ``/v1``, and method; ``{path}`` stands for anything, any other name in braces for a segment."""
Reader = Callable[[dict[str, Any], str], Ask]
"""Reads the body of a request for completions; the other is a unique name."""
Reads = Mapping[str, tuple[Reader, Rulebook]]
"""For each kind of endpoint that says completions: what reads its requests, and its rules."""
_KNOWN_BY = {
    "system": "messages",
    "messages": "chat_completions",
    **dict.fromkeys(("input", "previous_response_id", "conversation", "instructions"), "responses"),
    "prompt": "completions",
}
"""For the parameters by which a request is known whose path is not: the kind of endpoint; of any other, chat."""

_KINDS = ("embeddings", "moderations", "models")  # what a match can call an endpoint that has no rules of its own
_MOST_COMPARED = 500  # patterns compared with each other at start, which takes 0.1 s; "fastmock check" compares all

_ENDPOINTS = {
    "/chat/completions": "chat_completions",
    **{f"/{name}": name for name in ("completions", "embeddings", "moderations", "responses", "messages", "models")},
}
_LONG_INTEGER = re.compile(r"-?\b[1-9]\d{18,308}\b")
OTHER = "other"
"""What an endpoint is called that has no name of its own."""

_LOG = logging.getLogger("fastmock")


def endpoint_of(path: str) -> str:
    """Return the kind of endpoint that a path is of, as a match calls it."""
    path = path.removeprefix("/v1").rstrip("/")
    return "models" if path.startswith("/models/") else _ENDPOINTS.get(path, OTHER)


def build(
    config: Config, manager: ResponseManager | None = None, previous: "App | None" = None, warns: bool = True
) -> "App":
    """Compile a configuration: every file read, every template cut, every pattern in its index.

    Args:
        config: what to compile.
        manager: says the answers, instead of the one that the configuration names.
        previous: an App whose configuration this one is a change of; what both have is taken over from it.
        warns: whether to look for rules that can never win; False saves the time where the warnings were given before.

    Raises:
        ConfigError: with everything that is wrong.
    """
    settings = config.settings
    findings = Findings(config)
    made = OPENAI.heads
    fingerprint = "fp_" + hashlib.blake2b(b"%d" % settings.seed, digest_size=5).hexdigest()
    traffic = Traffic(config, Share(), findings.error, findings.warn)
    sections: tuple[RuleSection, ...] = ("chat_completions", "completions")
    options = FaultOptions(
        settings.server.simulated_faults(),
        settings.server.control_headers,
        "robyn" in (config.runtime, settings.server.runtime),
        settings.seed,
        lambda: [name for one in sections for name in (f"{one}.default", *(rule.name for rule in config.rules(one)))],
        describe,
    )
    faults = FaultInjector(settings.faults, options, traffic.share, findings)
    limits = RateLimits(settings.limits, Buckets(traffic.share), findings)
    gate = Gate(traffic.share)
    policies = Policies(limits, faults, settings.overload, gate)
    buffers = previous.buffers if previous is not None else Buffers(settings.server.max_buffered_bytes)
    common = of_answers(made, OPENAI.error_event), fingerprint, traffic, policies, findings, buffers
    vocabularies = _vocabularies(config, findings)
    before = (None, None) if previous is None else previous.rulebooks
    chats = Rulebook(config, "chat_completions", ChatShape(), *common, before[0])
    texts = Rulebook(config, "completions", completions.CompletionShape(), *common, before[1])
    embeddings = Embeddings(config, made, traffic, vocabularies, findings)
    moderations = Moderations(config, made, traffic, vocabularies, findings)
    manager = manager or _manager(config, previous, findings)
    _check_server(config, findings)
    if findings.problems:
        raise ConfigError(findings.problems)
    if settings.server.simulate_errors and settings.server.error_rate == 0:
        findings.warn(("server", "simulate_errors"), "has no effect while 'server.error_rate' is 0")
    store, strict_ids = Store(settings.stored.max_entries), settings.stored.strict_ids
    ring = Ring(store)
    stored = StoredCompletions(store, made, strict_ids)
    conversations = Conversations(ring, store, made, strict_ids)
    stored_responses = StoredResponses(ring, conversations, made, vocabularies, chats.per_chunk, strict_ids)
    models = Models(settings.models, made)
    made_chat = chat.Chat(chats, vocabularies, stored, settings)
    made_text = completions.Completions(texts, vocabularies, settings)
    responses = Responses(chats, vocabularies, stored_responses, made, settings, models.first)
    messages = Messages(chats, vocabularies, settings)
    says: tuple[Endpoint, ...] = (made_chat, made_text, embeddings, responses, messages)
    progress = Progress()
    by_rules = {
        kind: compiled(endpoint, OPENAI.words, endpoint is made_chat)
        for kind, endpoint in (("chat", made_chat), ("completion", made_text), ("embedding", embeddings))
    }
    if manager is not None:
        says = (
            ManagedCompletions(chats, made_chat, manager.generate_chat_response, progress),
            ManagedCompletions(texts, made_text, manager.generate_completion_response, progress),
            ManagedEmbeddings(embeddings, manager.generate_embedding_response, progress),
            ManagedCompletions(chats, responses, manager.generate_chat_response, progress),
            ManagedCompletions(chats, messages, manager.generate_chat_response, progress),
        )
    say_chat, say_text, say_vectors, say_response, say_message = says
    retrieve = numbering(policies.around(stored_responses.one, OTHER, error_event))
    routes: Routes = {
        "/chat/completions": {"POST": say_chat, "GET": stored.all},
        "/chat/completions/{id}": {"GET": stored.one, "POST": stored.update, "DELETE": stored.delete},
        "/chat/completions/{id}/messages": {"GET": stored.messages},
        "/completions": {"POST": say_text},
        "/embeddings": {"POST": say_vectors},
        "/moderations": {"POST": moderations},
        "/responses": {"POST": say_response},
        "/responses/input_tokens": {"POST": responses.input_tokens},
        "/responses/compact": {"POST": responses.compact},
        "/responses/{id}": {"GET": retrieve, "DELETE": stored_responses.delete},
        "/responses/{id}/cancel": {"POST": stored_responses.cancel},
        "/responses/{id}/input_items": {"GET": stored_responses.input_items},
        "/conversations": {"POST": conversations.create},
        "/conversations/{id}": {
            "GET": conversations.one,
            "POST": conversations.update,
            "DELETE": conversations.delete,
        },
        "/conversations/{id}/items": {"GET": conversations.list_items, "POST": conversations.add_items},
        "/conversations/{id}/items/{item}": {"GET": conversations.one_item, "DELETE": conversations.delete_item},
        "/messages": {"POST": say_message},
        "/messages/count_tokens": {"POST": messages.count_tokens},
        "/models": {"GET": models.all},
        "/models/{path}": {"GET": models.one, "DELETE": models.delete},
    }
    for path, methods in routes.items():
        for method, endpoint in methods.items():
            if endpoint not in (*says, retrieve) or endpoint is say_vectors:
                kind = path.split("/")[1]
                methods[method] = policies.around(endpoint, kind if kind in _KINDS else OTHER)
    for rules in (chats, texts, moderations):
        if warns and len(rules.rules) <= _MOST_COMPARED:
            findings.warnings.extend(rules.never_win())
    reads: Reads = {
        "chat_completions": (made_chat.parse, chats),
        "completions": (made_text.parse, texts),
        "responses": (responses.parse, chats),
        "messages": (messages.parse, chats),
    }
    app = App(config, routes, reads, findings.warnings, [chats, texts], moderations, manager, traffic, store, progress)
    app.faults = faults
    app.takes_time = app.takes_time or faults.takes_time
    app.delays_whole = app.delays_whole or faults.takes_time
    if settings.overload.max_concurrent is not None:
        app.waiting = gate.waiting
        if not app.takes_time:
            findings.warn(("overload", "max_concurrent"), "has no effect while no answer takes time")
    app.exact = vocabularies is not tokenizers.estimated
    app.by_rules, app.buffers = by_rules, buffers
    if previous is None:
        app.activate()
    return app


def _with_exact_number(error: errors.ApiError, request: Request) -> errors.ApiError:
    """Return an error with an integer as the request wrote it, not as parsing rounded it: beyond 64 bits it does."""
    if not isinstance(error, errors.OutOfRange) or type(error.value) is not int or -(2**63) <= error.value < 2**64:
        return error
    written = request.body if isinstance(request.body, str) else request.body.decode(errors="replace")
    exact = next((one[0] for one in _LONG_INTEGER.finditer(written) if int(float(one[0])) == error.value), None)
    return error if exact is None else error.but(value=int(exact))


def _vocabularies(config: Config, findings: Findings) -> tokenizers.OfModel:
    """Return what counts tokens."""
    wanted = config.settings.usage.tokenizer
    if wanted == "exact" and not tokenizers.available():
        findings.error(("usage", "tokenizer"), "exact counts need the extra: pip install 'fastmock[tokens]'")
        return tokenizers.estimated
    return tokenizers.estimated if wanted == "estimate" or not tokenizers.available() else tokenizers.exact()


def _check_server(config: Config, findings: Findings) -> None:
    """Check what only Granian can do, the certificate, which it would end on, and the libraries of extras."""
    server = config.settings.server
    if config.settings.metrics.any and find_spec("prometheus_client") is None:
        findings.error(("metrics",), "needs the extra: pip install 'fastmock[metrics]'")
    if server.watch and find_spec("watchfiles") is None:
        findings.error(("server", "watch"), "needs the extra: pip install 'fastmock[watch]'")
    for name in ("tls_cert", "tls_key", "http2"):
        if getattr(server, name) and server.runtime == "robyn":
            findings.error(("server", name), "Robyn cannot do this; leave 'server.runtime' at auto, or take granian")
    if bool(server.tls_cert) != bool(server.tls_key):
        lacking = "tls_key" if server.tls_cert else "tls_cert"
        findings.error(("server", lacking), "is required where the other of 'tls_cert' and 'tls_key' is given")
    elif server.tls_cert:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(server.tls_cert, server.tls_key)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            fault = str(error) or type(error).__name__
            findings.error(("server", "tls_cert"), f"{server.tls_cert} with {server.tls_key} cannot be used: {fault}")


def _manager(config: Config, previous: "App | None", findings: Findings) -> ResponseManager | None:
    """Return the response manager that the configuration names: that of ``previous`` where it named the same."""
    name = config.settings.responses.manager
    if name is None:
        return None
    if previous is not None and previous.config.settings.responses.manager == name:
        return previous.manager
    return _made_manager(name, findings)


def _made_manager(name: str, findings: Findings) -> ResponseManager | None:
    """Make the response manager that is named as ``package.module:Class``."""
    module, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the working directory, as "python -m" has it
    try:
        found = getattr(import_module(module), attribute)
        if isinstance(found, type) and issubclass(found, ResponseManager):
            return found()
        fault = f"{name} is not a subclass of fastmock.responses.ResponseManager"
    except ImportError as error:
        fault = f"cannot import {module!r}: {error}"
    except AttributeError as error:
        fault = f"{error}{did_you_mean(attribute, vars(sys.modules.get(module, sys)))}"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: whatever it is shall not end the server
        fault = f"{name} cannot be made: {type(error).__name__}: {error}"
    findings.error(("responses", "manager"), fault)
    return None


@dataclass(frozen=True)
class Layers:
    """The layers of a configuration, to be loaded and compiled as often as they change; see ``config.load.load``.

    Attributes:
        file: the configuration file, or its contents.
        environ: the environment's variables.
        flags: what the command line gave.
        manager: a response manager that was given as an object.
        runtime: the runtime that serves, once that is settled.
        pipes: see ``load``.
    """

    file: str | Path | Mapping[str, object] | None
    environ: Mapping[str, str]
    flags: Mapping[SettingPath, object]
    manager: ResponseManager | None = None
    runtime: str = ""
    pipes: dict[Path, Any] = field(default_factory=dict)

    def load(self, overlay: Overlay | None = None) -> "App":
        """Load and compile them.

        Raises:
            ConfigError: with everything that is wrong in either.
        """
        config, problems = load(
            self.file, self.environ, self.flags, overlay=overlay, runtime=self.runtime, pipes=self.pipes
        )
        try:
            app = build(config, self.manager)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(problems)
        return app

    def relaid(self, overlay: Overlay, config: Config) -> Config:
        """Return a configuration that was loaded before, under another overlay; raise ConfigError as ``load`` does."""
        again, problems = relaid(config, overlay)
        if problems:
            try:
                build(again, self.manager)
            except ConfigError as error:
                problems += error.problems
            raise ConfigError(problems)
        return again

    def compile(self, config: Config, previous: "App | None", warns: bool) -> "App":
        """Compile a configuration; see ``build``."""
        return build(config, self.manager, previous, warns)


def _pattern(path: str) -> Callable[[str], re.Match[str] | None]:
    """Return what matches a path of ``Routes``, with and without the ``/v1``."""
    return re.compile("(?:/v1)?" + re.sub(r"\{\w+\}", "[^/]+", path.replace("{path}", ".+"))).fullmatch


class App:
    """Answers requests; shared by the threads of a worker, and inherited by forked workers.

    Attributes:
        config: what it was compiled from.
        warnings: what worked but maybe not as meant.
        rulebooks: the rules of each kind of completions, and ``moderations`` what is flagged.
        manager: the response manager, which may block; None without one.
        handlers: by method and path, for a runtime that routes by itself; ``elsewhere`` is for all the rest, and
            ``refused`` for what a runtime found wrong before it could be handled.
        takes_time: whether any answer is spread over time, and ``delays_whole`` whether whole ones are too.
        share: the worker's part of the shared block.
        store: keeps answers, for all workers.
        exact: whether tokens are counted exactly.
        progress: see ``wire.Progress``; ``route_names`` are the names of its routes, the first that of number 1.
        faults: what goes wrong on purpose.
        counts_connections: whether connections are counted, for metrics.
        buffers: the memory that bodies and large answers may take.
        by_rules: what the rules alone say, for the response manager.
        waiting: how many wait for their turn; None where any number is answered at a time.
    """

    exact = False
    faults: FaultInjector
    by_rules: dict[str, Generate]
    buffers: Buffers
    waiting: Callable[[], int] | None = None

    def __init__(
        self,
        config: Config,
        routes: Routes,
        reads: Reads,
        warnings: list[str],
        rulebooks: list[Rulebook],
        moderations: Moderations,
        manager: ResponseManager | None,
        traffic: Traffic,
        store: Store,
        progress: Progress,
    ) -> None:
        settings = config.settings
        self.progress = progress
        self.counts_connections = settings.metrics.any
        self.route_names: list[str] = []
        self.config = config
        self.warnings = warnings
        self.rulebooks = rulebooks
        self.moderations = moderations
        self.manager = manager
        self.takes_time = traffic.takes_time()
        self.delays_whole = self.takes_time and traffic.delays_whole
        self.share = traffic.share
        self.store = store
        self._heads = PROVIDERS[0].heads
        guard = authorizer(settings.auth)
        self._guards = [guard] if guard else []
        self._open_models = settings.auth.open_models
        self._reads = reads
        for methods in routes.values():
            if "GET" in methods:
                methods["HEAD"] = methods["GET"]  # the runtime leaves the body out
        fixed = {path: methods for path, methods in routes.items() if "{" not in path}
        self._routes = {f"{base}{path}": methods for base in ("", "/v1") for path, methods in fixed.items()}
        self._below = [(_pattern(path), methods) for path, methods in routes.items() if "{" in path]
        self.handlers: dict[tuple[str, str], Handler] = {}
        for path, methods in self._routes.items():
            for method, endpoint in methods.items():
                self.route_names.append(f"{method} {path}")
                guards = self._guards_of(method, path)
                self.handlers[method, path] = self._whole(endpoint, guards, len(self.route_names), owner(path))
        self._routes["/health"] = {"GET": self._healthy, "HEAD": self._healthy}
        for method in self._routes["/health"]:
            self.handlers[method, "/health"] = self._whole(self._healthy, ())
        self.elsewhere = self._whole(self._other, ())
        self.refused: Callable[[errors.ApiError, Request], Answer] = self.refuse

    def activate(self) -> None:
        """Have the response manager go by the rules of this App; it may be that of the App which gives way."""
        if self.manager is not None:
            self.manager.bind(self.by_rules)

    @property
    def rules(self) -> int:
        """How many patterns there are in all."""
        return sum(len(rulebook.rules) for rulebook in self.rulebooks) + len(self.moderations.rules)

    def never_win(self) -> Iterator[str]:
        """Say which patterns can never win, and why; it takes time with the square of their number."""
        for rulebook in self.rulebooks:
            yield from rulebook.never_win()
        yield from self.moderations.never_win()

    def handle(self, request: Request) -> Answer:
        """Answer a request, whatever it is."""
        return self.handlers.get((request.method, request.path), self.elsewhere)(request)

    def explain(self, body: str | bytes, headers: Mapping[str, str]) -> Verdict:
        """Say which rule answers a request for completions, and which came nearest.

        Raises:
            ApiError: the request is wrong, in words.
        """
        request = Request("POST", "", headers, body)
        try:
            return self._explain(request)
        except errors.ApiError as error:
            raise find(request).words(error) from None

    def _explain(self, request: Request) -> Verdict:
        parsed = parse(request.body)
        # Anthropic's messages are known by "system", or by the header that its clients send.
        named = next((kind for name, kind in _KNOWN_BY.items() if name in parsed), "chat_completions")
        if named == "completions" and isinstance(parsed["prompt"], dict):  # one that is stored at OpenAI
            named = "responses"
        read, rulebook = self._reads["messages" if find(request) is ANTHROPIC else named]
        ask = read(parsed, unique())
        ask.request = request
        return rulebook.explain(ask)

    def recall(self, request: Request) -> tuple[Ask, Rulebook | None]:
        """Return what a request of long ago asked for, and the rules that answer such, where any do.

        Of one that was wrong it is what can be made out.
        """
        kind = endpoint_of(request.path)
        read, rulebook = self._reads.get(kind, (None, None))
        body: dict[str, Any] = {}
        with suppress(errors.ApiError):
            body = parse(request.body)
            if read is not None and request.method == "POST":
                ask = read(body, unique())
                ask.request = request
                return ask, rulebook
        model = body.get("model")
        ask = Ask("", body, model if isinstance(model, str) else "")
        ask.endpoint, ask.request, ask.stream = kind, request, body.get("stream") is True
        given = body.get("input")
        texts = given if isinstance(given, list) else [given]
        ask.user_message = "\n".join(text for text in texts if isinstance(text, str))
        return ask, None

    def watch(self, put: Callable[[Handler], Handler], health: bool = False) -> None:
        """Put something around all that answers a request, also one that a runtime found wrong.

        ``health`` says whether around ``/health`` too.
        """
        for (method, path), handler in self.handlers.items():
            if health or path != "/health":
                self.handlers[method, path] = put(handler)
        self.elsewhere = put(self.elsewhere)
        refused = self.refused
        self.refused = lambda error, request: put(lambda request: refused(error, request))(request)

    def silence(self) -> None:
        """Answer nothing of the API: requests for it are for others, and only ``/health`` is left."""
        for method, path in list(self.handlers):
            if path != "/health":
                del self.handlers[method, path]
        self._routes = {"/health": self._routes["/health"]}
        self._below = []

    def refuse(self, error: errors.ApiError, request: Request, name: str = "") -> Reply:
        """Return an error as an answer to a request."""
        id_ = f"req_{name or unique()}"
        provider = provider_of(request) if request.provider else find(request)
        error = provider.words(error)
        reply = Reply(provider.heads.get(error.status), id_, provider.envelope(error, id_))
        reply.model, reply.rule, reply.more = error.model, error.rule, error.headers
        reply.fault, reply.limit, reply.check = error.fault, error.limit, error.check
        if error.check:
            reply.more = (*reply.more, (CHECK_HEADER, error.check))
        return reply

    def _whole(
        self, endpoint: Endpoint, guards: Sequence[Guard], number: int = 0, provider: Provider | None = None
    ) -> Handler:
        """Put around an endpoint what all of them have: a limit, guards, errors, origins.

        ``number`` is that of its route; see ``wire.Progress``. ``provider`` is that which alone has its path.
        """
        limit = self.config.settings.server.max_body_bytes
        origins = heads.Origins(self.config.settings.server.cors_origins)
        refuse, progress = self.refuse, self.progress

        def handler(request: Request) -> Answer:
            progress.cells[0] = number  # Progress.ROUTE; it takes 60 ns
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
                answer = refuse(_with_exact_number(error, request), request, name)
            except MoveApart:
                raise
            except Exception:
                _LOG.exception("%s %s failed; this is a defect of fastmock", request.method, request.path)
                answer = refuse(errors.InternalError(), request, name)
            # Only a browser sends its origin: asking costs 0.3 µs, two more headers on every answer 1 µs.
            if (origin := request.headers.get("origin")) is not None:
                answer.head = origins.let_read(answer.head, origin)
            return answer

        return handler

    def _guards_of(self, method: str, path: str) -> Sequence[Guard]:
        """Return what a request has to pass before it is answered."""
        is_open = path == "/health" or (self._open_models and endpoint_of(path) == "models")
        return () if is_open and method in ("GET", "HEAD") else self._guards

    def _other(self, request: Request, name: str) -> Answer:
        """Answer what is not found by method and path: a trailing slash, what has an id, a preflight, nothing."""
        path = request.path
        if path.endswith("/") and path != "/":
            path = path[:-1]
        methods = self._routes.get(path)
        if methods is None:
            methods = next((methods for match, methods in self._below if match(path)), None)
            if methods is None:
                raise errors.RouteNotFound(request.method, path)
        endpoint = methods.get(request.method)
        if endpoint is not None:
            for guard in self._guards_of(request.method, path):
                guard(request)
            return endpoint(request, name)
        allowed = ", ".join(sorted((*methods, "OPTIONS")))
        if (request.headers.get("upgrade") or "").lower() == "websocket":
            raise errors.UpgradeRequired()
        if request.method != "OPTIONS":
            raise errors.MethodNotAllowed(request.method, request.path, allowed)
        more = heads.preflight(request.headers.get("access-control-request-headers"))
        head = self._heads.get(204, "", ())
        return Reply(Head(204, (*head.headers, *more, ("allow", allowed))), f"req_{name}", b"")

    def _healthy(self, request: Request, name: str) -> Reply:
        """Say that it works, and how late the frames of the last minute were."""
        seen = self.share.lateness()
        streams = {"in_flight": self.share.in_flight(), "frames": seen.frames}
        lateness = {"p50": seen.p50, "p99": seen.p99}
        minute = {**streams, "lateness_ms": lateness}
        body: dict[str, Any] = {"status": "ok", "version": __version__, "last_minute": minute}
        if self.waiting is not None:
            body["queued"] = self.waiting()
        if faults := self.faults.counted():
            body["faults"] = faults
        return Reply(self._heads.get(200), f"req_{name}", orjson.dumps(body))
