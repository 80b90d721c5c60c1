"""``GET /v1/models`` and ``GET /v1/models/{id}``."""

import orjson

from fastmock.api import errors
from fastmock.api.heads import Heads
from fastmock.config.model import Models as ModelSettings
from fastmock.wire import Reply, Request


class Models:
    """Both endpoints, their bytes made ready."""

    def __init__(self, settings: ModelSettings, made: Heads) -> None:
        cards = [
            {"id": card.id, "object": "model", "created": card.created, "owned_by": card.owned_by}
            for card in settings.available
        ]
        self._json = made.get(200)
        self._list = orjson.dumps({"object": "list", "data": cards})
        self._cards = {str(card["id"]): orjson.dumps(card) for card in cards}
        self._strict = settings.strict

    def all(self, request: Request, unique: str) -> Reply:
        """List the models."""
        return Reply(self._json, f"req_{unique}", self._list)

    def one(self, request: Request, unique: str) -> Reply:
        """Return one model. One that is not listed is made up, as it is also served, unless models are strict."""
        name = request.path.rstrip("/").partition("models/")[2]
        card = self._cards.get(name)
        if card is None:
            if self._strict:
                raise errors.no_such_model(name)
            card = orjson.dumps({"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "fastmock"})
        return Reply(self._json, f"req_{unique}", card)
