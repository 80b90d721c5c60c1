"""Embeddings from a file, and the limits of their inputs."""

import struct
from base64 import b64decode

import orjson
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


def test_embeddings_of_texts_seen_before_come_from_the_cache(call):
    cached, plain = call({}), call({"cache": {"max_bytes": 0}})
    texts = ["one", "two words", "three words here", "ünïcode 日本", "one"]
    for form in ("float", "base64"):
        for number in range(8):
            chosen = [*texts[: 1 + number % len(texts)], f"new {form} {number}"]
            for given in (chosen, [[1, 2, 3], [4]], texts[0]):
                body = {"model": "text-embedding-3-small", "input": given, "encoding_format": form, "dimensions": 64}
                one, other = cached("/v1/embeddings", body), plain("/v1/embeddings", body)
                assert one.body == other.body
                assert one.prompt_tokens == other.prompt_tokens
    found = orjson.loads(cached("/health", method="GET").body)["cache"]
    assert found == {"hits": 66, "misses": 40}


def test_embeddings_within_the_bytes_of_the_cache_keep_what_is_used(call):
    post = call({"cache": {"max_bytes": 50_000}})

    def hits(text):
        before = orjson.loads(post("/health", method="GET").body)["cache"]["hits"]
        post("/v1/embeddings", {"model": "text-embedding-3-small", "input": text, "encoding_format": "base64"})
        return orjson.loads(post("/health", method="GET").body)["cache"]["hits"] - before

    assert [hits("often") for _ in range(3)] == [0, 0, 1]
    for number in range(60):
        for _ in range(2):
            hits(f"text {number}")
        assert hits("often") == 1
