"""Usage: tokens of prompts and answers, the prompt cache, context windows."""

import orjson
import pytest

from tests.providers.openai.test_chat import HELLO, PATH, rules
from tests.providers.openai.test_tools import error

pytestmark = pytest.mark.unit

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
