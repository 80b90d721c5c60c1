"""Plans: what is known of the response to a body that was seen before, kept in a bounded cache.

A body is only counted the first time. The second time it is parsed and rendered with other ids, to find the places that
vary from request to request. From then on its plan answers it: with ready bytes if nothing else decides about the
response, else by the steps that are left. See ``_Planner.build``.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import time
from typing import NamedTuple, Protocol, runtime_checkable

from fastmock.core import errors
from fastmock.core.completion import Answer, ChatRequest
from fastmock.core.http import MoveApart, Reply, Request, Stream
from fastmock.core.routing import Endpoint
from fastmock.engine.cache import LARGEST_RESPONSE, LONGEST_BODY, Cache, Entry
from fastmock.engine.manager import Dialect, OtherDialect
from fastmock.engine.profiles import CONTROL_HEADERS
from fastmock.engine.responder import Responder
from fastmock.engine.sender import LARGE_STREAM
from fastmock.engine.splicing import MARKS, Fill, Mark, Splice, splice
from fastmock.faults.injector import FAULT_HEADER
from fastmock.rules.strict import STRICT_HEADER
from fastmock.shared.cache_counts import MISSES
from fastmock.validation.validator import HEADER

_PATIENCE, _GLANCE = 1000, 16  # after so many new bodies in a row, only one in so many is looked up
_OVERHEAD = 1200  # bytes of a plan besides its texts
_STEP_OVERHEAD = 500  # bytes of a part of it, likewise
_KEPT_OVERHEAD = 1500  # bytes of a response that is stored, likewise

_BYPASSES = (*CONTROL_HEADERS, HEADER, STRICT_HEADER, FAULT_HEADER)
_OF_ONE_REQUEST = frozenset(("unique", "request", "now", "whole", "known_answers", "answered_by"))
"""Attributes that are not copied from a parsed request to another."""


@runtime_checkable
class Plannable(Dialect, Protocol):
    """An endpoint whose responses may have plans. They must not depend on the query."""

    def __call__(self, request: Request, unique: str) -> Reply | Stream:
        """Answer a request."""

    def depends_on_body_alone(self, chat: ChatRequest) -> bool:
        """Return whether a request and its response depend on the body and the path alone."""


_Plan = Entry[Endpoint]
"""A plan: answers requests, and has a size in bytes."""


def planned(endpoint: Endpoint, responder: Responder, cache: Cache) -> Endpoint:
    """Return an endpoint that answers by plans where it can; the endpoint itself if there can be none."""
    if not cache.max_bytes or not isinstance(endpoint, Plannable):
        return endpoint
    plans: dict[object, _Plan] = cache.table()
    find, share, seen_before = plans.get, cache.share, cache.seen_before
    build = _Planner(endpoint, responder).build
    bypassed = _BYPASSES if responder.takes_control_headers else ()
    fresh = 0  # requests since a body was found

    def answer(request: Request, unique: str) -> Reply | Stream:
        nonlocal fresh
        fresh += 1
        # While all bodies are new, most are not looked up: that takes 0.5 µs of a request instead of 1.3.
        if fresh > _PATIENCE and fresh % _GLANCE:
            return endpoint(request, unique)
        body = request.body
        if len(body) > LONGEST_BODY or (bypassed and any(map(request.headers.get, bypassed))):
            return endpoint(request, unique)
        key = (request.path, body) if request.params else body
        if (plan := find(key)) is not None:
            plan.used = True
            fresh = 0
            share.numbers[share.row + plan.counts] += 1
            return plan.value(request, unique)
        share.numbers[share.row + MISSES] += 1 if fresh <= _PATIENCE else _GLANCE
        if not seen_before(key):
            return endpoint(request, unique)
        fresh = 0
        plan = build(request)
        cache.add(plans, key, plan)
        return plan.value(request, unique)

    return answer


class PlannedStream:
    """A stream for one request; see ``response_template.RenderedStream``."""

    __slots__ = ("_now", "_plan", "_unique", "source", "steps")

    def __init__(self, plan: "PlannedResponse", unique: str, now: float) -> None:
        self.source: object = plan
        self.steps = plan.steps
        self._plan, self._unique, self._now = plan, unique, now

    def cut(self, begin: int, end: int) -> bytes:
        """Return the steps from ``begin`` up to ``end``; only of a paced stream, whose steps are its parts."""
        return b"".join([fill(self._unique, self._now) for fill in self._plan.fills[begin:end]])

    def all(self) -> bytes:
        """Return the whole stream."""
        return b"".join([fill(self._unique, self._now) for fill in self._plan.fills])

    def length(self) -> int:
        """Return the length of the stream, in bytes."""
        return self._plan.size

    def size(self) -> int:
        """Return the memory that the stream takes, in bytes."""
        return self._plan.size


class PlannedResponse:
    """A response with slots for ids and times; see ``response_template.Rendering``.

    Attributes:
        fills: fill the slots of its parts: one for the whole, or one for each step of a paced stream.
        steps: the tokens of each step of a stream.
        stops: whether its answers end by themselves.
        size: its length, in bytes; ``held`` includes the response that is stored.
    """

    def __init__(
        self,
        parts: Sequence[Splice],
        kept: Splice | None,
        steps: list[int],
        tokens: int,
        answers: Sequence[Answer] = (),
    ) -> None:
        """Take the parts.

        Args:
            parts: the response; the steps of a paced stream, else a single part.
            kept: the response that is stored; None if it is not stored.
            steps: the tokens of each step of a stream.
            tokens: the tokens of a non-streaming answer.
            answers: the answers, if the journal looks at them.
        """
        self.fills: Sequence[Fill] = [part.fill for part in parts]
        self.size = sum(part.size for part in parts)
        self.held = self.size + (0 if kept is None else kept.size + _KEPT_OVERHEAD)
        self.steps = steps
        self._kept = None if kept is None else kept.fill
        self._tokens = tokens
        self._answers = answers
        self.stops = all(answer.finish_reason == "stop" for answer in answers)

    def answers(self, chat: ChatRequest) -> Sequence[Answer]:
        """Return the answers, with the ids of an earlier request; none if nothing looks at them.

        Faults do not: where they may change answers, plans render none.
        """
        return self._answers

    def whole(self, chat: ChatRequest, answers: Sequence[Answer] | None = None) -> bytes:
        """Return the non-streaming response."""
        whole = self.fills[0](chat.unique, time())
        if self._kept is not None:
            chat.whole = whole
        return whole

    def render_stream(
        self, chat: ChatRequest, answers: Sequence[Answer] | None = None, obfuscated: bool = False
    ) -> PlannedStream:
        """Return the stream."""
        now = time()
        if self._kept is not None:
            chat.whole = self._kept(chat.unique, now)
        return PlannedStream(self, chat.unique, now)

    def length(self, chat: ChatRequest, answers: Sequence[Answer] | None = None) -> int:
        """Return the number of tokens of the answer."""
        return self._tokens


class _Rendered(NamedTuple):
    """A response rendered with one of ``MARKS``; see ``PlannedResponse`` for the attributes."""

    chat: ChatRequest
    parts: list[bytes]
    steps: list[int]
    tokens: int
    answers: Sequence[Answer]


class _Planner:
    """Builds the plans of one endpoint."""

    def __init__(self, endpoint: Plannable, responder: Responder) -> None:
        self._endpoint = endpoint
        self._responder = responder
        # Errors about a request in another dialect name its own parameters.
        self._translate = endpoint.translate_error if isinstance(endpoint, OtherDialect) else None

    def build(self, request: Request) -> _Plan:
        """Return the plan for a body.

        It goes as far as the response depends on the body alone: to the response, to its rendering, to the parsed
        request, or nowhere.
        """
        size = _OVERHEAD + len(request.body)
        parsed = _parsed_size(request.body)
        with suppress(errors.ApiError, MoveApart):
            chat = self._endpoint.read(request, MARKS[0].unique)
            if self._endpoint.depends_on_body_alone(chat):
                if not self._responder.decides_by_body:
                    return _Plan(self._for_copies(chat, self._select), size + parsed)
                first = self._render(chat, MARKS[0])
                second = self._render(self._endpoint.read(request, MARKS[1].unique), MARKS[1])
                if first and second and (response := _spliced(first, second)) is not None:
                    size += response.held + _STEP_OVERHEAD * len(response.fills)
                    if self._sends_bytes_alone(chat):
                        return _Plan(self._ready(chat, response), size)
                    send = partial(self._deliver, response)
                    return _Plan(self._for_copies(chat, send), size + parsed)
        return _Plan(self._endpoint, size, MISSES)

    def _render(self, chat: ChatRequest, mark: Mark) -> _Rendered | None:
        """Render the response to a request; None if it is too large, or text in it depends on the id or time."""
        chat.now = mark.created
        template, answers = self._responder.adapted(chat)
        if template.varies:
            return None
        rendering = self._endpoint.rendering(template)
        sender = self._responder.sender
        paced = sender.timing(chat) is not None
        shown: Sequence[Answer] = ()
        if self._responder.sender.shows_answers:
            shown = rendering.answers(chat) if answers is None else answers
        if not chat.stream:
            whole = rendering.whole(chat, answers)
            if len(whole) > LARGEST_RESPONSE:
                return None
            return _Rendered(chat, [whole], [], rendering.length(chat, answers) if paced else 0, shown)
        stream = rendering.render_stream(chat, answers, sender.obfuscates(chat))
        if len(stream.steps) > LARGE_STREAM or stream.length() > LARGEST_RESPONSE:
            return None
        parts = [stream.cut(step, step + 1) for step in range(len(stream.steps))] if paced else [stream.all()]
        return _Rendered(chat, parts, stream.steps, 0, shown)

    def _sends_bytes_alone(self, chat: ChatRequest) -> bool:
        """Return whether the response to a request is sent at once, as its bytes and nothing else."""
        return self._responder.sends_bytes_alone and self._responder.sender.timing(chat) is None and not chat.store

    def _ready(self, chat: ChatRequest, response: PlannedResponse) -> Endpoint:
        """Return an endpoint that sends nothing but a response."""
        head, [fill] = self._endpoint.deliver(chat, response).head, response.fills
        count, rule = self._responder.count_rule, chat.rule

        def answer(request: Request, unique: str) -> Reply:
            count(rule)
            return Reply(head, f"req_{unique}", fill(unique, time()))

        return answer

    def _deliver(self, response: PlannedResponse, chat: ChatRequest) -> Reply | Stream:
        """Send a response whose rule was selected before."""
        self._responder.count(chat)
        return self._endpoint.deliver(chat, response)

    def _select(self, chat: ChatRequest) -> Reply | Stream:
        """Send the response to a request that was parsed before."""
        if chat.details is not None:
            chat.details = replace(chat.details)
        template, answers = self._responder.select(chat)
        return self._endpoint.deliver(chat, self._endpoint.rendering(template), answers)

    def _for_copies(self, chat: ChatRequest, send: Callable[[ChatRequest], Reply | Stream]) -> Endpoint:
        """Return an endpoint that sends the response to copies of a parsed request."""
        kind, translate = type(chat), self._translate
        attributes = {name: value for name, value in chat.__dict__.items() if name not in _OF_ONE_REQUEST}

        def answer(request: Request, unique: str) -> Reply | Stream:
            copied = kind.__new__(kind)
            copied.__dict__.update(attributes)
            copied.unique, copied.request = unique, request
            try:
                return send(copied)
            except errors.ApiError as error:
                if translate is None:
                    raise
                raise translate(error, copied) from None

        return answer


def _spliced(first: _Rendered, second: _Rendered) -> PlannedResponse | None:
    """Return the response with its slots; None if two renderings differ in more than ids and times."""
    if len(first.parts) != len(second.parts):
        return None
    kept = splice(first.chat.whole, second.chat.whole) if first.chat.store else None
    parts = [splice(*pair) for pair in zip(first.parts, second.parts, strict=True)]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts) or (kept is None and first.chat.store):
        return None
    return PlannedResponse(found, kept, first.steps, first.tokens, first.answers)


def _parsed_size(body: str | bytes) -> int:
    """Estimate the size of a parsed request from its body: what costs is the number of its strings."""
    quotes = body.count('"') if isinstance(body, str) else body.count(b'"')
    return 1500 + len(body) + 50 * quotes
