"""``GET /v1/models``, and ``GET`` and ``DELETE /v1/models/{id}``."""

from typing import Any

import orjson

from fastmock.config.settings import ModelCard
from fastmock.config.settings import Models as ModelSettings
from fastmock.core.headers import HeaderFactory
from fastmock.core.http import Reply, Request


class Models:
    """The endpoints of models; the list is serialized once.

    Attributes:
        first: the name of the first listed model.
    """

    def __init__(self, settings: ModelSettings, factory: HeaderFactory) -> None:
        self._json = factory.get(200)
        self._settings = settings
        self._list = orjson.dumps({"object": "list", "data": [_model(card) for card in settings.available]})
        self.first = next((card.id for card in settings.available), "gpt-4o")

    def all(self, request: Request, unique: str) -> Reply:
        """List the models."""
        return Reply(self._json, f"req_{unique}", self._list)

    def one(self, request: Request, unique: str) -> Reply:
        """Return a model. An unlisted one is generated, since it is also served, unless ``models.strict`` is on."""
        return Reply(self._json, f"req_{unique}", orjson.dumps(_model(self._settings.card(request.params["id"]))))

    def delete(self, request: Request, unique: str) -> Reply:
        """Confirm the deletion of a model. The configured model stays: all workers and later requests share it."""
        deleted = {"id": self._settings.card(request.params["id"]).id, "object": "model", "deleted": True}
        return Reply(self._json, f"req_{unique}", orjson.dumps(deleted))


def _model(card: ModelCard) -> dict[str, Any]:
    return {"id": card.id, "object": "model", "created": card.created, "owned_by": card.owned_by}
