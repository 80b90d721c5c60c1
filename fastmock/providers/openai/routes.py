"""The routes of OpenAI's API."""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from fastmock.core.headers import make_answer_heads
from fastmock.core.routing import OTHER, Endpoint, Route
from fastmock.engine.manager import ManagedEmbeddings, compiled
from fastmock.engine.responder import Responder
from fastmock.engine.services import Api, Reading, Services
from fastmock.providers.checked import checked
from fastmock.providers.openai.chat.checks import contents
from fastmock.providers.openai.chat.endpoint import Chat
from fastmock.providers.openai.chat.render import ChatChoiceFormat
from fastmock.providers.openai.chat.stored import StoredCompletions
from fastmock.providers.openai.checks_table import CHECKS
from fastmock.providers.openai.completions import CompletionChoiceFormat, Completions
from fastmock.providers.openai.completions_checks import contents as completion_contents
from fastmock.providers.openai.embeddings import Embeddings
from fastmock.providers.openai.errors import words
from fastmock.providers.openai.headers import HEADS, error_event
from fastmock.providers.openai.models import Models
from fastmock.providers.openai.moderations import Moderations
from fastmock.providers.openai.responses.checks import contents as response_contents
from fastmock.providers.openai.responses.conversations import Conversations
from fastmock.providers.openai.responses.endpoint import Responses
from fastmock.providers.openai.responses.render import error_event as response_error_event
from fastmock.providers.openai.responses.render import numbering
from fastmock.providers.openai.responses.stored import StoredResponses
from fastmock.validation.check import CHAT, COMPLETIONS, RESPONSES
from fastmock.validation.validator import Validator

_OF_RESPONSES = ("input", "previous_response_id", "conversation", "instructions")


def api(services: Services) -> Api:
    """Compile the API."""
    heads = make_answer_heads(HEADS, error_event)
    chats = services.compile_rules("chat_completions", ChatChoiceFormat(), heads)
    texts = services.compile_rules("completions", CompletionChoiceFormat(), heads)
    models = Models(services.settings.models, HEADS)
    moderations = Moderations(services, HEADS)
    parts = (
        _chat(services, chats),
        _responses(services, chats, models.first),
        _completions(services, texts),
        _embeddings(services),
    )
    others = (
        Route("POST", "/moderations", moderations, "moderations"),
        Route("GET", "/models", models.all, "models"),
        Route("GET", "/models/{id*}", models.one, "models"),
        Route("DELETE", "/models/{id*}", models.delete, "models"),
    )
    return Api(
        (*(route for part in parts for route in part.routes), *others),
        [reading for part in parts for reading in part.readings],
        {name: generate for part in parts for name, generate in part.generate.items()},
        (*(rules for part in parts for rules in part.plain_rules), moderations.rules),
    )


def _chat(services: Services, chats: Responder) -> Api:
    """Compile chat completions, and those that were stored."""
    settings, tokenizers = services.settings, services.tokenizers
    stored = StoredCompletions(services.store, HEADS, settings.stored.strict_ids)
    chat = Chat(chats, tokenizers, stored, checked(Validator(settings, CHAT, CHECKS), contents))
    answer = services.managed(chats, chat, "generate_chat_response")
    routes = (
        Route("POST", "/chat/completions", answer, "chat_completions", policed=False),
        Route("GET", "/chat/completions", stored.all),
        Route("GET", "/chat/completions/{id}", stored.one),
        Route("POST", "/chat/completions/{id}", stored.update),
        Route("DELETE", "/chat/completions/{id}", stored.delete),
        Route("GET", "/chat/completions/{id}/messages", stored.messages),
    )
    reading = Reading("chat_completions", chat.parse, chats, lambda body: "messages" in body, itemgetter("messages"))
    return Api(routes, [reading], {"chat": compiled(chat, words, serves_others=True)})


def _completions(services: Services, texts: Responder) -> Api:
    """Compile legacy completions."""
    settings, tokenizers = services.settings, services.tokenizers
    completions = Completions(texts, tokenizers, checked(Validator(settings, COMPLETIONS, CHECKS), completion_contents))
    answer = services.managed(texts, completions, "generate_completion_response")
    route = Route("POST", "/completions", answer, "completions", policed=False)
    reading = Reading("completions", completions.parse, texts, lambda body: "prompt" in body)
    return Api([route], [reading], {"completion": compiled(completions, words)})


def _responses(services: Services, chats: Responder, default_model: str) -> Api:
    """Compile Responses and conversations."""
    settings, tokenizers = services.settings, services.tokenizers
    store, log, strict = services.store, services.response_log, settings.stored.strict_ids
    conversations = Conversations(log, store, HEADS, strict)
    stored = StoredResponses(log, conversations, HEADS, tokenizers, chats.per_chunk, strict)
    check = checked(Validator(settings, RESPONSES, CHECKS), response_contents)
    responses = Responses(chats, tokenizers, stored, HEADS, settings, default_model, check)
    answer = services.managed(chats, responses, "generate_chat_response")
    retrieve = numbering(services.policies.wrap(stored.one, OTHER, response_error_event))
    routes = (
        Route("POST", "/responses", answer, "responses", policed=False),
        Route("POST", "/responses/input_tokens", responses.input_tokens),
        Route("POST", "/responses/compact", responses.compact),
        Route("GET", "/responses/{id}", retrieve, policed=False),
        Route("DELETE", "/responses/{id}", stored.delete),
        Route("POST", "/responses/{id}/cancel", stored.cancel),
        Route("GET", "/responses/{id}/input_items", stored.input_items),
        Route("POST", "/conversations", conversations.create),
        Route("GET", "/conversations/{id}", conversations.one),
        Route("POST", "/conversations/{id}", conversations.update),
        Route("DELETE", "/conversations/{id}", conversations.delete),
        Route("GET", "/conversations/{id}/items", conversations.list_items),
        Route("POST", "/conversations/{id}/items", conversations.add_items),
        Route("GET", "/conversations/{id}/items/{item}", conversations.one_item),
        Route("DELETE", "/conversations/{id}/items/{item}", conversations.delete_item),
    )

    def fits(body: Mapping[str, Any]) -> bool:
        # A prompt given as an object refers to one stored at OpenAI.
        return any(name in body for name in _OF_RESPONSES) or isinstance(body.get("prompt"), dict)

    return Api(routes, [Reading("responses", responses.parse, chats, fits, responses.messages)])


def _embeddings(services: Services) -> Api:
    """Compile embeddings."""
    embeddings = Embeddings(services, HEADS)
    answer: Endpoint = embeddings
    if services.manager is not None:
        answer = ManagedEmbeddings(embeddings, services.manager.generate_embedding_response, services.progress)
    routes = [Route("POST", "/embeddings", answer, "embeddings")]
    return Api(routes, (), {"embedding": compiled(embeddings, words)}, [embeddings.rules])
