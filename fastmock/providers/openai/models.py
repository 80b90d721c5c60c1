"""``GET /v1/models``, and ``GET`` and ``DELETE /v1/models/{id}``."""

from typing import Any

import orjson

from fastmock.config.settings import ModelCard
from fastmock.config.settings import Models as ModelSettings
from fastmock.core.headers import HeaderFactory
from fastmock.core.http import Reply, Request


class Models:
    """The endpoints, the list's bytes made ready.

    Attributes:
        first: the name of the first that is listed.
    """

    def __init__(self, settings: ModelSettings, made: HeaderFactory) -> None:
        self._json = made.get(200)
        self._settings = settings
        self._list = orjson.dumps({"object": "list", "data": [_shown(card) for card in settings.available]})
        self.first = next((card.id for card in settings.available), "gpt-4o")

    def all(self, request: Request, unique: str) -> Reply:
        """List the models."""
        return Reply(self._json, f"req_{unique}", self._list)

    def one(self, request: Request, unique: str) -> Reply:
        """Return one model. One that is not listed is made up, as it is also served, unless models are strict."""
        return Reply(self._json, f"req_{unique}", orjson.dumps(_shown(self._settings.card(request.params["id"]))))

    def delete(self, request: Request, unique: str) -> Reply:
        """Say that a model was deleted. What is configured stays: every worker and every later request has it."""
        deleted = {"id": self._settings.card(request.params["id"]).id, "object": "model", "deleted": True}
        return Reply(self._json, f"req_{unique}", orjson.dumps(deleted))


def _shown(card: ModelCard) -> dict[str, Any]:
    return {"id": card.id, "object": "model", "created": card.created, "owned_by": card.owned_by}
