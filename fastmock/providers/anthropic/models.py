"""``GET /v1/models`` and ``/v1/models/{id}`` for Anthropic's clients."""

from datetime import UTC, datetime
from typing import Any

import orjson

from fastmock.config.settings import ModelCard
from fastmock.config.settings import Models as ModelSettings
from fastmock.core.http import Query, Reply, Request, query_value
from fastmock.providers.anthropic.errors import invalid
from fastmock.providers.anthropic.headers import HEADS

_LIMIT, _MOST = 20, 1000


class Models:
    """The endpoints of models."""

    def __init__(self, settings: ModelSettings) -> None:
        self._settings = settings
        self._json = HEADS.get(200)

    def all(self, request: Request, unique: str) -> Reply:
        """List the models."""
        page = orjson.dumps(_page(self._settings.available, request.query))
        return Reply(self._json, f"req_{unique}", page)

    def one(self, request: Request, unique: str) -> Reply:
        """Return a model. An unlisted one is generated, since it is also served, unless ``models.strict`` is on."""
        card = self._settings.card(request.params["id"])
        return Reply(self._json, f"req_{unique}", orjson.dumps(_model(card)))


def _model(card: ModelCard) -> dict[str, Any]:
    created = datetime.fromtimestamp(card.created, UTC).isoformat().replace("+00:00", "Z")
    return {
        "type": "model",
        "id": card.id,
        "display_name": card.id,
        "created_at": created,
        "lifecycle": "active",
        "max_input_tokens": None,
        "max_tokens": None,
    }


def _page(cards: list[ModelCard], query: Query) -> dict[str, Any]:
    """Return a page of the models in Anthropic's format."""
    limit = query_value(query, "limit") or str(_LIMIT)
    if not limit.isdecimal() or len(limit) > 9 or not 1 <= int(limit) <= _MOST:
        raise invalid("limit", f"Input should be a number from 1 to {_MOST}")
    after, before = query_value(query, "after_id"), query_value(query, "before_id")
    ids = [card.id for card in cards]
    if after in ids:
        cards = cards[ids.index(after) + 1 :]
    elif before in ids:
        cards = cards[: ids.index(before)]
    page = cards[-int(limit) :] if before in ids else cards[: int(limit)]
    ends = {"first_id": page[0].id if page else None, "last_id": page[-1].id if page else None}
    return {"data": [_model(card) for card in page], "has_more": len(page) < len(cards), **ends}
