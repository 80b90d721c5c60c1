"""Stored responses: the history of later ones, and the sub-paths of ``/v1/responses``."""

import re
from typing import Any

import orjson

from fastmock.content.tokenizers import TokenizerOf
from fastmock.content.words import Chunker
from fastmock.core import errors
from fastmock.core.headers import HeaderFactory, make_answer_heads
from fastmock.core.http import Reply, Request, query_value
from fastmock.core.json import as_json
from fastmock.engine.event_template import event_bytes
from fastmock.providers.openai import pagination
from fastmock.providers.openai.errors import no_previous_response, no_such_item, no_such_response
from fastmock.providers.openai.headers import error_event
from fastmock.providers.openai.responses.conversations import DELETED, Conversations, input_items, name_of, stored
from fastmock.providers.openai.responses.render import empty_response, events_of
from fastmock.providers.openai.responses.request import ResponsesRequest, as_messages, conversation_of
from fastmock.storage.response_log import Entry, ResponseLog

Document = dict[str, Any]

_KEPT, _PLACEHOLDER = b"k", b"p"
_PENDING, _DONE, _CANCELLED = b"b", b"e", b"c"
"""Marks of stored responses. A background response is waited for until a client has seen it done, or it is cancelled.
"""

_NO_OUTPUT: Document = {"completed_at": None, "incomplete_details": None, "output": [], "usage": None}
_ENDS = ("completed", "incomplete")  # with ``response.failed``, the only final events that clients know
_is_integer = re.compile(r"-?[0-9]{1,100}").fullmatch

_LONGEST = 1000  # maximum responses in a history


class StoredResponses:
    """Stores responses, and implements their endpoints."""

    def __init__(
        self,
        log: ResponseLog,
        conversations: Conversations,
        factory: HeaderFactory,
        tokenizers: TokenizerOf,
        per_chunk: int,
        strict: bool,
    ) -> None:
        """``strict``: answer unknown ids with 404 instead of a placeholder response."""
        self._log = log
        self._conversations = conversations
        self._heads = make_answer_heads(factory, error_event)
        self._tokenizers, self._per_chunk = tokenizers, per_chunk
        self._strict = strict

    def keep(self, chat: ResponsesRequest) -> None:
        """Store a rendered response."""
        body = chat.request.body if chat.request else as_json(chat.sent, "input")
        mark = _PENDING if chat.background else _KEPT
        self._log.keep(chat.unique, mark, chat.whole, body if isinstance(body, bytes) else body.encode())
        if chat.conversation is not None:
            self._conversations.add(chat.conversation, f"resp_{chat.unique}")

    def history(self, body: Document) -> tuple[list[Document], bool]:
        """Return the earlier messages of a request with a previous response or a conversation, and whether all are
        known.
        """
        if (conversation := body.get("conversation")) is not None:
            items, complete = self._conversations.all_items(conversation_of(conversation))
            return as_messages(items), complete
        found: list[Entry] = []
        before: list[Document] = []
        complete = True
        previous = body.get("previous_response_id")
        while previous and len(found) < _LONGEST:
            entry = stored(self._log, previous)
            if entry is None and self._strict:
                raise no_previous_response(previous)
            complete = complete and entry is not None
            entry = entry or _placeholder(previous)
            found.insert(0, entry)
            earlier = orjson.loads(entry.request)
            if (conversation := earlier.get("conversation")) is not None:
                items, known = self._conversations.items_before(conversation_of(conversation), previous)
                before, complete = as_messages(items), complete and known
                break
            previous = earlier.get("previous_response_id")
        return before + _messages(found), complete and not (previous and len(found) >= _LONGEST)

    def one(self, request: Request, unique: str) -> Reply:
        """Return a response, or its events."""
        id_ = request.params["id"]
        entry = self._found(id_)
        if entry.mark == _PENDING:
            self._mark(id_, _DONE)
        if entry.mark == _CANCELLED:
            entry = entry._replace(answer=_cancelled(entry.answer))
        query = request.query
        if query_value(query, "stream") != "true":
            return self._reply(entry.answer, unique)
        after = query_value(query, "starting_after")
        if after is not None and not _is_integer(after):
            raise errors.WrongType("starting_after", "an integer", after)
        document = orjson.loads(entry.answer)
        initial = {**document, **_NO_OUTPUT, "status": "in_progress"}
        events = [{"type": f"response.{kind}", "response": initial} for kind in ("created", "in_progress")]
        events += [
            event
            for _, event in events_of(
                document["output"], Chunker(self._tokenizers(str(document.get("model"))), self._per_chunk)
            )
        ]
        end = document["status"] if document["status"] in _ENDS else "failed"
        events.append({"type": f"response.{end}", "response": document})
        frames = (event_bytes({**event, "sequence_number": number}) for number, event in enumerate(events))
        begin = 0 if after is None else max(0, int(after) + 1)
        return Reply(self._heads.events, f"req_{unique}", b"".join([*frames][begin:]))

    def delete(self, request: Request, unique: str) -> Reply:
        """Delete a response."""
        id_ = request.params["id"]
        self._found(id_)
        self._mark(id_, DELETED)
        return self._reply(orjson.dumps({"id": id_, "object": "response", "deleted": True}), unique)

    def cancel(self, request: Request, unique: str) -> Reply:
        """Cancel a background response; one that a client has seen done stays unchanged."""
        id_ = request.params["id"]
        entry = self._found(id_)
        if entry.mark == _KEPT:
            raise errors.ApiError(400, "Cannot cancel a synchronous response.")
        if entry.mark == _DONE:
            return self._reply(entry.answer, unique)
        self._mark(id_, _CANCELLED)
        return self._reply(_cancelled(entry.answer), unique)

    def input_items(self, request: Request, unique: str) -> Reply:
        """List the input items of a response."""
        id_ = request.params["id"]
        items = input_items(orjson.loads(self._found(id_).request).get("input"), id_.removeprefix("resp_"))
        if pagination.newest_first(request.query, "desc"):
            items.reverse()
        ids, more, unknown = pagination.page([item["id"] for item in items], request.query)
        if unknown is not None and self._strict:
            raise no_such_item(unknown)
        by_id = {item["id"]: item for item in items}
        return self._reply(orjson.dumps(pagination.as_list([by_id[one] for one in ids], more)), unique)

    def _found(self, id_: str) -> Entry:
        """Return a stored response or a placeholder, or raise a 404."""
        name = name_of(id_)
        entry = self._log.get(name) if name else None
        if entry is None and not self._strict:
            return _placeholder(id_)
        if entry is None or entry.mark == DELETED:
            raise no_such_response(id_)
        return entry

    def _mark(self, id_: str, mark: bytes) -> None:
        if name := name_of(id_):
            self._log.mark(name, mark)

    def _reply(self, body: bytes, unique: str) -> Reply:
        return Reply(self._heads.whole, f"req_{unique}", body)


def _messages(entries: list[Entry]) -> list[Document]:
    """Return the messages of stored requests and responses, in order."""
    messages = []
    for entry in entries:
        messages += as_messages(orjson.loads(entry.request).get("input"))
        messages += as_messages(orjson.loads(entry.answer)["output"])
    return messages


def _cancelled(answer: bytes) -> bytes:
    return orjson.dumps(orjson.loads(answer) | _NO_OUTPUT | {"status": "cancelled"})


def _placeholder(id_: str) -> Entry:
    """Return a placeholder response."""
    chat = ResponsesRequest("0" * 32, {}, "gpt-4o")
    chat.sent = {"model": chat.model, "input": "Hello"}
    document = orjson.loads(empty_response(chat, b"completed", 1_700_000_000, chat.echo, chat.model))
    part = {"type": "output_text", "text": "Hello from fastmock!", "annotations": [], "logprobs": []}
    item = {"id": f"msg_{id_.removeprefix('resp_')}", "type": "message", "status": "completed", "role": "assistant"}
    usage = {
        "input_tokens": 8,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 13,
    }
    document |= {"id": id_, "completed_at": 1_700_000_000, "output": [item | {"content": [part]}], "usage": usage}
    return Entry(_PLACEHOLDER, orjson.dumps(document), orjson.dumps(chat.sent))
