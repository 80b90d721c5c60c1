"""The stream of any answer assembles to its non-streaming form."""

import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmock.content.tokenizers import ESTIMATE, exact
from fastmock.core.completion import Answer, ChatRequest, OutputConstraints, TokenProb, ToolCall
from fastmock.engine.constraints import count
from fastmock.engine.response_template import ResponseTemplate
from fastmock.providers.openai.chat.render import ChatChoiceFormat
from fastmock.rules.settings import ReplySpec
from tests.providers.openai.test_chat import events
from tests.support import examples

pytestmark = pytest.mark.unit

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | TEXT, lambda inner: st.lists(inner, max_size=3), max_leaves=4
)
CALLS = st.builds(
    lambda number, name, arguments, custom: ToolCall(
        f"call_{number}", name, orjson.dumps({"a": arguments}).decode(), custom
    ),
    st.integers(0, 99),
    st.sampled_from(["get_weather", "f"]),
    JSON,
    st.booleans(),
)


def probabilities(words):
    return tuple(TokenProb(token, -0.5, ((token, -0.5), (b" x", -1.5))) for token in exact()("gpt-4o").tokens(words))


@st.composite
def answers(draw):
    text, calls, refusal = draw(
        st.one_of(
            st.tuples(TEXT, st.just(()), st.none()),
            st.tuples(st.none() | TEXT, st.lists(CALLS, min_size=1, max_size=3).map(tuple), st.none()),
            st.tuples(st.none(), st.just(()), TEXT),
        )
    )
    reason = "tool_calls" if calls else draw(st.sampled_from(["stop", "length", "content_filter"]))
    answer = Answer(text, calls, refusal, reason)
    words = refusal if text is None else text
    logprobs = probabilities(words) if not calls and draw(st.booleans()) else None
    return Answer(text, calls, refusal, reason, count(answer, ESTIMATE), logprobs)


def assembled(chunks, index):
    """Do what a client does with the chunks of one choice."""
    message = {"role": None, "content": None, "refusal": None}
    logprobs, reason, calls = None, None, {}
    for chunk in chunks:
        for choice in (choice for choice in chunk["choices"] if choice["index"] == index):
            delta = choice["delta"]
            message["role"] = delta.get("role", message["role"])
            for name in ("content", "refusal"):
                if delta.get(name) is not None:
                    message[name] = (message[name] or "") + delta[name]
            for part in delta.get("tool_calls", ()):
                kind = "custom" if "custom" in part else "function"
                words = "input" if kind == "custom" else "arguments"
                call = calls.setdefault(
                    part["index"],
                    {"id": part.get("id"), "type": kind, kind: {"name": part[kind].get("name"), words: ""}},
                )
                call[kind][words] += part[kind].get(words, "")
            if "function_call" in delta:
                function = message.setdefault(
                    "function_call", {"name": delta["function_call"].get("name"), "arguments": ""}
                )
                function["arguments"] += delta["function_call"]["arguments"]
            if choice["logprobs"]:
                logprobs = logprobs or {"content": [], "refusal": []}
                for name in ("content", "refusal"):
                    logprobs[name] += choice["logprobs"][name] or []
            reason = choice["finish_reason"] or reason
    if calls:
        message["tool_calls"] = [calls[place] for place in sorted(calls)]
    return message, logprobs, reason


CHAT = ResponseTemplate(
    ChatChoiceFormat().whole(ChatChoiceFormat().document(ReplySpec(content="x")), "fp"), ChatChoiceFormat(), 2
)


def asking(legacy=False):
    ask = ChatRequest("0" * 32, {}, "gpt-4o")
    ask.tokenizer = ESTIMATE
    ask.include_usage = True
    ask.add_details().constraints = OutputConstraints(legacy=legacy)
    return ask


@examples(30)
@given(st.lists(answers(), min_size=1, max_size=3), st.booleans(), st.booleans())
def test_chat_stream_assembles_to_the_whole_answer(said, legacy, padded):
    if legacy:
        said = [Answer(a.text, a.calls[:1], a.refusal, a.finish_reason, a.tokens, a.logprobs) for a in said]
    ask = asking(legacy)
    whole = orjson.loads(CHAT.whole(ask, said))
    chunks = events(CHAT.render_stream(ask, said, padded).all())
    for choice in whole["choices"]:
        message, logprobs, reason = assembled(chunks, choice["index"])
        expected = {key: value for key, value in choice["message"].items() if key != "annotations"}
        if legacy and "function_call" not in expected:
            message.pop("function_call", None)
        assert message == {"role": "assistant", **expected}
        assert reason == choice["finish_reason"]
        if choice["logprobs"] is None:
            assert logprobs is None
        else:
            for name in ("content", "refusal"):
                assert logprobs[name] == (choice["logprobs"][name] or [])
    assert chunks[-1]["usage"] == whole["usage"]
    assert whole["usage"]["completion_tokens"] == sum(answer.tokens for answer in said)
    if padded:
        assert all(chunk["obfuscation"] for chunk in chunks[:-1])


@examples(20)
@given(answers().filter(lambda answer: not answer.calls), st.booleans())
def test_precomputed_bytes_equal_the_rendered_answer(answer, stream):
    """The compiled path and the neutral path are two ways to the same bytes."""
    saying = ReplySpec(
        content=answer.text and answer.text.replace("$", "$$"),
        refusal=answer.refusal and answer.refusal.replace("$", "$$"),
    )
    if saying.content is None and saying.refusal is None:
        return
    shape = ChatChoiceFormat()
    script = ResponseTemplate(shape.whole(shape.document(saying), "fp"), shape, 2)
    ask = asking()
    ready = script.render_stream(ask).all() if stream else script.whole(ask)
    neutral = script.render_stream(ask, script.answers(ask)).all() if stream else script.whole(ask, script.answers(ask))
    ready, neutral = (re.sub(rb'"created":\d+', b"", one) for one in (ready, neutral))
    assert ready == neutral
