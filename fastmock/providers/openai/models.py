"""``GET /v1/models`` and ``GET`` and ``DELETE /v1/models/{id}``, the first two in either provider's form."""

from datetime import UTC, datetime
from typing import Any

import orjson

from fastmock.config.settings import ModelCard
from fastmock.config.settings import Models as ModelSettings
from fastmock.core import errors
from fastmock.core.headers import Heads
from fastmock.core.http import Query, Reply, Request
from fastmock.providers.anthropic.errors import invalid
from fastmock.providers.anthropic.provider import ANTHROPIC
from fastmock.providers.openai import pagination

_LIMIT, _MOST = 20, 1000  # of a page of Anthropic's


class Models:
    """The endpoints, the list's bytes made ready.

    Attributes:
        first: the name of the first that is listed.
    """

    def __init__(self, settings: ModelSettings, made: Heads) -> None:
        self._json = made.get(200)
        self._anthropic = ANTHROPIC.heads.get(200)
        self._cards = {card.id: card for card in settings.available}
        self._list = orjson.dumps({"object": "list", "data": [_shown(card) for card in settings.available]})
        self._strict = settings.strict
        self.first = next(iter(self._cards), "gpt-4o")

    def all(self, request: Request, unique: str) -> Reply:
        """List the models."""
        if request.provider is not ANTHROPIC:
            return Reply(self._json, f"req_{unique}", self._list)
        page = orjson.dumps(_page([*self._cards.values()], request.query))
        return Reply(self._anthropic, f"req_{unique}", page)

    def one(self, request: Request, unique: str) -> Reply:
        """Return one model. One that is not listed is made up, as it is also served, unless models are strict."""
        card = self._card(request)
        if request.provider is ANTHROPIC:
            return Reply(self._anthropic, f"req_{unique}", orjson.dumps(_shown_to_anthropic(card)))
        return Reply(self._json, f"req_{unique}", orjson.dumps(_shown(card)))

    def delete(self, request: Request, unique: str) -> Reply:
        """Say that a model was deleted. What is configured stays: every worker and every later request has it."""
        deleted = {"id": self._card(request).id, "object": "model", "deleted": True}
        return Reply(self._json, f"req_{unique}", orjson.dumps(deleted))

    def _card(self, request: Request) -> ModelCard:
        name = request.path.rstrip("/").partition("models/")[2]
        card = self._cards.get(name)
        if card is None:
            if self._strict:
                raise errors.ModelNotFound(name)
            card = ModelCard.model_construct(id=name, created=1_700_000_000, owned_by="fastmock")
        return card


def _shown(card: ModelCard) -> dict[str, Any]:
    return {"id": card.id, "object": "model", "created": card.created, "owned_by": card.owned_by}


def _shown_to_anthropic(card: ModelCard) -> dict[str, Any]:
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
    """Return a page of the models in Anthropic's form."""
    limit = pagination.one(query, "limit") or str(_LIMIT)
    if not limit.isdecimal() or len(limit) > 9 or not 1 <= int(limit) <= _MOST:
        raise invalid("limit", f"Input should be a number from 1 to {_MOST}")
    after, before = pagination.one(query, "after_id"), pagination.one(query, "before_id")
    ids = [card.id for card in cards]
    if after in ids:
        cards = cards[ids.index(after) + 1 :]
    elif before in ids:
        cards = cards[: ids.index(before)]
    page = cards[-int(limit) :] if before in ids else cards[: int(limit)]
    ends = {"first_id": page[0].id if page else None, "last_id": page[-1].id if page else None}
    return {"data": [_shown_to_anthropic(card) for card in page], "has_more": len(page) < len(cards), **ends}
