"""Stored chat completions: ``GET /v1/chat/completions`` and its sub-paths."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from fastmock.core import errors
from fastmock.core.completion import ChatRequest
from fastmock.core.headers import HeaderFactory
from fastmock.core.http import Query, Reply, Request, query_value
from fastmock.core.json import as_json, parse
from fastmock.core.provider import provider_of
from fastmock.providers.openai import pagination, params
from fastmock.providers.openai.errors import no_such_completion
from fastmock.storage.sqlite import Store, StoredObject

_KIND = "chat.completion"
_STORED_PARAMS = ("tools", "tool_choice", "seed", "temperature", "top_p", "presence_penalty", "frequency_penalty")


class StoredCompletions:
    """The endpoints of stored completions, and their storage."""

    def __init__(self, store: Store, factory: HeaderFactory, strict: bool) -> None:
        """``strict``: answer unknown ids with 404 instead of a placeholder completion."""
        self._store = store
        self._json = factory.get(200)
        self._strict = strict

    def keep(self, chat: ChatRequest, whole: bytes) -> None:
        """Store a completion, given as its non-streaming response."""
        document = orjson.loads(whole)
        body = chat.body
        document |= {name: body[name] for name in _STORED_PARAMS if body.get(name) is not None}
        metadata = body.get("metadata") or {}
        messages = as_json(body["messages"], "messages")
        id_, data = str(document["id"]), orjson.dumps(document)
        self._store.keep(StoredObject(_KIND, id_, chat.model, data, messages, metadata, chat.session))

    def all(self, request: Request, unique: str) -> Reply:
        """List stored completions; ``after``, ``limit``, ``order``, ``model`` and ``metadata[…]`` filter the list.

        A request with a session only sees completions of that session; a request without one sees all.
        """
        query = request.query
        model = query_value(query, "model")
        named = [name for name in query if name.startswith("metadata[") and name[-1] == "]"]
        entries = {name[9:-1]: query_value(query, name) for name in named}

        def wanted(of: str, metadata: Mapping[str, str]) -> bool:
            return model in (None, of) and entries.items() <= metadata.items()

        session = provider_of(request).session_of(request)
        ids, more = self._page(self._store.ids(_KIND, pagination.newest_first(query), wanted, session), query)
        kept = (self._store.get(_KIND, id_) for id_ in ids)
        return self._list([_document(one) for one in kept if one], more, unique)

    def one(self, request: Request, unique: str) -> Reply:
        """Return a completion."""
        return self._reply(_document(self._found(request.params["id"])), unique)

    def update(self, request: Request, unique: str) -> Reply:
        """Replace the metadata of a completion."""
        kept = self._found(request.params["id"])
        metadata = parse(request.body).get("metadata")
        if metadata is None:
            raise errors.ParameterMissing("metadata")
        params.metadata(metadata, "metadata")
        self._store.update(_KIND, kept.id, metadata)
        return self._reply(_document(kept) | {"metadata": metadata}, unique)

    def delete(self, request: Request, unique: str) -> Reply:
        """Delete a completion."""
        id_ = request.params["id"]
        if not self._store.delete(_KIND, id_) and (self._strict or self._store.deleted(_KIND, id_)):
            raise no_such_completion(id_)
        return self._reply({"object": "chat.completion.deleted", "id": id_, "deleted": True}, unique)

    def messages(self, request: Request, unique: str) -> Reply:
        """List the messages of a completion's request."""
        id_ = request.params["id"]
        kept = self._found(id_)
        messages = {f"{id_}-{place}": one for place, one in enumerate(orjson.loads(kept.input))}
        order = list(messages)[:: -1 if pagination.newest_first(request.query) else 1]
        ids, more = self._page(order, request.query)
        return self._list([_message(messages[one], one) for one in ids], more, unique)

    def _found(self, id_: str) -> StoredObject:
        kept = self._store.get(_KIND, id_)
        if kept is not None:
            return kept
        if self._strict or self._store.deleted(_KIND, id_):
            raise no_such_completion(id_)
        return StoredObject(
            _KIND, id_, "gpt-4o", orjson.dumps(_placeholder(id_)), b'[{"role":"user","content":"Hello"}]'
        )

    def _page(self, ids: Sequence[str], query: Query) -> tuple[Sequence[str], bool]:
        """Return the requested page of a list, and whether more follows."""
        shown, more, unknown = pagination.page(ids, query)
        if unknown is not None and self._strict:
            raise no_such_completion(unknown)
        return shown, more

    def _list(self, items: list[dict[str, Any]], more: bool, unique: str) -> Reply:
        return self._reply(pagination.as_list(items, more), unique)

    def _reply(self, document: Mapping[str, Any], unique: str) -> Reply:
        return Reply(self._json, f"req_{unique}", orjson.dumps(document))


def _document(kept: StoredObject) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(kept.body)
    return document | {"metadata": kept.metadata}


def _message(message: dict[str, Any], id_: str) -> dict[str, Any]:
    content = message.get("content")
    parts = content if isinstance(content, list) else None
    return {**message, "id": id_, "content": None if parts else content, "content_parts": parts}


def _placeholder(id_: str) -> dict[str, Any]:
    """Return a placeholder completion."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "Hello from fastmock!",
        "refusal": None,
        "annotations": [],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13}
    return {
        "id": id_,
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o",
        "choices": [choice],
        "usage": usage,
        "service_tier": "default",
        "system_fingerprint": "fp_fastmock",
    }
