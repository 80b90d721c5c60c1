"""Rules that give vectors to input texts of embeddings."""

import base64
import struct

import orjson
import pytest

from fastmock.config.load import load

pytestmark = pytest.mark.unit
MODEL = "text-embedding-3-small"
RULES = [
    {"match": {"content": "cat"}, "vector": [1, 0.5]},
    {"match": {"content_contains": "dog", "model": "*-large"}, "vector": [0, 1]},
]


@pytest.fixture
def embed(call):
    post = call({"responses": {"embeddings": {"rules": RULES}}})

    def vectors(given, model=MODEL, **more):
        answer = orjson.loads(post("/embeddings", {"model": model, "input": given} | more).body)
        return [entry["embedding"] for entry in answer["data"]]

    return vectors


def test_matching_texts_get_the_vector_and_others_their_own(embed, call):
    plain = call({})
    for _ in range(3):  # seen before or not
        cat, dog = embed(["cat", "a dog"])
        assert (cat[:3], len(cat), any(cat[2:])) == ([1, 0.5, 0], 1536, False)
        expected = orjson.loads(plain("/embeddings", {"model": MODEL, "input": "a dog"}).body)["data"][0]["embedding"]
        assert dog == expected
    [dog] = embed("a dog", "text-embedding-3-large", dimensions=3)
    assert dog == [0, 1, 0]


def test_vector_is_cut_to_the_dimensions_and_encoded_as_requested(embed):
    assert embed("cat", dimensions=1) == [[1]]
    [encoded] = embed("cat", dimensions=4, encoding_format="base64")
    assert struct.unpack("<4f", base64.b64decode(encoded)) == (1, 0.5, 0, 0)


def test_tokens_match_no_text(embed):
    assert embed([[1, 2]])[0][:2] != [1, 0.5]


def test_errors_name_the_rule():
    given = {
        "responses": {"embeddings": {"rules": [{"match": {}, "vectr": [1]}, {"match": {"modle": "x"}, "vector": []}]}}
    }
    paths = {problem.path for problem in load(given, {}, {})[1]}
    assert paths == {
        "responses.embeddings.rules[0].vectr",
        "responses.embeddings.rules[0].vector",
        "responses.embeddings.rules[1].match.modle",
        "responses.embeddings.rules[1].vector",
    }
