"""Every part of a prompt counts: documents, files, search results, images in tool results."""

from base64 import b64encode

import orjson
import pytest

pytestmark = pytest.mark.unit

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
TEXT = "word " * 2000
ENCODED = b64encode(TEXT.encode()).decode()
PDF = b64encode(b"%PDF-1.7 /Type /Pages /Type /Page /Type /Page").decode()
SAID = {"type": "text", "text": "x"}
USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]}
TOOLS = [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}


def document(**source):
    return {"type": "document", "source": source}


def result_of(*blocks):
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [*blocks]}
    return [{"role": "user", "content": "x"}, USE, {"role": "user", "content": [result]}]


BLOCKS = {
    "a text": (document(type="text", media_type="text/plain", data=TEXT), 2000),
    "a text in base64": (document(type="base64", media_type="text/plain", data=ENCODED), 2000),
    "content": (document(type="content", content=[{"type": "text", "text": TEXT}]), 2000),
    "a PDF of two pages": (document(type="base64", media_type="application/pdf", data=PDF), 3000),
    "a PDF elsewhere": (document(type="url", url="https://example.com/a.pdf"), 1500),
    "a search result": (
        {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": TEXT}]},
        2000,
    ),
}


def input_tokens(post, messages):
    """Return the tokens of a request for a message, which are the same whole, streamed and counted."""
    body = {"model": "claude-sonnet-4-5", "max_tokens": 50, "messages": messages, "tools": TOOLS}
    whole = orjson.loads(post(MESSAGES, body).body)["usage"]["input_tokens"]
    begun = orjson.loads(post(MESSAGES, body | {"stream": True}).body.split(b"data: ")[1].split(b"\n")[0])
    del body["max_tokens"]
    counted = orjson.loads(post(f"{MESSAGES}/count_tokens", body).body)["input_tokens"]
    assert whole == begun["message"]["usage"]["input_tokens"] == counted
    return whole


@pytest.mark.parametrize("name", BLOCKS)
def test_document_tokens_count_in_any_position(call, name):
    block, tokens = BLOCKS[name]
    post = call()
    alone = input_tokens(post, [{"role": "user", "content": [SAID]}])
    assert 0 <= input_tokens(post, [{"role": "user", "content": [block, SAID]}]) - alone - tokens <= 10
    empty = input_tokens(post, result_of(SAID))
    assert 0 <= input_tokens(post, result_of(SAID, block)) - empty - tokens <= 10


def test_image_in_a_tool_result_counts_tokens(call):
    post = call()
    assert input_tokens(post, result_of(SAID, IMAGE)) - input_tokens(post, result_of(SAID)) == 765


def test_file_tokens_count_in_chat_and_responses(call):
    post = call()

    def chat(*parts):
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": [*parts, SAID]}]}
        return orjson.loads(post(CHAT, body).body)["usage"]["prompt_tokens"]

    def response(*parts):
        said = [*parts, {"type": "input_text", "text": "x"}]
        body = {"model": "gpt-4o", "input": [{"role": "user", "content": said}]}
        return orjson.loads(post(RESPONSES, body).body)["usage"]["input_tokens"]

    for data, tokens in ((f"data:text/plain;base64,{ENCODED}", 2000), (f"data:application/pdf;base64,{PDF}", 3000)):
        file = {"filename": "a", "file_data": data}
        assert 0 <= chat({"type": "file", "file": file}) - chat() - tokens <= 5
        assert 0 <= response({"type": "input_file"} | file) - response() - tokens <= 5
    assert chat({"type": "file", "file": {"file_id": "file-1"}}) - chat() == 1500
