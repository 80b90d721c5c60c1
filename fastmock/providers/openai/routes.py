"""The routes of OpenAI's API."""

from fastmock.core.headers import make_answer_heads
from fastmock.core.routing import OTHER, Route
from fastmock.engine.manager import ManagedEmbeddings, compiled
from fastmock.engine.services import Api, Reading, Services
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
    settings, tokenizers = services.settings, services.tokenizers
    heads = make_answer_heads(HEADS, error_event)
    chats = services.compile_rules("chat_completions", ChatChoiceFormat(), heads)
    texts = services.compile_rules("completions", CompletionChoiceFormat(), heads)
    compiling = services.config, HEADS, services.profiles, tokenizers, services.diagnostics
    embeddings, moderations = Embeddings(*compiling), Moderations(*compiling)
    store, log, strict = services.store, services.response_log, settings.stored.strict_ids
    stored = StoredCompletions(store, HEADS, strict)
    conversations = Conversations(log, store, HEADS, strict)
    stored_responses = StoredResponses(log, conversations, HEADS, tokenizers, chats.per_chunk, strict)
    models = Models(settings.models, HEADS)
    chat = Chat(chats, tokenizers, stored, Validator(settings, CHAT, CHECKS, contents).check)
    completions = Completions(texts, tokenizers, Validator(settings, COMPLETIONS, CHECKS, completion_contents).check)
    responses = Responses(
        chats,
        tokenizers,
        stored_responses,
        HEADS,
        settings,
        models.first,
        Validator(settings, RESPONSES, CHECKS, response_contents).check,
    )
    retrieve = numbering(services.policies.wrap(stored_responses.one, OTHER, response_error_event))
    vectors = embeddings
    if services.manager is not None:
        generate = services.manager.generate_embedding_response
        vectors = ManagedEmbeddings(embeddings, generate, services.progress)  # type: ignore[assignment]
    routes = (
        Route(
            "POST",
            "/chat/completions",
            services.managed(chats, chat, "generate_chat_response"),
            "chat_completions",
            policed=False,
        ),
        Route("GET", "/chat/completions", stored.all),
        Route("GET", "/chat/completions/{id}", stored.one),
        Route("POST", "/chat/completions/{id}", stored.update),
        Route("DELETE", "/chat/completions/{id}", stored.delete),
        Route("GET", "/chat/completions/{id}/messages", stored.messages),
        Route(
            "POST",
            "/completions",
            services.managed(texts, completions, "generate_completion_response"),
            "completions",
            policed=False,
        ),
        Route("POST", "/embeddings", vectors, "embeddings"),
        Route("POST", "/moderations", moderations, "moderations"),
        Route(
            "POST",
            "/responses",
            services.managed(chats, responses, "generate_chat_response"),
            "responses",
            policed=False,
        ),
        Route("POST", "/responses/input_tokens", responses.input_tokens),
        Route("POST", "/responses/compact", responses.compact),
        Route("GET", "/responses/{id}", retrieve, policed=False),
        Route("DELETE", "/responses/{id}", stored_responses.delete),
        Route("POST", "/responses/{id}/cancel", stored_responses.cancel),
        Route("GET", "/responses/{id}/input_items", stored_responses.input_items),
        Route("POST", "/conversations", conversations.create),
        Route("GET", "/conversations/{id}", conversations.one),
        Route("POST", "/conversations/{id}", conversations.update),
        Route("DELETE", "/conversations/{id}", conversations.delete),
        Route("GET", "/conversations/{id}/items", conversations.list_items),
        Route("POST", "/conversations/{id}/items", conversations.add_items),
        Route("GET", "/conversations/{id}/items/{item}", conversations.one_item),
        Route("DELETE", "/conversations/{id}/items/{item}", conversations.delete_item),
        Route("GET", "/models", models.all, "models"),
        Route("GET", "/models/{id*}", models.one, "models"),
        Route("DELETE", "/models/{id*}", models.delete, "models"),
    )
    readings = (
        Reading("chat_completions", chat.parse, chats, lambda body: "messages" in body),
        Reading(
            "responses",
            responses.parse,
            chats,
            # A prompt given as an object refers to one stored at OpenAI.
            lambda body: any(name in body for name in _OF_RESPONSES) or isinstance(body.get("prompt"), dict),
        ),
        Reading("completions", completions.parse, texts, lambda body: "prompt" in body),
    )
    generate_alone = {
        "chat": compiled(chat, words, serves_others=True),
        "completion": compiled(completions, words),
        "embedding": compiled(embeddings, words),
    }
    return Api(routes, readings, generate_alone, moderations)
