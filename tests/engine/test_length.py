"""The length of answers: the same tokens are counted, truncated and paced."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmock.content import filler, tokenizers
from fastmock.content.words import Chunker
from fastmock.core.http import LargeReply, Reply, Stream
from tests.support import KEY, examples, make_app

pytestmark = pytest.mark.unit

USER = {"messages": [{"role": "user", "content": "x"}]}
CHAT, LEGACY, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"
O200K, CL100K = tokenizers.exact()("gpt-4o"), tokenizers.exact()("gpt-4")
PROPERTIES = {name: {"type": "string"} for name in ("city", "unit", "day")}
SCHEMA = {"type": "object", "properties": PROPERTIES, "required": [*PROPERTIES]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
FORM = {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}


def rule(text, **more):
    return {"responses": {"chat_completions": {"patterns": [{"match": {"content": text}, **more}]}}}


def data(reply):
    assert reply.head.status == 200, reply.body
    return orjson.loads(reply.body)


def events(reply):
    body = reply.cut(0, reply.steps) if isinstance(reply, Stream) else reply.body
    lines = [part.partition(b"data: ")[2] for part in body.split(b"\n\n")]
    return [orjson.loads(line) for line in lines if line and line != b"[DONE]"]


def streamed(post, body):
    """Return the text, the arguments, the reason to finish and the usage of a streamed chat completion."""
    chunks = events(post(CHAT, body | {"stream": True, "stream_options": {"include_usage": True}}))
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    deltas = [choice["delta"] for choice in choices]
    calls = [call for delta in deltas for call in delta.get("tool_calls") or ()]
    arguments = "".join(call["function"]["arguments"] for call in calls)
    text = "".join(delta.get("content") or "" for delta in deltas)
    return text, arguments, choices[-1]["finish_reason"], chunks[-1]["usage"]


@pytest.mark.parametrize(
    "config", [{}, rule("x", content="Eins zwei drei, vier - fünf 🎉 sechs sieben acht neun zehn.")]
)
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4"])
def test_max_tokens_truncates_a_chat_answer(call, config, name, model):
    post = call(config)
    tokenizer = O200K if model == "gpt-4o" else CL100K
    whole = data(post(CHAT, USER | {"model": model}))["choices"][0]["message"]["content"]
    for most in range(1, tokenizer.count(whole) + 3):
        body = USER | {"model": model, name: most}
        answer = data(post(CHAT, body))
        choice, usage = answer["choices"][0], answer["usage"]["completion_tokens"]
        said = choice["message"]["content"]
        if most >= tokenizer.count(whole):
            assert (said, choice["finish_reason"], usage) == (whole, "stop", tokenizer.count(whole))
        else:
            assert whole.startswith(said)
            assert (choice["finish_reason"], usage) == ("length", most)
            assert tokenizer.count(said) <= most
        assert streamed(post, body) == (said, "", choice["finish_reason"], answer["usage"])


def test_max_tokens_truncates_in_every_dialect(call):
    post = call()
    message = data(post(MESSAGES, USER | {"model": "claude-sonnet-4-5", "max_tokens": 5}))
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 5)
    assert O200K.count(message["content"][0]["text"]) == 5
    response = data(post(RESPONSES, {"model": "gpt-4o", "input": "x", "max_output_tokens": 16}))
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["usage"]["output_tokens"] == 16
    legacy = data(post(LEGACY, {"model": "gpt-3.5-turbo-instruct", "prompt": "x", "max_tokens": 5}))
    assert (legacy["choices"][0]["finish_reason"], legacy["usage"]["completion_tokens"]) == ("length", 5)
    assert CL100K.count(legacy["choices"][0]["text"]) == 5


@pytest.mark.parametrize("config", [{}, rule("x", tool_calls=[{"name": "f", "arguments": {"city": "Paris " * 20}}])])
def test_max_tokens_truncates_tool_arguments(call, config):
    post = call(config)
    body = USER | {"model": "gpt-4o", "tools": [TOOL], "tool_choice": "required"}
    [whole] = data(post(CHAT, body))["choices"][0]["message"]["tool_calls"]
    body["max_tokens"] = 10
    answer = data(post(CHAT, body))
    [cut] = answer["choices"][0]["message"]["tool_calls"]
    assert whole["function"]["arguments"].startswith(cut["function"]["arguments"])
    assert len(cut["function"]["arguments"]) < len(whole["function"]["arguments"])
    assert (answer["choices"][0]["finish_reason"], answer["usage"]["completion_tokens"]) == ("length", 10)
    assert streamed(post, body) == ("", cut["function"]["arguments"], "length", answer["usage"])
    tool = {"name": "f", "input_schema": SCHEMA}
    wanted = USER | {"model": "claude-sonnet-4-5", "max_tokens": 10, "tools": [tool], "tool_choice": {"type": "any"}}
    message = data(post(MESSAGES, wanted))
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 10)
    parts = [event["delta"] for event in events(post(MESSAGES, wanted | {"stream": True})) if "delta" in event]
    written = "".join(part.get("partial_json", "") for part in parts)
    assert written
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(written)


def test_max_tokens_truncates_structured_output(call):
    answer = data(call()(CHAT, USER | {"model": "gpt-4o", "max_tokens": 3, "response_format": FORM}))
    assert (answer["choices"][0]["finish_reason"], answer["usage"]["completion_tokens"]) == ("length", 3)


def test_max_tokens_is_spent_on_reasoning_first(call):
    body = USER | {"model": "o3", "reasoning_effort": "high", "max_completion_tokens": 50}
    for config in ({}, {"output": {"tokens": 20}}):
        answer = data(call(config)(CHAT, body))
        assert answer["choices"][0]["message"]["content"] == ""
        assert answer["choices"][0]["finish_reason"] == "length"
        usage = answer["usage"]
        assert (usage["completion_tokens"], usage["completion_tokens_details"]["reasoning_tokens"]) == (50, 50)
    given = {"model": "o3", "input": "x", "reasoning": {"effort": "high"}, "max_output_tokens": 20}
    response = data(call()(RESPONSES, given))
    assert response["status"] == "incomplete"
    assert response["usage"]["output_tokens"] == 20
    assert response["usage"]["output_tokens_details"]["reasoning_tokens"] == 20


def test_max_tokens_truncates_shown_reasoning_before_the_text(call):
    post = call(rule("x", reasoning="one two three four five six", content="The answer."))
    answer = data(post(CHAT, USER | {"model": "gpt-4o", "max_tokens": 4}))
    assert answer["choices"][0]["message"]["reasoning_content"] == "one two three four"
    assert answer["choices"][0]["message"]["content"] == ""
    assert answer["usage"]["completion_tokens"] == 4
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 4


@pytest.mark.parametrize(
    "config", [{"obey_max_tokens": False}, rule("x", content="one two three four five six", obey_max_tokens=False)]
)
def test_max_tokens_when_not_obeyed_leaves_scripted_text_whole(call, config):
    post = call(config)
    whole = data(post(CHAT, USER | {"model": "gpt-4o"}))
    cut = data(post(CHAT, USER | {"model": "gpt-4o", "max_tokens": 2}))
    assert cut["choices"] == whole["choices"]
    assert cut["usage"] == whole["usage"]


def test_ignore_eos_yields_max_tokens_and_min_tokens_pads(call):
    for config in ({}, rule("x", content="one two three"), {"output": {"tokens": 7}}):
        post = call(config)
        for body, wanted, reason in (
            ({"max_tokens": 60, "ignore_eos": True}, 60, "length"),
            ({"max_tokens": 2, "ignore_eos": True}, 2, "length"),
            ({"max_tokens": 60, "min_tokens": 60, "ignore_eos": True}, 60, "length"),
        ):
            answer = data(post(CHAT, USER | {"model": "gpt-4o"} | body))
            text = answer["choices"][0]["message"]["content"]
            assert answer["usage"]["completion_tokens"] == O200K.count(text) == wanted
            assert answer["choices"][0]["finish_reason"] == reason
        answer = data(post(CHAT, USER | {"model": "gpt-4o", "min_tokens": 200}))
        assert answer["usage"]["completion_tokens"] == O200K.count(answer["choices"][0]["message"]["content"]) == 200
        assert answer["choices"][0]["finish_reason"] == "stop"
    assert data(post(CHAT, USER | {"model": "gpt-4o", "ignore_eos": True}))["usage"]["completion_tokens"] == 7


def test_legacy_completion_defaults_to_16_tokens(call):
    body = {"model": "gpt-3.5-turbo-instruct", "prompt": "x"}
    made_up = {"responses": {"completions": {"default": {"output": {"kind": "counter"}}}}}
    answer = data(call(made_up)(LEGACY, body))
    assert (answer["usage"]["completion_tokens"], answer["choices"][0]["finish_reason"]) == (16, "length")
    answer = data(call(made_up)(LEGACY, body | {"max_tokens": 40}))
    assert answer["usage"]["completion_tokens"] == 40
    assert data(call({"output": {"tokens": 30}})(LEGACY, body))["usage"]["completion_tokens"] == 30
    assert data(call()(LEGACY, body))["choices"][0]["finish_reason"] == "stop"  # the canned text stands


def test_legacy_completion_echo_with_no_tokens_is_the_prompt(call):
    answer = data(call()(LEGACY, {"model": "gpt-3.5-turbo-instruct", "prompt": "hello", "echo": True, "max_tokens": 0}))
    assert (answer["choices"][0]["text"], answer["choices"][0]["finish_reason"]) == ("hello", "length")
    assert answer["usage"]["completion_tokens"] == 0
    assert call()(CHAT, USER | {"model": "gpt-4o", "max_tokens": 0}).head.status == 400


def test_finish_reason_of_a_named_call_is_stop_and_of_a_required_one_tool_calls(call):
    scripted = rule("x", tool_calls=[{"name": "f", "arguments": {"city": "Paris"}}])
    for post in (call(), call(scripted)):
        for choice, reason in (({"type": "function", "function": {"name": "f"}}, "stop"), ("required", "tool_calls")):
            body = USER | {"model": "gpt-4o", "tools": [TOOL], "tool_choice": choice}
            answer = data(post(CHAT, body))
            assert answer["choices"][0]["finish_reason"] == reason
            assert streamed(post, body)[2] == reason
    tool = {"name": "f", "input_schema": SCHEMA}
    wanted = {"tools": [tool], "tool_choice": {"type": "tool", "name": "f"}, "max_tokens": 100}
    assert data(call()(MESSAGES, USER | {"model": "claude-sonnet-4-5"} | wanted))["stop_reason"] == "tool_use"


def test_filler_words_are_one_token_each():
    for tokenizer in (O200K, CL100K):
        for word in (*filler.FILLER, *filler.COUNTED):
            assert tokenizer.count(word) == tokenizer.count(f" {word}") == 1, word
    assert sorted(set(filler.COUNTED)) == filler.COUNTED


@pytest.mark.parametrize("tokenizer", [O200K, CL100K])
def test_filler_text_has_the_requested_tokens(tokenizer):
    for count in (*range(1, 60), 100, 199, 200, 201, 500):
        assert tokenizer.count(filler.counter(count)) == count
        for seed in range(3):
            assert tokenizer.count(filler.lorem(count, seed, f"message {count}")) == count


def test_counter_text_reveals_lost_repeated_or_reordered_chunks():
    words = filler.counter(500).split()
    places = {word: place for place, word in enumerate(filler.COUNTED)}
    assert [places[word] for word in words] == [place % len(filler.COUNTED) for place in range(500)]


@pytest.mark.parametrize("text", ["x" * 5000, f"a {'y' * 4000} b " * 3, "word " * 220_000, "ä" * 300 + " 🎉 end"])
def test_tokenizer_pieces_of_huge_texts_are_few_and_complete(text):
    for tokenizer in (tokenizers.ESTIMATE, O200K):
        pieces = tokenizer.pieces(text)
        assert "".join(piece for _, piece in pieces) == text
        assert sum(count for count, _ in pieces) == tokenizer.count(text)
        assert len(pieces) <= len(text.split()) + 50


@examples(60)
@given(st.text(max_size=60) | st.from_regex(r"[ a-zé{}\":,🎉你\n]{0,60}", fullmatch=True), st.integers(1, 6))
def test_tokenizer_pieces_join_to_the_text_and_its_tokens(text, per_chunk):
    for tokenizer in (tokenizers.ESTIMATE, O200K, CL100K):
        pieces = tokenizer.pieces(text)
        assert "".join(piece for _, piece in pieces) == text
        assert sum(count for count, _ in pieces) == tokenizer.count(text)
        cut = Chunker(tokenizer, per_chunk).cut(text)
        assert "".join(piece for _, piece in cut) == text
        assert sum(count for count, _ in cut) == tokenizer.count(text)
        assert all(piece for _, piece in cut)


TEXTS = {
    "canned": ({}, {}),
    "scripted": (rule("x", content="Antidisestablishmentarianism, naïveté - Zürich 🎉 and so on."), {}),
    "an echo": ({"output": {"kind": "echo"}}, {}),
    "json": ({}, {"response_format": FORM}),
    "a call": ({}, {"tools": [TOOL], "tool_choice": "required"}),
    "generated": ({"output": {"tokens": 25}}, {}),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4"])
@pytest.mark.parametrize("tokenizer", ["exact", "estimate"])
def test_chat_stream_duration_follows_the_billed_tokens(name, model, tokenizer):
    config, more = TEXTS[name]
    app = make_app({"latency": {"ttft": 100, "itl": 20}, "usage": {"tokenizer": tokenizer}} | config)
    from fastmock.core.http import Request

    def post(body):
        return app.handle(Request("POST", CHAT, KEY, orjson.dumps(body)))

    text = "x" if config.get("responses") else "What does it say about Zürich and antidisestablishmentarianism?"
    body = {"model": model, "messages": [{"role": "user", "content": text}]} | more
    whole = post(body)
    usage = orjson.loads(whole.body)["usage"]["completion_tokens"]
    assert list(whole.due_times)[-1] == pytest.approx(0.1 + 0.02 * (usage - 1))
    stream = post(body | {"stream": True})
    assert list(stream.due_times)[-1] == pytest.approx(0.1 + 0.02 * (usage - 1))


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
@pytest.mark.parametrize("name", ["canned", "scripted", "generated"])
def test_stream_duration_in_other_dialects_follows_the_billed_tokens(call, path, name):
    config, _ = TEXTS[name]
    post = call({"latency": {"ttft": 100, "itl": 20}} | config)
    body = {"model": "m", "input": "x"} if path == RESPONSES else USER | {"model": "m", "max_tokens": 500}
    usage = data(post(path, body))["usage"]["output_tokens"]
    stream = post(path, body | {"stream": True})
    assert list(stream.due_times)[-1] == pytest.approx(0.1 + 0.02 * (usage - 1))


def test_max_tokens_not_reached_uses_the_ready_answer(call):
    post = call(rule("x", content="short"))
    first, again = (post(CHAT, USER | {"model": "gpt-4o", "max_tokens": 50}) for _ in range(2))
    assert type(first) is type(again) is Reply
    assert not isinstance(first, LargeReply)
