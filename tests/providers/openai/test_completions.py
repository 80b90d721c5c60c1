"""Legacy completions: streams, echo, prompts of tokens."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmock.content import tokenizers
from fastmock.engine.response_template import ResponseTemplate
from fastmock.providers.openai.completions import CompletionChoiceFormat
from fastmock.rules.settings import ReplySpec
from tests.providers.openai.test_answers import answers, asking
from tests.providers.openai.test_chat import events
from tests.providers.openai.test_params import LEGACY, data
from tests.support import examples

pytestmark = pytest.mark.unit


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


TEMPLATE = ResponseTemplate(
    CompletionChoiceFormat().whole(CompletionChoiceFormat().document(ReplySpec(content="x")), "fp"),
    CompletionChoiceFormat(),
    2,
)


@examples(20)
@given(st.lists(answers().filter(lambda answer: answer.text is not None and not answer.calls), min_size=1, max_size=2))
def test_legacy_stream_assembles_to_the_whole_answer(said):
    ask = asking()
    whole = orjson.loads(TEMPLATE.whole(ask, said))
    chunks = events(TEMPLATE.render_stream(ask, said).all())
    for choice in whole["choices"]:
        mine = [one for chunk in chunks for one in chunk["choices"] if one["index"] == choice["index"]]
        assert "".join(one["text"] for one in mine) == choice["text"]
        assert mine[-1]["finish_reason"] == choice["finish_reason"]
        if choice["logprobs"] is not None:
            for name, values in choice["logprobs"].items():
                assert [value for one in mine if one["logprobs"] for value in one["logprobs"][name]] == values
