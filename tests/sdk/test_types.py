"""Responses to requests generated from the SDKs' parameter types are valid by the SDKs' response models."""

from collections import Counter
from random import Random
from typing import Annotated, Any

import orjson
import pytest
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from openai.types import Completion, CreateEmbeddingResponse, ModerationCreateResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import Discriminator, TypeAdapter, ValidationError

from benchmarks.request_types import MAX_DEPTH, body_generators, link_tool_results
from fastmock.core.http import Request
from tests.support import KEY, make_app

REQUESTS = 400
BY_TYPE = Discriminator("type")  # without it all members of a union are tried, which takes twenty times longer
MODELS: dict[str, tuple[Any, Any]] = {
    "/v1/chat/completions": (ChatCompletion, ChatCompletionChunk),
    "/v1/completions": (Completion, Completion),
    "/v1/embeddings": (CreateEmbeddingResponse, None),
    "/v1/moderations": (ModerationCreateResponse, None),
    "/v1/responses": (Response, Annotated[ResponseStreamEvent, BY_TYPE]),
    "/v1/messages": (Message, Annotated[RawMessageStreamEvent, BY_TYPE]),
    "/v1/messages/count_tokens": (MessageTokensCount, None),
}


def documents(body: bytes) -> list[bytes]:
    """Return the events of a stream, but for pings, of which the SDKs have no model."""
    lines = [part.rpartition(b"data: ")[2] for part in body.split(b"\n\n") if b"data: " in part]
    return [line for line in lines if line not in (b"[DONE]", b'{"type":"ping"}')]


def as_the_sdk_reads_it(data: bytes) -> bytes:
    """Leave out where the models differ from the API: the SDK itself decodes base64, legacy streams have no reason to
    finish before their end, and ``tools`` are echoed as they were sent.
    """
    document = orjson.loads(data)
    for choice in document.get("choices", ()):
        if "text" in choice and choice["finish_reason"] is None:
            choice["finish_reason"] = "stop"
    for entry in document.get("data", ()):
        if isinstance(entry.get("embedding"), str):
            entry["embedding"] = [0.5]
    for response in (document, document.get("response")):
        if isinstance(response, dict) and response.get("object") == "response":
            response["tools"] = []
    return orjson.dumps(document)


@pytest.mark.parametrize("path", MODELS)
def test_answers_to_generated_requests_validate_against_the_sdk_models(path):
    app = make_app({"validation": "lenient", "tools": {"auto_call": True}})
    whole, event = (None if model is None else TypeAdapter(model) for model in MODELS[path])
    generators, draw = body_generators()[path], Random(path)
    statuses: Counter[int] = Counter()
    streams = 0
    for _ in range(REQUESTS):
        body = draw.choice(generators)(draw, MAX_DEPTH)
        link_tool_results(body)
        reply = app.handle(Request("POST", path, KEY | {"x-api-key": "k"}, orjson.dumps(body)))
        statuses[reply.head.status] += 1
        if reply.head.status != 200:
            assert reply.head.status in (400, 404), reply.body
            continue
        found = documents(reply.body) if body.get("stream") else [reply.body]
        streams += body.get("stream") is True
        for one in found:
            try:
                (event if body.get("stream") else whole).validate_json(as_the_sdk_reads_it(one), strict=True)
            except ValidationError as error:
                pytest.fail(f"{error}\n{one[:600]!r}\n{orjson.dumps(body)[:600]!r}")
    assert statuses[200] > REQUESTS * 0.2, statuses
    assert event is None or streams > 10
