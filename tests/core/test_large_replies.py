"""Large responses, joined while they are sent."""

import orjson
import pytest

from fastmock.core.http import LargeReply, Reply
from tests.support import KEY

pytestmark = pytest.mark.unit

LONG = {"x-fastmock-output-tokens": "5000"}
REQUESTS = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Say much."}]},
    "/v1/completions": {"prompt": "Say much."},
    "/v1/responses": {"input": "Say much."},
    "/v1/messages": {"messages": [{"role": "user", "content": "Say much."}], "max_tokens": 9000},
}


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize("more", [{}, {"stream_options": {"include_usage": True, "include_obfuscation": False}}])
def test_large_stream_parts_join_to_the_body(call, path, more):
    post = call({"server": {"control_headers": True}})
    options = more if "completions" in path else {}
    answer = post(path, REQUESTS[path] | {"model": "gpt-4o", "stream": True} | options, headers=KEY | LONG)
    assert isinstance(answer, LargeReply)
    parts = list(answer.parts())
    assert len(parts) > 1
    assert sum(map(len, parts)) == answer.size
    assert answer.held == 0
    assert b"".join(parts) == answer.body
    assert b"".join(answer.parts()) == answer.body
    events = [line for line in answer.body.split(b"\n\n") if line]
    assert all(orjson.loads(event.partition(b"data: ")[2]) for event in events if b"[DONE]" not in event)
    answer.body = b"else"
    assert (answer.size, list(answer.parts())) == (4, [b"else"])


def test_large_embeddings_are_freed_as_they_are_sent(call):
    answer = call()("/v1/embeddings", {"model": "text-embedding-3-small", "input": ["a"] * 400})
    assert isinstance(answer, LargeReply)
    assert answer.held == answer.size
    document = orjson.loads(b"".join(answer.parts()))
    assert len(document["data"]) == 400
    assert len(b"".join(answer.parts())) == 0


def test_small_answer_is_a_single_part(call):
    answer = call()("/v1/embeddings", {"model": "text-embedding-3-small", "input": ["a"] * 4})
    assert type(answer) is Reply
    assert b"".join(answer.parts()) == answer.body
