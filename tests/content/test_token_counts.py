"""Load tools that count tokens with tiktoken or a Hugging Face tokenizer agree with the usage."""

import os
import time
from itertools import pairwise

import httpx
import orjson
import pytest

from benchmarks import vocabularies
from tests.support import KEY, undisturbed

pytestmark = pytest.mark.integration

CHAT = {"messages": [{"role": "user", "content": "Count for me."}]}
REQUESTS = {
    "/v1/chat/completions": CHAT | {"stream_options": {"include_usage": True}},
    "/v1/completions": {"prompt": "Count for me.", "max_tokens": 50, "stream_options": {"include_usage": True}},
    "/v1/responses": {"input": "Count for me."},
    "/v1/messages": CHAT | {"max_tokens": 500},
}
MODELS = {"gpt-4o": "o200k", "gpt-4": "cl100k"}
TOKENS, TTFT, ITL = 50, 0.1, 0.03


@pytest.fixture(scope="module")
def tiktoken_counters(tmp_path_factory):
    """Return functions that count as tiktoken does, by vocabulary."""
    directory = tmp_path_factory.mktemp("tiktoken")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(directory)
    import tiktoken

    found = {}
    for name in vocabularies.SIZES:
        vocabularies.write_tiktoken(directory, name, vocabularies.tokens_of(name))
        encoding = tiktoken.get_encoding(f"{name}_base")
        found[name] = lambda text, encoding=encoding: len(encoding.encode_ordinary(text))
    return found


@pytest.fixture(scope="module")
def hugging_face_counters(tmp_path_factory):
    """Return functions that count as a Hugging Face tokenizer does, by vocabulary; it takes five seconds."""
    from tokenizers import Tokenizer

    directory = tmp_path_factory.mktemp("hugging_face")
    found = {}
    for name in vocabularies.SIZES:
        vocabularies.write_hugging_face(directory / name, name, vocabularies.tokens_of(name))
        tokenizer = Tokenizer.from_file(str(directory / name / "tokenizer.json"))
        found[name] = lambda text, tokenizer=tokenizer: len(tokenizer.encode(text, add_special_tokens=False).ids)
    return found


def text_and_tokens(event):
    """Return the text of an event of any dialect, and the tokens of the answer where it says them."""
    kind = event.get("type", "")
    if kind in ("response.output_text.delta", "content_block_delta"):
        return (event["delta"] if isinstance(event["delta"], str) else event["delta"].get("text", "")), None
    if kind == "response.completed":
        return "", event["response"]["usage"]["output_tokens"]
    if kind == "message_delta":
        return "", event["usage"]["output_tokens"]
    if not event.get("choices"):
        return "", (event.get("usage") or {}).get("completion_tokens")
    choice = event["choices"][0]
    return choice.get("text") or choice.get("delta", {}).get("content") or "", None


def streamed(server, path, model):
    """Return the text of a stream, its tokens by the usage, and when each piece of the text came."""
    pieces, times, billed = [], [], None
    body = REQUESTS[path] | {"model": model, "stream": True}
    with httpx.stream("POST", server.url + path, json=body, headers=KEY | {"x-api-key": "k"}, timeout=30) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            if line.startswith("data: {"):
                piece, tokens = text_and_tokens(orjson.loads(line[6:]))
                billed = tokens or billed
                if piece:
                    pieces.append(piece)
                    times.append(time.perf_counter())
    return "".join(pieces), billed, times


SAID = {
    "generated": {"output": {"tokens": TOKENS}},
    "counter": {"output": {"kind": "counter", "tokens": TOKENS}},
    "canned": {},
    "scripted": {
        "responses": {
            "chat_completions": {"default": {"content": "Straßenbahnhaltestelle, naïveté: 123456 🎉 antidisestablish!"}}
        }
    },
}


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_external_tokenizers_count_the_billed_tokens(serve, tiktoken_counters, hugging_face_counters, runtime, said):
    server = serve(SAID[said], "--runtime", runtime)
    for path in REQUESTS:
        for model, name in MODELS.items():
            text, billed, _ = streamed(server, path, model)
            counted = [counters[name](text) for counters in (tiktoken_counters, hugging_face_counters)]
            assert counted == [billed, billed]
            if "output" in SAID[said]:
                assert billed == TOKENS


@undisturbed
@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_time_per_token_by_external_count_is_the_configured_latency(serve, tiktoken_counters, runtime, said):
    server = serve(SAID[said] | {"latency": {"ttft": TTFT * 1000, "itl": ITL * 1000}}, "--runtime", runtime)
    text, billed, times = streamed(server, "/v1/chat/completions", "gpt-4o")
    assert tiktoken_counters["o200k"](text) == billed
    assert (times[-1] - times[0]) / (billed - 1) == pytest.approx(ITL, rel=0.04)
    assert all(later >= earlier for earlier, later in pairwise(times))


def test_vocabulary_files_equal_those_of_openai(tiktoken_counters, hugging_face_counters):
    """tiktoken compares the SHA-256 of its copies with OpenAI's; texts of many forms are counted alike."""
    texts = [
        "Héllo wörld 你好 🎉🎉  \n\n  don't I'LL 12345 f(x)[0];",
        '{"a": [1, 2.5e10, "x\\n"]}',
        "   a",
        "b   ",
        "ab\r\n\tc",
    ]
    from fastmock.content.tokenizers import exact

    for model, name in MODELS.items():
        for text in texts:
            counted = {counters[name](text) for counters in (tiktoken_counters, hugging_face_counters)}
            assert counted == {exact()(model).count(text)}
