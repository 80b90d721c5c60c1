"""The routes of Anthropic's API."""

from fastmock.core.routing import Route
from fastmock.engine.services import Api, Reading, Services
from fastmock.providers.anthropic.checks_table import CHECKS
from fastmock.providers.anthropic.messages.checks import contents
from fastmock.providers.anthropic.messages.endpoint import Messages
from fastmock.providers.anthropic.messages.request import as_messages
from fastmock.providers.anthropic.models import Models
from fastmock.providers.checked import checked
from fastmock.validation.check import MESSAGES
from fastmock.validation.validator import Validator


def api(services: Services) -> Api:
    """Compile the API; it answers by the rules for chat completions."""
    chats = services.responders["chat_completions"]
    messages = Messages(
        chats,
        services.tokenizers,
        services.settings,
        checked(Validator(services.settings, MESSAGES, CHECKS), contents),
    )
    models = Models(services.settings.models)
    routes = (
        Route(
            "POST", "/messages", services.managed(chats, messages, "generate_chat_response"), "messages", policed=False
        ),
        Route("POST", "/messages/count_tokens", messages.count_tokens),
        Route("GET", "/models", models.all, "models"),
        Route("GET", "/models/{id*}", models.one, "models"),
    )
    reading = Reading("messages", messages.parse, chats, lambda body: "system" in body, as_messages)
    return Api(routes, [reading])
