"""Tokens: golden counts, the prompt cache, context windows."""

import sys

import orjson
import pytest

from fastmock.build import build
from fastmock.config.load import load
from fastmock.content.tokenizers import ESTIMATE, exact
from fastmock.core.http import Request
from fastmock.core.problems import ConfigError
from fastmock.responses import ResponseManager
from fastmock.shared.block import Share, shared_numbers
from fastmock.storage.sqlite import Store, StoredObject
from tests.providers.openai.test_chat import HELLO, PATH, rules
from tests.providers.openai.test_tools import ASKED, error
from tests.support import KEY

pytestmark = pytest.mark.unit

# The counts of OpenAI's cookbook, "How to count tokens with tiktoken", for cl100k_base and o200k_base.
GOLDEN = [
    ("antidisestablishmentarianism", 6, 6),
    ("2 + 2 = 4", 7, 7),
    ("お誕生日おめでとう", 9, 8),
    ("tiktoken is great!", 6, 6),
    ("", 0, 0),
]
JARGON = [
    (
        "system",
        None,
        "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
    ),
    ("system", "example_user", "New synergies will help drive top-line growth."),
    ("system", "example_assistant", "Things working well together will increase revenue."),
    (
        "system",
        "example_user",
        "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
    ),
    ("system", "example_assistant", "Let's talk later when we're less busy about how to do better."),
    ("user", None, "This late pivot means we don't have time to boil the ocean for the client deliverable."),
]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                "unit": {
                    "type": "string",
                    "description": "The unit of temperature to return",
                    "enum": ["celsius", "fahrenheit"],
                },
            },
            "required": ["location"],
        },
    },
}


@pytest.mark.parametrize(("text", "older", "newer"), GOLDEN)
def test_tokenizer_counts_equal_the_openai_cookbook(text, older, newer):
    of = exact()
    assert (of("gpt-4").count(text), of("gpt-4o").count(text)) == (older, newer)
    for model in ("gpt-4", "gpt-4o"):
        tokens = of(model).tokens(text)
        assert b"".join(tokens).decode() == text
        assert len(tokens) == of(model).count(text) == of(model).count_all([text])


@pytest.mark.parametrize(
    ("model", "like"),
    [
        ("gpt-4", "gpt-4"), ("gpt-4-turbo-2024-04-09", "gpt-4"), ("gpt-3.5-turbo", "gpt-4"), ("gpt-35-turbo", "gpt-4"),
        ("text-embedding-3-small", "gpt-4"), ("text-embedding-ada-002", "gpt-4"), ("ft:gpt-3.5-turbo:a:b:c", "gpt-4"),
        ("gpt-4o-mini", "gpt-4o"), ("gpt-4.1", "gpt-4o"), ("gpt-4.5-preview", "gpt-4o"), ("gpt-5", "gpt-4o"),
        ("o3", "gpt-4o"), ("o4-mini", "gpt-4o"), ("chatgpt-4o-latest", "gpt-4o"), ("ft:gpt-4o:a", "gpt-4o"),
        ("llama", "gpt-4o"),
    ],
)  # fmt: skip
def test_tokenizer_vocabulary_depends_on_the_model(model, like):
    assert exact()(model) is exact()(like)


@pytest.mark.parametrize(("model", "tokens"), [("gpt-4", 129), ("gpt-4o", 124)])
def test_message_tokens_equal_the_openai_cookbook(call, model, tokens):
    """Its example of six messages."""
    messages = [{"role": role, "content": text} | ({"name": name} if name else {}) for role, name, text in JARGON]
    reply = call({"usage": {"tokenizer": "exact"}})(PATH, {"model": model, "messages": messages})
    assert orjson.loads(reply.body)["usage"]["prompt_tokens"] == tokens


def test_tool_tokens_equal_the_openai_cookbook(call):
    """Its example of one tool, for gpt-4o: 101 tokens, measured by OpenAI's API too."""
    messages = [
        {"role": "system", "content": "You are a helpful assistant that can answer to questions about the weather."},
        {"role": "user", "content": "What's the weather like in San Francisco?"},
    ]
    reply = call({"usage": {"tokenizer": "exact"}})(PATH, {"model": "gpt-4o", "messages": messages, "tools": [WEATHER]})
    assert orjson.loads(reply.body)["usage"]["prompt_tokens"] == 101


@pytest.mark.parametrize("stream", [False, True])
def test_completion_tokens_of_scripted_answers_are_exact(call, stream):
    post = call(rules({"match": {}, "content": "tiktoken is great!"}, usage={"tokenizer": "exact"}))
    for model in ("gpt-4o", "gpt-4"):
        body = {
            "model": model,
            "messages": HELLO["messages"],
            "stream": stream,
            "stream_options": {"include_usage": True} if stream else None,
        }
        reply = post(PATH, body)
        last = reply.body.split(b"\n\n")[-3][6:] if stream else reply.body
        assert orjson.loads(last)["usage"]["completion_tokens"] == 6


def test_tokenizer_estimate_agrees_with_its_pieces():
    for text, *_ in GOLDEN:
        assert len(ESTIMATE.tokens(text)) == ESTIMATE.count(text) == ESTIMATE.count_all([text])


def test_tokenizer_exact_without_its_extra_is_a_config_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "splintr", None)
    config, _ = load({"usage": {"tokenizer": "exact"}}, {}, {})
    with pytest.raises(ConfigError) as caught:
        build(config)
    assert "fastmock[tokens]" in str(caught.value.problems[0])
    assert build(load({}, {}, {})[0]).warnings == []  # "auto" estimates then


def cached(post, messages, **more):
    usage = orjson.loads(post(PATH, {"model": "gpt-4o", "messages": messages, **more}).body)["usage"]
    return usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"]


def test_prompt_cache_reports_cached_tokens_of_known_prefixes(call):
    post = call({"usage": {"simulate_prompt_cache": True}})
    long = [{"role": "system", "content": "You are a helpful assistant. " * 400}, {"role": "user", "content": "One"}]
    assert cached(post, long)[0] == 0
    found, prompt = cached(post, long)
    assert prompt - 256 < found <= prompt
    assert found % 128 == 0
    longer = [*long, {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "Two " * 600}]
    found, prompt = cached(post, longer)
    assert 1024 < found < prompt - 500
    assert cached(post, [{"role": "system", "content": "X" + long[0]["content"]}])[0] == 0
    assert cached(post, [{"role": "user", "content": "short"}])[0] == 0
    assert cached(post, [{"role": "user", "content": "short"}])[0] == 0
    assert cached(post, long, model="gpt-4")[0] == 0  # each model has its own
    assert cached(call(), long)[0] == cached(call(), long)[0] == 0  # off


def test_prompt_cache_prefixes_are_shared_by_workers():
    numbers = shared_numbers(2)
    one, other = Share(), Share()
    one.join(numbers, 0)
    other.join(numbers, 1)
    assert one.prefixes([11, 22]) == 0
    assert other.prefixes([11, 22, 33]) == 2
    assert other.in_flight() == one.lateness().frames == 0


def test_context_window_exceeded_is_a_400(call):
    post = call({"per_model": [{"model": "small-*", "context_window": 100}], "usage": {"tokenizer": "estimate"}})
    long = [{"role": "user", "content": "word " * 100}]
    refused = error(post(PATH, {"model": "small-1", "messages": long}))
    assert refused["code"] == "context_length_exceeded"
    assert refused["param"] == "messages"
    expected = "This model's maximum context length is 100 tokens. However, your messages resulted in 132 tokens. "
    assert refused["message"] == expected + "Please reduce the length of the messages."
    refused = error(post(PATH, {"model": "small-1", "messages": HELLO["messages"], "max_tokens": 95}))
    assert "you requested 104 tokens (9 in the messages, 95 in the completion)" in refused["message"]
    assert post(PATH, {"model": "large", "messages": long}).head.status == 200
    assert post(PATH, {"model": "small-1", "messages": HELLO["messages"]}).head.status == 200
    refused = error(post("/v1/completions", {"model": "small-1", "prompt": "word " * 100}))
    assert "however you requested 125 tokens (125 in your prompt; 0 for the completion)" in refused["message"]
    assert (
        error(post("/v1/embeddings", {"model": "small-1", "input": "word " * 100}))["code"] == "context_length_exceeded"
    )


def test_generated_output_fits_the_context_window(call):
    post = call(
        {
            "per_model": [{"model": "m", "context_window": 30}],
            "output": {"tokens": 100},
            "usage": {"tokenizer": "estimate"},
        }
    )
    answer = orjson.loads(post(PATH, HELLO | {"model": "m"}).body)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == 30


def test_prompt_cache_hit_takes_no_prefill_time(call):
    config = {"usage": {"simulate_prompt_cache": True}, "latency": {"prefill_ms_per_token": 1}}
    post = call(config)
    long = [{"role": "user", "content": "You are a helpful assistant. " * 400}]
    first, second = (list(post(PATH, {"model": "m", "messages": long}).due_times)[-1] for _ in range(2))
    assert second < 0.2 * first


def ids(store):
    return list(store.ids("k", newest_first=True, wanted=lambda model, metadata: model == "m"))


def test_store_keeps_the_newest_entries_and_is_shared(tmp_path):
    store = Store(3)
    store.join(tmp_path / "run")
    assert store.get("k", "a") is None
    assert ids(store) == []
    assert not (tmp_path / "run").exists()  # nothing is made before something is kept
    for number in range(10):
        store.keep(StoredObject("k", str(number), "m", b"{}", metadata={"a": "b"}))
    assert ids(store) == ["9", "8", "7"]
    other = Store(3)  # another worker's
    other.join(tmp_path / "run")
    assert other.get("k", "9") == StoredObject("k", "9", "m", b"{}", metadata={"a": "b"})
    assert other.delete("k", "9")
    assert not store.delete("k", "9")
    store.update("k", "8", {"c": "d"})
    assert other.get("k", "8").metadata == {"c": "d"}


def test_store_when_full_drops_the_older_entries(tmp_path, monkeypatch):
    monkeypatch.setattr("fastmock.storage.sqlite._PAGES", 100)
    store = Store(10_000)
    store.join(tmp_path)
    for number in range(60):
        store.keep(StoredObject("k", str(number), "m", bytes(20_000)))
    kept = list(map(int, ids(store)))
    assert kept[0] == 59
    assert 3 < len(kept) < 30


def test_store_that_cannot_write_warns_once(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    store = Store(10)
    store.join(tmp_path / "file" / "below")
    store.keep(StoredObject("k", "a", "m", b"{}"))
    store.keep(StoredObject("k", "b", "m", b"{}"))
    assert caplog.text.count("answers are not stored") == 1


def test_response_manager_answer_is_stored():
    class Mine(ResponseManager):
        def generate_chat_response(self, request_data, response_file=None):
            return {"choices": [{"message": {"content": "mine"}}]}

    app = build(load({}, {}, {})[0], Mine())
    made = app.handle(Request("POST", PATH, KEY, orjson.dumps(HELLO | {"store": True})))
    path = f"{PATH}/{orjson.loads(made.body)['id']}"
    found = orjson.loads(app.handle(Request("GET", path, KEY, b"")).body)
    assert found["choices"][0]["message"]["content"] == "mine"


def test_stored_completion_keeps_its_request_parameters(call):
    post = call()
    made = orjson.loads(post(PATH, ASKED | {"store": True, "metadata": {"a": "b"}, "temperature": 0.5}).body)
    found = orjson.loads(post(f"/v1/chat/completions/{made['id']}", method="GET", headers=KEY).body)
    assert found["metadata"] == {"a": "b"}
    assert found["temperature"] == 0.5
    assert found["tools"] == ASKED["tools"]
    assert {key: found[key] for key in made} == made
