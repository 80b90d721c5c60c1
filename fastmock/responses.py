"""The extension point: a class of yours says what is said.

from fastmock.responses import ResponseManager

class Mine(ResponseManager):
    def generate_chat_response(self, request_data, response_file=None):
        answer = super().generate_chat_response(request_data, response_file)
        answer["choices"][0]["message"]["content"] += " (mine)"
        return answer

fastmock --response-manager mine:Mine
"""

from collections.abc import Callable
from typing import Any

from fastmock.core.errors import ApiError

Generate = Callable[[dict[str, Any], str | None], dict[str, Any]]
"""A manager's method: the request's body and the file of the rule that won in, a whole answer out."""

__all__ = ["ApiError", "ResponseManager"]


class ResponseManager:
    """Says the answers of chat completions, completions and embeddings. Override what you want to say yourself.

    A request has been checked before a method is called, and whatever the returned answer lacks (``id``, ``usage``,
    ``finish_reason``, …) is filled in; it is cut into chunks where a stream was asked for. A method may raise
    ``ApiError`` to answer with an error; any other exception is answered with a 500 that names it.

    Each worker process has an instance of its own, made by the parent and copied by the fork. Under Granian methods run
    in threads, several at a time; under Robyn one after another, so that one that blocks holds up its worker.
    """

    _compiled: dict[str, Generate]

    def generate_chat_response(self, request_data: dict[str, Any], response_file: str | None = None) -> dict[str, Any]:
        """Return a chat completion; responses and Anthropic's messages say what it says.

        Args:
            request_data: the request's body; of another dialect, that of the chat completion that asks for the same.
            response_file: the file to answer from, as it is named in the configuration: that of the rule that won, None
                where it has none. None means to go by the rules.

        Returns:
            The answer as OpenAI's API gives it, or the part of it that matters: ``choices``.
        """
        return self._compiled["chat"](request_data, response_file)

    def generate_completion_response(
        self, request_data: dict[str, Any], response_file: str | None = None
    ) -> dict[str, Any]:
        """Return a legacy completion; see ``generate_chat_response``."""
        return self._compiled["completion"](request_data, response_file)

    def generate_embedding_response(
        self, request_data: dict[str, Any], response_file: str | None = None
    ) -> dict[str, Any]:
        """Return embeddings, whole; see ``generate_chat_response``. What is returned is sent as it is."""
        return self._compiled["embedding"](request_data, response_file)

    def bind(self, compiled: dict[str, Generate]) -> None:
        """Take what the compiled rules say; fastmock calls it before the first request."""
        self._compiled = compiled
