"""Anthropic's SDK with strict validation over a socket: messages, on both runtimes and two workers."""

import asyncio
import time

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic

from tests.config.test_mockllm import FILE
from tests.sdk.replies import RULES, GetWeather, Part

pytestmark = pytest.mark.integration

TOOL = {"name": "get_weather", "description": "The weather.", "input_schema": GetWeather.model_json_schema()}
CONFIG = {
    "models": {"available": ["claude-sonnet", "claude-haiku", "gpt-4o"]},
    "usage": {"simulate_prompt_cache": True},
    "responses": {
        "chat_completions": {
            "patterns": [
                *RULES,
                {"match": {"turn": 2}, "content": "The second time."},
                {"match": {"content": "template"}, "content": "$user_message: $model"},
                {"match": {"content": "count"}, "content": "one two three four"},
            ]
        }
    },
}


@pytest.fixture
def client(server):
    with Anthropic(base_url=server.url, api_key="sk-ant-x", max_retries=0, _strict_response_validation=True) as made:
        yield made


def asking(text, **more):
    return {"model": "claude-sonnet", "max_tokens": 2000, "messages": [{"role": "user", "content": text}]} | more


def test_message_has_text_usage_and_stop_reason(client):
    answer = client.messages.create(**asking("Hello", system="Be kind."))
    assert answer.content[0].text.startswith("Hello from fastmock!")
    assert (answer.stop_reason, answer.stop_sequence, answer.model) == ("end_turn", None, "claude-sonnet")
    assert answer._request_id.startswith("req_")
    assert answer.usage.input_tokens > 0 < answer.usage.output_tokens
    assert client.messages.create(**asking("template")).content[0].text == "template: claude-sonnet"
    ended = client.messages.create(**asking("count", stop_sequences=["four", "three", "x", "y", "z"]))
    assert (ended.content[0].text, ended.stop_reason, ended.stop_sequence) == ("one two ", "stop_sequence", "three")
    blocks = [{"type": "text", "text": "tem"}, {"type": "text", "text": "plate"}]
    assert client.messages.create(**asking(blocks)).content[0].text == "template: claude-sonnet"


@pytest.mark.parametrize("asked", ["Hello", "both", "refuse", "long", "template", "think"])
@pytest.mark.parametrize("more", [{}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}])
def test_message_stream_equals_the_whole_message(client, asked, more):
    whole = client.messages.create(**asking(asked, **more))
    with client.messages.stream(**asking(asked, **more)) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    raw = [event.type for event in client.messages.create(**asking(asked, **more), stream=True)]
    assert (raw[0], raw[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert kinds[0] == "message_start"

    def bare(message):
        dumped = message.to_dict()
        return {
            "content": [{key: value for key, value in block.items() if key != "id"} for block in dumped["content"]],
            **{name: dumped[name] for name in ("role", "stop_reason", "stop_sequence", "model", "usage")},
        }

    assert bare(final) == bare(whole)
    expected = {"both": "tool_use", "refuse": "refusal", "long": "max_tokens"}.get(asked, "end_turn")
    assert whole.stop_reason == expected
    thought = [block.thinking for block in whole.content if block.type == "thinking"]
    assert bool(thought) == (bool(more) or asked == "think")
    if asked == "think":
        assert thought == ["Let me see."]


def test_message_tool_loop_ends(client):
    messages = [{"role": "user", "content": "What is the weather?"}]
    for _ in range(3):
        answer = client.messages.create(
            **asking("") | {"messages": messages}, tools=[TOOL], tool_choice={"type": "any"}
        )
        calls = [block for block in answer.content if block.type == "tool_use"]
        if not calls:
            break
        GetWeather(**calls[0].input)
        assert answer.stop_reason == "tool_use"
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "22"} for call in calls]
        messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    assert answer.content[0].text == "The second time."
    assert len(messages) == 3


def test_message_tool_choice_is_honoured(client):
    both = client.messages.create(**asking("both"), tools=[TOOL])
    assert [block.type for block in both.content] == ["text", "tool_use", "tool_use"]
    assert both.content[1].id != both.content[2].id
    assert both.content[2].input == {"city": "Rome", "unit": None}
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    assert len(client.messages.create(**asking("both"), tools=[TOOL], tool_choice=choice).content) == 2
    named = client.messages.create(
        **asking("x"),
        tools=[{"type": "web_search_20250305", "name": "web_search"}, TOOL],
        tool_choice={"type": "tool", "name": "get_weather"},
    )
    assert named.content[0].name == "get_weather"
    none = client.messages.create(**asking("both"), tools=[TOOL], tool_choice={"type": "none"})
    assert [block.type for block in none.content] == ["text"]
    long = TOOL | {"name": "x" * 100}
    assert client.messages.create(**asking("x"), tools=[long], tool_choice={"type": "any"}).content[0].name == "x" * 100


def test_message_parse_returns_structured_output(client):
    answer = client.messages.parse(**asking("Hello"), output_format=Part)
    assert answer.parsed_output.kind in ("wheel", "axle")
    with client.messages.stream(**asking("Hello"), output_format=Part) as stream:
        assert stream.get_final_message().parsed_output == answer.parsed_output


def test_message_token_count_equals_the_usage(client):
    chat = asking("Hello there", system="Be kind.", tools=[TOOL])
    counted = client.messages.count_tokens(**{name: chat[name] for name in chat if name != "max_tokens"})
    assert counted.input_tokens == client.messages.create(**chat).usage.input_tokens
    long = asking("word " * 3000)
    whole = client.messages.create(**long).usage
    assert whole.cache_read_input_tokens == 0
    again = client.messages.create(**long).usage
    assert again.cache_read_input_tokens > 1000
    assert again.cache_read_input_tokens + again.input_tokens == whole.input_tokens


def test_message_with_omitted_thinking_has_only_its_signature(client):
    answer = client.messages.create(**asking("Hello", thinking={"type": "adaptive", "display": "omitted"}))
    assert (answer.content[0].thinking, bool(answer.content[0].signature)) == ("", True)
    with pytest.raises(anthropic.BadRequestError, match="greater than or equal to 1024"):
        client.messages.create(**asking("x", thinking={"type": "enabled", "budget_tokens": 5}))


def test_models_are_listed_in_pages(client):
    listed = client.models.list()
    assert [model.id for model in listed] == ["claude-sonnet", "claude-haiku", "gpt-4o"]
    page = client.models.list(limit=2)
    assert ([model.id for model in page.data], page.has_more) == (["claude-sonnet", "claude-haiku"], True)
    assert [model.id for model in page] == [model.id for model in listed]  # all pages
    assert [model.id for model in client.models.list(before_id="gpt-4o", limit=1).data] == ["claude-haiku"]
    assert client.models.retrieve("claude-haiku").display_name == "claude-haiku"


def test_message_errors_raise_the_sdk_exceptions(client, server):
    for wrong, message in (
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages.0.role: Input should be 'user' or 'assistant'"),
        ({"extra_body": {"temperature": 2}}, "temperature: Input should be less than or equal to 1"),
        ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools.0.custom.name: String should match pattern"),
        ({"tool_choice": {"type": "tool", "name": "y"}, "tools": [TOOL]}, "Tool 'y' not found in provided tools"),
    ):
        with pytest.raises(anthropic.BadRequestError) as raised:
            client.messages.create(**asking("x") | wrong)
        body = raised.value.body
        assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
        assert message in body["error"]["message"]
        assert raised.value.request_id == body["request_id"]
        assert raised.value.response.headers["request-id"] == body["request_id"]
    with pytest.raises(anthropic.NotFoundError):
        client.post("/v1/messages/nothing", cast_to=object)
    with pytest.raises(anthropic.AuthenticationError):
        client.messages.create(**asking("x"), extra_headers={"Authorization": anthropic.omit})


def test_message_with_a_bearer_token_is_accepted(server):
    with Anthropic(base_url=server.url, auth_token="token", max_retries=0) as client:
        assert client.messages.create(**asking("Hello")).content


@pytest.mark.parametrize(
    ("kind", "error", "status", "words"),
    [
        ("rate_limit", anthropic.RateLimitError, 429, "rate limit"),
        ("insufficient_quota", anthropic.BadRequestError, 400, "credit balance"),
        ("server_error", anthropic.InternalServerError, 500, "Internal server error"),
        ("service_unavailable", anthropic.APIStatusError, 529, "Overloaded"),
        ("timeout", anthropic.APIStatusError, 408, ""),
    ],
)
def test_message_simulated_errors_raise_the_sdk_exceptions(serve, kind, error, status, words):
    failing = {"simulate_errors": True, "error_rate": 1, "error_types": {kind: 1}}
    server = serve({"server": failing, "auth": {"mode": "keys", "keys": ["right"]}})
    with Anthropic(base_url=server.url, api_key="right", max_retries=0) as client, pytest.raises(error) as raised:
        client.messages.create(**asking("x"))
    assert raised.value.status_code == status
    assert words in raised.value.body["error"]["message"]
    stranger = Anthropic(base_url=server.url, api_key="wrong", max_retries=0)
    with stranger, pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
        stranger.messages.create(**asking("x"))


def test_message_async_client_creates_and_streams(server):
    async def main():
        async with AsyncAnthropic(base_url=server.url, api_key="x", _strict_response_validation=True) as client:
            answer = await client.messages.create(**asking("Hello"))
            async with client.messages.stream(**asking("Hello")) as stream:
                assert await stream.get_final_text() == answer.content[0].text
            many = await asyncio.gather(*(client.messages.create(**asking("template")) for _ in range(100)))
            assert len({one.id for one in many}) == 100

    asyncio.run(main())


def test_mockllm_file_is_served_to_the_anthropic_sdk(serve, tmp_path):
    (tmp_path / "responses.yml").write_text(FILE)
    server = serve(None, "--config", str(tmp_path / "responses.yml"))
    assert "a mockllm file" in server.greeting
    with Anthropic(base_url=server.url, api_key="x", max_retries=0) as client:
        start = time.monotonic()
        chat = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "what is 2+2?"}]}
        with client.messages.stream(**chat) as stream:
            assert stream.get_final_text() == '{"sum": 9}'
        assert time.monotonic() - start >= 0.04


@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_message_body_too_large_is_an_anthropic_413(serve, runtime):
    server = serve({"server": {"max_body_bytes": 2000}}, "--runtime", runtime)
    client = Anthropic(base_url=server.url, api_key="x", max_retries=0)
    with client, pytest.raises(anthropic.APIStatusError) as raised:
        client.messages.create(**asking("x" * 3000))
    assert raised.value.status_code == 413
    assert raised.value.body["error"]["type"] == "request_too_large"
    assert raised.value.response.headers["request-id"] == raised.value.body["request_id"]
