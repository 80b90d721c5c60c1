"""The extension point: replies from your own Python class.

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
"""A manager's method: takes the request body and the file of the winning rule; returns a whole response."""

__all__ = ["ApiError", "ResponseManager"]


class ResponseManager:
    """Generates the responses of chat completions, completions and embeddings. Override the methods to customize.

    A request has been validated before a method is called, and any missing fields of the returned response (``id``,
    ``usage``, ``finish_reason``, …) are filled in; it is split into chunks for a streaming request. A method may raise
    ``ApiError`` to respond with an error; any other exception results in a 500 that names it.

    Each worker process has its own instance, created by the parent and copied by the fork. Under Granian methods run in
    threads, several at a time; under Robyn one after another, so a blocking one holds up its worker.
    """

    _compiled: dict[str, Generate]

    def generate_chat_response(self, request_data: dict[str, Any], response_file: str | None = None) -> dict[str, Any]:
        """Return a chat completion; the responses and messages endpoints convert it.

        Args:
            request_data: the request body; for other endpoints, that of the equivalent chat completion.
            response_file: the file to reply from, as named in the configuration: that of the winning rule, None if it
                has none. None means to follow the rules.

        Returns:
            The response in the format of OpenAI's API, or only its essential part: ``choices``.
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
        """Return a whole embeddings response, sent verbatim; see ``generate_chat_response``."""
        return self._compiled["embedding"](request_data, response_file)

    def bind(self, compiled: dict[str, Generate]) -> None:
        """Set the methods of the compiled rules; called by fastmock before the first request."""
        self._compiled = compiled
