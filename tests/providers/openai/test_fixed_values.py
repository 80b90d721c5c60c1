"""What the user, or the request, has fixed is said as it stands."""

import struct
from base64 import b64decode

import orjson
import pytest

from fastmock.content import tokenizers
from fastmock.core.problems import ConfigError
from tests.support import KEY, make_app

pytestmark = pytest.mark.unit

EMBEDDINGS, CHAT, LEGACY = "/v1/embeddings", "/v1/chat/completions", "/v1/completions"
USER = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]}
FILE = {
    "data": [{"embedding": [0.1, 0.2, 3]}],
    "model": "my-emb",
    "usage": {"prompt_tokens": 42, "total_tokens": 42},
}


def fixing(document):
    return {"responses": {"embeddings": {"default": {"response": document}}}}


def data(reply):
    assert reply.head.status == 200, reply.body
    return orjson.loads(reply.body)


def refused(reply):
    assert reply.head.status == 400, reply.body
    return orjson.loads(reply.body)["error"]


def test_embeddings_from_a_file_keep_vector_usage_and_model(call):
    post = call(fixing(FILE))
    body = {"model": "text-embedding-3-small", "input": ["a", "b"]}
    reply = post(EMBEDDINGS, body)
    assert b"[0.1,0.2,3]" in reply.body
    answer = data(reply)
    assert [entry["embedding"] for entry in answer["data"]] == [[0.1, 0.2, 3]] * 2
    assert (answer["model"], answer["usage"]) == ("my-emb", FILE["usage"])
    [first, _] = data(post(EMBEDDINGS, body | {"encoding_format": "base64"}))["data"]
    assert struct.unpack("<3f", b64decode(first["embedding"])) == pytest.approx((0.1, 0.2, 3))
    assert data(post(EMBEDDINGS, body | {"dimensions": 3}))["data"][0]["embedding"] == [0.1, 0.2, 3]
    error = refused(post(EMBEDDINGS, body | {"dimensions": 2}))
    assert error["param"] == "dimensions"
    assert "3" in error["message"]


def test_embeddings_from_a_file_cycle_and_must_have_one_length(call, tmp_path):
    several = FILE | {"data": [{"embedding": [1, 0]}, {"embedding": [0, 1]}]}
    answer = data(call(fixing(several))(EMBEDDINGS, {"model": "m", "input": ["a", "b", "c"]}))
    assert [entry["embedding"] for entry in answer["data"]] == [[1, 0], [0, 1], [1, 0]]
    several["data"].append({"embedding": [1]})
    with pytest.raises(ConfigError, match="has another length than the first"):
        make_app(fixing(several), tmp_path)


def test_embedding_inputs_have_the_limits_of_the_api(call):
    post = call()
    body = {"model": "text-embedding-3-small"}
    error = refused(post(EMBEDDINGS, body | {"input": "word " * 9000}))
    assert error["message"].startswith("This model's maximum context length is 8192 tokens, however you requested 9")
    assert data(post(EMBEDDINGS, body | {"input": ["word " * 5000] * 2}))["usage"]["prompt_tokens"] > 8192
    for wrong in ([-1], [100300], [[1, 2], [3, 100277]]):
        assert refused(post(EMBEDDINGS, body | {"input": wrong}))["message"].startswith("'$.input' is invalid")
    assert data(post(EMBEDDINGS, body | {"input": [0, 100276]}))["usage"]["prompt_tokens"] == 2


@pytest.mark.parametrize("number", ["123456789012345678901234567890", "-99999999999999999999", "9223372036854775808"])
def test_integer_out_of_range_is_named_exactly_in_the_error(call, number):
    body = orjson.dumps(USER)[:-1] + b',"seed":%b}' % number.encode()
    error = refused(call()(CHAT, body))
    bound = ">= -9223372036854775808" if number.startswith("-") else "<= 9223372036854775807"
    assert error["message"].endswith(f"Expected a value {bound}, but got {number} instead.")
    data(call()(CHAT, USER | {"seed": 2**63 - 1}))


@pytest.mark.parametrize("path", ["/v1/responses/resp_x/input_items", "/v1/chat/completions"])
def test_list_limit_of_0_is_a_400(path):
    from fastmock.core.http import Request

    request = Request("GET", path, KEY, b"", {"limit": ["0"]})
    assert refused(make_app().handle(request))["code"] == "integer_below_min_value"


def test_models_endpoint_can_be_open_without_a_key(tmp_path):
    from fastmock.core.http import Request

    for is_open, status in ((True, 200), (False, 401)):
        app = make_app({"auth": {"open_models": is_open}}, tmp_path)
        for path in ("/v1/models", "/models", "/v1/models/gpt-4o"):
            assert app.handle(Request("GET", path, {}, b"")).head.status == status
        assert app.handle(Request("DELETE", "/v1/models/gpt-4o", {}, b"")).head.status == 401
        assert app.handle(Request("POST", CHAT, {}, orjson.dumps(USER))).head.status == 401


def test_legacy_completion_echo_has_the_logprobs_of_the_prompt(call):
    tokenizer = tokenizers.exact()("gpt-4o")
    numbers = [3031, 220, 16, 261, 2086, 30]
    body = {"model": "gpt-4o", "prompt": numbers, "max_tokens": 1, "logprobs": 1, "echo": True}
    [choice] = data(call()(LEGACY, body))["choices"]
    prompt = tokenizer.decode(numbers)
    assert choice["text"].startswith(prompt)
    probabilities = choice["logprobs"]
    assert len(probabilities["tokens"]) == len(probabilities["token_logprobs"]) == 7
    assert "".join(probabilities["tokens"]) == choice["text"]
    assert probabilities["token_logprobs"][0] is probabilities["top_logprobs"][0] is None
    assert all(value < 0 for value in probabilities["token_logprobs"][1:])
    assert probabilities["text_offset"][0] == 0
    [alone] = data(call()(LEGACY, body | {"max_tokens": 0}))["choices"]
    assert (alone["text"], len(alone["logprobs"]["tokens"])) == (prompt, 6)


def test_legacy_completion_token_prompt_is_matched_as_text(call):
    numbers = tokenizers.exact()("gpt-4o")._encode("ping pong")
    rules = {"responses": {"completions": {"patterns": [{"match": {"content": "ping pong"}, "content": "matched"}]}}}
    answer = data(call(rules)(LEGACY, {"model": "gpt-4o", "prompt": numbers}))
    assert (answer["choices"][0]["text"], answer["usage"]["prompt_tokens"]) == ("matched", len(numbers))
