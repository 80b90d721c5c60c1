"""``/v1/conversations`` and its sub-paths: items that responses continue and extend."""

import re
import time
from typing import Any

import orjson

from fastmock.core import errors
from fastmock.core.headers import HeaderFactory
from fastmock.core.http import Reply, Request
from fastmock.core.json import as_json, parse
from fastmock.providers.openai import pagination, params
from fastmock.providers.openai.errors import no_such_conversation, no_such_item
from fastmock.providers.openai.responses.request import PREFIXES, as_messages
from fastmock.storage.response_log import Entry, ResponseLog
from fastmock.storage.sqlite import Store, StoredObject

Document = dict[str, Any]

DELETED = b"d"
"""The mark of a deleted stored response."""

_KIND, _ITEMS = "conversation", "conversation.items"
_LONGEST = 1000  # maximum entries of a conversation
_MOST_ITEMS = 20  # maximum created per request, as at OpenAI
_GENERATED = ("id", "type", "status")  # fields of an item that are generated if missing or null
_id_of_response = re.compile(r"resp_([0-9a-f]{32})").fullmatch


def name_of(id_: str) -> str | None:
    """Return the storage name of a response; None for an id that no response can have."""
    match = _id_of_response(id_)
    return match[1] if match else None


def stored(log: ResponseLog, id_: str) -> Entry | None:
    """Return a stored response; None if it does not exist or has been deleted."""
    name = name_of(id_)
    entry = log.get(name) if name else None
    return None if entry is None or entry.mark == DELETED else entry


def input_items(given: Any, id_: str) -> list[Document]:
    """Return an input as items, with ids starting with ``id_``."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    items = []
    for place, one in enumerate(given or ()):
        own = {name: value for name, value in one.items() if value is not None or name not in _GENERATED}
        prefix = PREFIXES.get(str(own.get("type", "message")), "msg")
        item: Document = {"id": f"{prefix}_{id_}{place}", "type": "message", **own}
        if item["type"] == "message":
            kind = "output_text" if item.get("role") == "assistant" else "input_text"
            more: Document = {"annotations": [], "logprobs": []} if kind == "output_text" else {}
            if isinstance(item.get("content"), str):
                item["content"] = [{"type": kind, "text": item["content"], **more}]
        items.append({"status": "completed", **item})
    return items


class Conversations:
    """The endpoints of conversations.

    A conversation is stored as a log of words, so that workers need not wait for each other: ``@`` and the creation
    time, the ids of added responses and items, ``-`` and the id of a deleted item.
    """

    def __init__(self, log: ResponseLog, store: Store, factory: HeaderFactory, strict: bool) -> None:
        """``strict``: answer unknown ids with 404 instead of an empty conversation."""
        self._log = log
        self._store = store
        self._json = factory.get(200)
        self._strict = strict

    def add(self, id_: str, response: str) -> None:
        """Add a stored response."""
        self._store.append(_KIND, id_, f"{response} ".encode())

    def items(self, id_: str) -> list[Document]:
        """Return the items of a conversation, in order."""
        return self._items(self._words(self._found(id_)))[0]

    def all_items(self, id_: str) -> tuple[list[Document], bool]:
        """Return the items of a conversation, and whether all are known."""
        kept = self._found(id_)
        items, complete = self._items(self._words(kept))
        return items, complete and bool(kept.body)

    def items_before(self, id_: str, response: str) -> tuple[list[Document], bool]:
        """Return the items of a conversation before one of its responses, and whether all are known."""
        kept = self._store.get(_KIND, id_)
        words = self._words(kept) if kept else []
        return self._items(words[: words.index(response)]) if response in words else ([], False)

    @staticmethod
    def _words(kept: StoredObject) -> list[str]:
        return kept.body.decode().split()[-_LONGEST:]

    def _items(self, words: list[str]) -> tuple[list[Document], bool]:
        items: dict[str, Document] = {}
        complete = len(words) < _LONGEST
        for word in words:
            if word[0] == "-":
                items.pop(word[1:], None)
            elif (created := self._store.get(_ITEMS, word)) is not None:
                items |= {item["id"]: item for item in orjson.loads(created.body)}
            elif (entry := stored(self._log, word)) is not None:
                inputs = input_items(orjson.loads(entry.request).get("input"), word.removeprefix("resp_"))
                items |= {item["id"]: item for item in [*inputs, *orjson.loads(entry.answer)["output"]]}
            elif word[0] != "@":
                complete = False
        return list(items.values()), complete

    def create(self, request: Request, unique: str) -> Reply:
        """Create a conversation."""
        body = parse(request.body) if request.body else {}
        metadata = body.get("metadata") or {}
        params.metadata(metadata, "metadata")
        items = _given(body, required=False)
        id_ = f"conv_{unique}"
        self._store.keep(StoredObject(_KIND, id_, "", b"@%d " % time.time(), metadata=metadata))
        if items:
            self._create(id_, items, unique)
        return self._representation(id_, unique)

    def one(self, request: Request, unique: str) -> Reply:
        """Return a conversation."""
        return self._representation(request.params["id"], unique)

    def update(self, request: Request, unique: str) -> Reply:
        """Replace the metadata of a conversation."""
        id_ = request.params["id"]
        self._found(id_)
        metadata = parse(request.body).get("metadata")
        if metadata is None:
            raise errors.ParameterMissing("metadata")
        params.metadata(metadata, "metadata")
        self._store.append(_KIND, id_, b"")
        self._store.update(_KIND, id_, metadata)
        return self._representation(id_, unique)

    def delete(self, request: Request, unique: str) -> Reply:
        """Delete a conversation; its responses and items stay stored."""
        id_ = request.params["id"]
        if not self._store.delete(_KIND, id_) and self._strict:
            raise no_such_conversation(id_)
        return self._reply({"id": id_, "object": "conversation.deleted", "deleted": True}, unique)

    def add_items(self, request: Request, unique: str) -> Reply:
        """Add items to a conversation."""
        id_ = request.params["id"]
        self._found(id_)
        created = self._create(id_, _given(parse(request.body), required=True), unique)
        return self._reply(pagination.as_list(created, more=False), unique)

    def list_items(self, request: Request, unique: str) -> Reply:
        """List the items of a conversation."""
        items = self.items(request.params["id"])
        if pagination.newest_first(request.query, "desc"):
            items.reverse()
        ids, more, unknown = pagination.page([item["id"] for item in items], request.query)
        if unknown is not None and self._strict:
            raise no_such_item(unknown)
        by_id = {item["id"]: item for item in items}
        return self._reply(pagination.as_list([by_id[one] for one in ids], more), unique)

    def one_item(self, request: Request, unique: str) -> Reply:
        """Return an item of a conversation."""
        id_, wanted = request.params["id"], request.params["item"]
        for item in self.items(id_):
            if item["id"] == wanted:
                return self._reply(item, unique)
        raise no_such_item(wanted)

    def delete_item(self, request: Request, unique: str) -> Reply:
        """Delete an item of a conversation."""
        id_ = request.params["id"]
        self._found(id_)
        self._store.append(_KIND, id_, f"-{request.params['item']} ".encode())
        return self._representation(id_, unique)

    def _create(self, id_: str, items: list[Document], unique: str) -> list[Document]:
        created = input_items(items, unique)
        name = f"items_{unique}"
        self._store.keep(StoredObject(_ITEMS, name, "", as_json(created, "items")))
        self._store.append(_KIND, id_, f"{name} ".encode())
        return created

    def _found(self, id_: str) -> StoredObject:
        kept = self._store.get(_KIND, id_)
        if kept is None and self._strict:
            raise no_such_conversation(id_)
        return kept or StoredObject(_KIND, id_, "", b"")

    def _representation(self, id_: str, unique: str) -> Reply:
        kept = self._found(id_)
        match = re.match(rb"@(\d+) ", kept.body)
        created = int(match[1]) if match else 1_700_000_000
        shown = {"id": id_, "object": "conversation", "created_at": created, "metadata": kept.metadata}
        return self._reply(shown, unique)

    def _reply(self, document: Document, unique: str) -> Reply:
        return Reply(self._json, f"req_{unique}", orjson.dumps(document))


def _given(body: Document, required: bool) -> list[Document]:
    """Return the checked items of a request."""
    items: list[Document] | None = body.get("items")
    if items is None:
        if required:
            raise errors.ParameterMissing("items")
        return []
    params.array_of_objects(items, "items")
    if len(items) > _MOST_ITEMS:
        raise errors.ArrayTooLong("items", _MOST_ITEMS, len(items))
    as_messages(items, "items")  # reject items that a response could not continue
    return items
