"""The number of tokens of an answer is bounded, and a refused request costs little."""

import time

import orjson
import pytest

from fastmock.engine.buffers import Buffers

pytestmark = pytest.mark.unit

PATH = "/v1/chat/completions"
USER = [{"role": "user", "content": "x"}]
CHAT = {"model": "gpt-4o", "messages": USER}
LOREM = {"output": {"kind": "lorem", "tokens": 20}}


def long(tokens, **more):
    return CHAT | {"min_tokens": tokens} | more


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (PATH, long(131_072, n=128, stream=True), "16777216 tokens; one answer may have at most 131072"),
        (PATH, long(130_000, logprobs=True, top_logprobs=20), "log probabilities; one answer may have at most 200000"),
        ("/v1/completions", {"model": "m", "prompt": ["a"] * 2000, "n": 128}, "256000 choices; one answer may have"),
        ("/v1/completions", {"model": "m", "prompt": ["a"] * 2000, "min_tokens": 1000}, "2000000 tokens; one answer"),
        ("/v1/moderations", {"input": ["a"] * 100_000}, "maximum length 2048"),
        ("/v1/embeddings", {"model": "m", "input": "a " * 400_000}, "max 300000 tokens per request"),
        (PATH, CHAT | {"model": "m" * 257}, "maximum length 256"),
        (PATH, b'{"model": "m", "x": [%s]}' % b",".join([b"{}"] * 300_000), "too many values"),
        (PATH, b'{"model": "m", "x": [%s0]}' % (b"0," * 1_100_000), "too many values"),
    ],
)
def test_request_exceeding_output_bounds_is_refused_at_once(call, path, body, said):
    post = call(LOREM)
    start = time.thread_time()
    answer = post(path, body)
    assert answer.head.status == 400, answer.body[:200]
    assert said in orjson.loads(answer.body)["error"]["message"]
    assert time.thread_time() - start < 1


def test_long_model_names_are_refused_in_every_dialect(call):
    post = call({})
    name = "m" * 257
    for path, body in (
        ("/v1/responses", {"model": name, "input": "x"}),
        ("/v1/messages", {"model": name, "messages": USER, "max_tokens": 5}),
        ("/v1/completions", {"model": name, "prompt": "x"}),
        ("/v1/embeddings", {"model": name, "input": "x"}),
        ("/v1/moderations", {"model": name, "input": "x"}),
    ):
        assert post(path, body).head.status == 400, path


def test_prediction_of_a_huge_text_is_counted_soon(call):
    post = call({})
    start = time.thread_time()
    body = CHAT | {"prediction": {"type": "content", "content": "some words " * 1_500_000}}
    usage = orjson.loads(post(PATH, body).body)["usage"]
    assert usage["completion_tokens_details"]["rejected_prediction_tokens"] == pytest.approx(3_000_000, rel=0.01)
    assert time.thread_time() - start < 3


def test_buffers_that_are_full_reclaim_what_is_over():
    buffers, over = Buffers(100), [60]
    buffers.reclaim = lambda: buffers.release(over.pop()) if over else None
    assert buffers.take(90)
    assert buffers.take(70)
    assert not buffers.take(70)


def test_buffers_are_released():
    buffers = Buffers(100)
    assert buffers.take(60)
    assert not buffers.take(41)
    assert buffers.take(40)
    buffers.release(100)

    class Owner:
        pass

    owner = Owner()
    assert buffers.take_for(owner, 100)
    assert not buffers.take(1)
    del owner
    assert buffers.take(100)
