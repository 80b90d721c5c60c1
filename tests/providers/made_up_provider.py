"""A provider that does not exist: all that its API does differently from the built-in ones stands in this module.

Its requests are ``POST /v9/models/{model}:talk?key=…``, its streams JSON arrays, and its errors ``{"trouble": …}``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson

from fastmock.content.words import Chunker
from fastmock.core import errors
from fastmock.core.completion import Answer, ChatRequest
from fastmock.core.errors import ApiError, Failure
from fastmock.core.framing import Framing
from fastmock.core.headers import HeaderFactory, make_answer_heads
from fastmock.core.http import Reply, Request
from fastmock.core.json import parse
from fastmock.core.provider import Keys, LimitHeaders, Provider, in_words
from fastmock.core.routing import Route
from fastmock.engine.dialect import DialectEndpoint
from fastmock.engine.event_template import DialectTemplates, Events, MetaSource, RenderedAnswer, call_id
from fastmock.engine.services import Api, Reading, Services
from fastmock.providers.openai.chat import request as chat_request
from fastmock.providers.openai.chat.request import ConversationRequest

Document = dict[str, Any]

HEADS = HeaderFactory((("talk-version", "9"),), "talk-id")


class JsonArray(Framing):
    """A stream that is one JSON array, an element an event."""

    content_type = "application/json"
    heartbeat = b" "

    def split(self, data: bytes) -> list[bytes]:
        return [b",\n" + event if number else event for number, event in enumerate(data.split(b",\n"))]

    def break_off(self, event: bytes) -> bytes | None:
        begin = event.find(b"{")
        return None if begin < 0 else event[: begin + (len(event) - begin) // 2]

    def first(self, event: bytes) -> bytes:
        return b"[" + event.removeprefix(b",\n") if event else event

    def later(self, event: bytes) -> bytes:
        return b",\n" + event.removeprefix(b",\n").removeprefix(b"[").removesuffix(b"]")


def words(error: ApiError) -> ApiError:
    """Say every failure in this provider's words."""
    if error.verbatim or not isinstance(error, Failure):
        return error
    match error:
        case errors.KeyMissing() | errors.KeyInvalid():
            return ApiError(403, "The key in '?key=' opens nothing.", kind="LOCKED")
        case errors.LimitReached(label=label):
            return ApiError(429, f"You have talked enough: {label}.", kind="EXHAUSTED")
        case errors.ModelNotFound(name=name):
            return ApiError(404, f"Nobody is called {name}.", kind="ABSENT")
        case errors.ContextExceeded(window=window):
            return ApiError(400, f"That is more than {window} tokens.", kind="TOO_LONG")
        case errors.RouteNotFound() | errors.MethodNotAllowed():
            return ApiError(404, "There is nothing to talk to.", kind="ABSENT")
        case errors.StatusFailure(status=status):
            return ApiError(status, "Something broke.", kind="BROKEN")
        case errors.InternalError() | errors.ManagerFailed():
            return ApiError(500, "Something broke.", kind="BROKEN")
        case errors.Overloaded() | errors.QueueFull():
            return ApiError(503, "Everybody talks at once.", kind="BUSY")
    return ApiError(400, f"This is no talk: {error}", kind="WRONG")


def envelope(error: ApiError, request_id: str) -> bytes:
    return orjson.dumps(
        {"trouble": {"number": error.status, "words": error.message, "sort": error.kind, "talk": request_id}}
    )


def error_event(error: ApiError, request_id: str) -> bytes:
    return b",\n%b]" % envelope(in_words(error, words), request_id)


class TalkRequest(ConversationRequest):
    """A request, in the form of the chat completion that asks for the same."""

    endpoint = "talk"


class TalkRenderer:
    """Renders what is answered; see ``event_template.Renderer``."""

    def form(self, chat: ChatRequest) -> str:
        return ""

    def render(self, answer: Answer, form: str, chunker: Chunker) -> tuple[Document, Callable[[], Events]]:
        uses = [{"tool": call.name, "with": call.arguments, "id": call_id(call.id, "use_")} for call in answer.calls]
        text = answer.text if answer.refusal is None else answer.refusal
        return {"text": text or "", "uses": uses}, partial(self._events, text or "", uses, chunker)

    def _events(self, text: str, uses: list[Document], chunker: Chunker) -> Events:
        events: Events = [(tokens, {"piece": piece}) for tokens, piece in chunker.cut(text)]
        for use in uses:
            events.append((1, {"use": use["tool"], "id": use["id"]}))
            events += [(tokens, {"with": piece}) for tokens, piece in chunker.cut(use["with"])]
        return events

    def event(self, event: Document) -> bytes:
        return b",\n" + orjson.dumps(event)

    def whole(self, chat: ChatRequest, rendered: RenderedAnswer, content: bytes, meta: MetaSource) -> bytes:
        return b'{"model":%b,"says":%b,%b}' % (orjson.dumps(meta.model), content, self._end(rendered, meta))

    def envelope(
        self, chat: ChatRequest, rendered: RenderedAnswer, content: bytes, meta: MetaSource
    ) -> tuple[bytes, bytes]:
        return b'[{"model":%b}' % orjson.dumps(meta.model), b",\n{%b}]" % self._end(rendered, meta)

    def _end(self, rendered: RenderedAnswer, meta: MetaSource) -> bytes:
        count = {"heard": meta.prompt_tokens, "spoken": meta.completion_tokens}
        return b'"ended":"%b","count":%b' % (rendered.answer.finish_reason.encode(), orjson.dumps(count))


class Talk(DialectEndpoint):
    """The endpoint."""

    def __init__(self, services: Services) -> None:
        responder = services.responders["chat_completions"]
        self._tokenizers = services.tokenizers
        templates = DialectTemplates("talk", TalkRenderer(), responder.per_chunk)
        super().__init__(responder, templates, make_answer_heads(HEADS, error_event, JsonArray()))

    def read(self, request: Request, unique: str) -> TalkRequest:
        chat = self.parse(parse(request.body), unique, **request.params)
        chat.request = request
        return chat

    def parse(self, body: Document, unique: str, model: str = "") -> TalkRequest:
        turns = body.get("turns")
        if not isinstance(turns, list) or not turns:
            raise errors.ParameterMissing("turns")
        roles = {"me": "user", "you": "assistant", "stage": "system"}
        chat: Document = {
            "model": model,
            "messages": [{"role": roles.get(turn.get("who"), "user"), "content": turn.get("says")} for turn in turns],
        }
        if (most := body.get("most")) is not None:
            chat["max_completion_tokens"] = most
        if body.get("flowing"):
            chat["stream"] = True
        if tools := body.get("tools"):
            chat["tools"] = [{"type": "function", "function": tool} for tool in tools]
            chat["tool_choice"] = "required"
        return chat_request.parse(chat, unique, self._tokenizers, TalkRequest)

    def reparse(self, chat: ChatRequest, body: Document, unique: str) -> TalkRequest:
        return chat_request.parse(body, unique, self._tokenizers, TalkRequest)


def api(services: Services) -> Api:
    talk = Talk(services)
    chats = services.responders["chat_completions"]
    answer = services.managed(chats, talk, "generate_chat_response")

    def sizes(request: Request, unique: str) -> Reply:
        return Reply(HEADS.get(200), f"req_{unique}", orjson.dumps({"models": [request.params["model"]]}))

    return Api(
        (
            Route("POST", "/models/{model}:talk", answer, "talk", policed=False),
            Route("POST", "/talk", answer, "talk", policed=False),
            Route("GET", "/models/{model}", sizes),
        ),
        (Reading("talk", talk.parse, chats, lambda body: "turns" in body),),
    )


def _limits() -> Mapping[str, str]:
    return {"requests": "talk-calls-{}", "tokens": "talk-tokens-{}"}


PROVIDER = Provider(
    name="talk",
    bases=("/v9",),
    paths=("/",),
    sign="talk-client",
    key_headers=("talk-key",),
    key_parameter="key",
    heads=HEADS,
    limit_headers=LimitHeaders(_limits(), lambda milliseconds: f"{milliseconds} ms"),
    words_of=words,
    envelope=envelope,
    error_event=error_event,
    api=api,
    keys=Keys(("spoken",), ('"with":',)),
)
