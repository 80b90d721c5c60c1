"""Embeddings from a file, and the limits of their inputs."""

import struct
from base64 import b64decode

import pytest

from fastmock.core.problems import ConfigError
from tests.providers.openai.test_params import EMBEDDINGS, data, refused
from tests.support import make_app

pytestmark = pytest.mark.unit


FILE = {
    "data": [{"embedding": [0.1, 0.2, 3]}],
    "model": "my-emb",
    "usage": {"prompt_tokens": 42, "total_tokens": 42},
}


def fixing(document):
    return {"responses": {"embeddings": {"default": {"response": document}}}}


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


def test_embeddings_from_a_file_cycle_and_must_have_one_length(call):
    several = FILE | {"data": [{"embedding": [1, 0]}, {"embedding": [0, 1]}]}
    answer = data(call(fixing(several))(EMBEDDINGS, {"model": "m", "input": ["a", "b", "c"]}))
    assert [entry["embedding"] for entry in answer["data"]] == [[1, 0], [0, 1], [1, 0]]
    several["data"].append({"embedding": [1]})
    with pytest.raises(ConfigError, match="has another length than the first"):
        make_app(fixing(several))


def test_embedding_inputs_have_the_limits_of_the_api(call):
    post = call()
    body = {"model": "text-embedding-3-small"}
    error = refused(post(EMBEDDINGS, body | {"input": "word " * 9000}))
    assert error["message"].startswith("This model's maximum context length is 8192 tokens, however you requested 9")
    assert data(post(EMBEDDINGS, body | {"input": ["word " * 5000] * 2}))["usage"]["prompt_tokens"] > 8192
    for wrong in ([-1], [100300], [[1, 2], [3, 100277]]):
        assert refused(post(EMBEDDINGS, body | {"input": wrong}))["message"].startswith("'$.input' is invalid")
    assert data(post(EMBEDDINGS, body | {"input": [0, 100276]}))["usage"]["prompt_tokens"] == 2
