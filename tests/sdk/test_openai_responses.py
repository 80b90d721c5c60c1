"""OpenAI's SDK with strict validation over a socket: responses, on both runtimes and two workers."""

import asyncio

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response

from tests.sdk.replies import RULES, GetWeather, Part

pytestmark = pytest.mark.integration

SCHEMA = GetWeather.model_json_schema() | {"additionalProperties": False, "required": ["city", "unit"]}
TOOL = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": True}
CONFIG = {
    "responses": {
        "chat_completions": {
            "patterns": [
                *RULES,
                {"match": {"turn": 3}, "content": "The third time."},
                {"match": {"content": "template"}, "content": "$user_message: $model"},
            ]
        }
    }
}


def finished(stream):
    """Return the kinds of the events of a stream, and the response it ends with."""
    events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return [event.type for event in events], events[-1].response


def test_response_has_text_usage_and_metadata(client):
    answer = client.responses.create(model="gpt-4o", input="Hello", instructions="Be kind.", metadata={"a": "b"})
    assert answer.output_text.startswith("Hello from fastmock!")
    assert (answer.status, answer.instructions, answer.metadata) == ("completed", "Be kind.", {"a": "b"})
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert client.responses.create(model="gpt-4o", input="template").output_text == "template: gpt-4o"
    assert client.responses.create(input="Hello").output_text


def test_response_stream_has_the_events_of_the_api(client):
    kinds, answer = finished(client.responses.create(model="gpt-4o", input="Hello", stream=True))
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert answer.output_text == client.responses.create(model="gpt-4o", input="Hello").output_text


@pytest.mark.parametrize("asked", ["Hello", "both", "refuse", "long", "template", "think"])
def test_response_stream_equals_the_whole_response(client, asked):
    with client.responses.stream(model="gpt-4o", input=asked) as stream:
        events = list(stream)
        kinds = [event.type for event in events]
        # The helper knows no final response where it is incomplete.
        final = events[-1].response if asked == "long" else stream.get_final_response()
    whole = client.responses.create(model="gpt-4o", input=asked)
    unlike = {"id", "created_at", "completed_at", "call_id"}

    def bare(value):
        if isinstance(value, dict):
            hidden = unlike | ({"parsed", "parsed_arguments"} & value.keys())
            return {key: bare(inner) for key, inner in value.items() if key not in hidden}
        return [bare(inner) for inner in value] if isinstance(value, list) else value

    assert bare(final.model_dump()) == bare(whole.model_dump())
    assert kinds[-1] == ("response.incomplete" if asked == "long" else "response.completed")
    if asked == "long":
        assert whole.incomplete_details.reason == "max_output_tokens"
    if asked == "think":
        assert whole.output[0].summary[0].text == "Let me see."
        assert whole.usage.output_tokens_details.reasoning_tokens > 0


def test_response_parse_returns_structured_output(client):
    answer = client.responses.parse(model="gpt-4o", input="Hello", text_format=Part)
    assert answer.output_parsed.kind in ("wheel", "axle")
    with client.responses.stream(model="gpt-4o", input="Hello", text_format=Part) as stream:
        streamed = stream.until_done().get_final_response()
    assert streamed.output_parsed == answer.output_parsed
    refused = client.responses.parse(model="gpt-4o", input="refuse", text_format=Part)
    assert refused.output_parsed is None
    assert refused.output[0].content[0].refusal == "I can't help with that."
    plain = client.responses.create(model="gpt-4o", input="Answer in JSON.", text={"format": {"type": "json_object"}})
    assert plain.output_text.startswith("{")


def test_response_tool_loop_ends(client):
    items = [{"role": "user", "content": "What is the weather?"}]
    for _ in range(3):
        answer = client.responses.parse(model="gpt-4o", input=items, tools=[TOOL], tool_choice="required")
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            break
        assert isinstance(calls[0].parsed_arguments, dict | GetWeather) or "city" in calls[0].arguments
        items += [call.model_dump(exclude={"parsed_arguments"}) for call in calls]
        items += [{"type": "function_call_output", "call_id": call.call_id, "output": "22"} for call in calls]
    assert answer.output_text
    assert len(items) == 3


def test_response_with_several_calls_honours_tool_choice(client):
    answer = client.responses.create(model="gpt-4o", input="both", tools=[TOOL])
    assert [item.type for item in answer.output] == ["message", "function_call", "function_call"]
    assert len({item.id for item in answer.output}) == 3
    assert len({item.call_id for item in answer.output[1:]}) == 2
    one = client.responses.create(model="gpt-4o", input="both", tools=[TOOL], parallel_tool_calls=False)
    assert [item.type for item in one.output] == ["message", "function_call"]
    choice = {"type": "function", "name": "get_weather"}
    named = client.responses.create(model="gpt-4o", input="x", tools=[{"type": "web_search"}, TOOL], tool_choice=choice)
    assert named.output[0].name == "get_weather"
    assert [tool.type for tool in named.tools] == ["web_search", "function"]
    custom = client.responses.create(
        model="gpt-4o", input="x", tools=[{"type": "custom", "name": "shell"}], tool_choice="required"
    )
    assert (custom.output[0].type, custom.output[0].name) == ("custom_tool_call", "shell")


def test_response_reasoning_has_summary_and_tokens(client):
    chat = {"model": "o3", "input": "Hello", "reasoning": {"effort": "low", "summary": "auto"}}
    answer = client.responses.create(**chat, include=["reasoning.encrypted_content"])
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert answer.output[0].summary[0].text
    assert answer.output[0].encrypted_content
    assert answer.usage.output_tokens_details.reasoning_tokens == 64
    kinds, streamed = finished(client.responses.create(**chat, stream=True))
    assert "response.reasoning_summary_text.delta" in kinds
    assert streamed.output[0].summary == answer.output[0].summary


def test_response_continues_a_previous_response_and_a_conversation(client):
    one = client.responses.create(model="gpt-4o", input="One")
    two = client.responses.create(model="gpt-4o", input="Two", previous_response_id=one.id, stream=True)
    _, two = finished(two)
    three = client.responses.create(model="gpt-4o", input="Three", previous_response_id=two.id)
    assert three.output_text == "The third time."
    assert three.previous_response_id == two.id
    assert three.usage.input_tokens > one.usage.input_tokens
    for number in range(1, 4):
        answer = client.responses.create(model="gpt-4o", input="x", conversation="conv_of_three")
        assert (answer.output_text == "The third time.") == (number == 3)
        assert answer.conversation.id == "conv_of_three"


def test_conversations_are_created_listed_updated_and_deleted(client):
    made = client.conversations.create(metadata={"a": "b"}, items=[{"role": "user", "content": "One"}])
    assert (made.metadata, made.created_at > 1_700_000_000) == ({"a": "b"}, True)
    asked = {"model": "gpt-4o", "input": "Two", "conversation": made.id}
    called = client.responses.create(**asked, tools=[TOOL], tool_choice="required").output[0]
    output = {"type": "function_call_output", "call_id": called.call_id, "output": "22"}
    said = {"type": "message", "role": "assistant", "content": "I said so."}
    added = client.conversations.items.create(made.id, items=[output, {"role": "user", "content": "Well?"}, said])
    answer = client.responses.create(model="gpt-4o", input="Three", conversation={"id": made.id})
    assert answer.output_text == "The third time."
    items = list(client.conversations.items.list(made.id, order="asc"))
    kinds = ["message", "message", "function_call", "function_call_output", "message", "message", "message", "message"]
    assert [item.type for item in items] == kinds
    assert [item.content[0].text for item in items if item.type == "message" and item.role == "user"] == [
        "One", "Two", "Well?", "Three",
    ]  # fmt: skip
    page = client.conversations.items.list(made.id, limit=2)
    assert [item.id for item in page.data] == [item.id for item in items[:5:-1]]
    assert [item.id for item in page] == [item.id for item in items[::-1]]  # all pages
    assert client.conversations.items.retrieve(added.data[0].id, conversation_id=made.id) == added.data[0]
    assert client.conversations.items.delete(added.data[0].id, conversation_id=made.id) == made
    assert len(list(client.conversations.items.list(made.id))) == 7
    assert client.conversations.update(made.id, metadata={"c": "d"}).metadata == {"c": "d"}
    assert client.conversations.retrieve(made.id).metadata == {"c": "d"}
    assert client.conversations.delete(made.id).deleted
    assert list(client.conversations.items.list(made.id)) == []


def test_response_stored_is_retrieved_streamed_and_deleted(client):
    made = client.responses.create(model="gpt-4o", input="both", tools=[TOOL])
    for _ in range(8):  # whichever worker is asked
        assert client.responses.retrieve(made.id) == made
    kinds, again = finished(client.responses.retrieve(made.id, stream=True))
    assert again == made
    assert "response.function_call_arguments.delta" in kinds
    rest = list(client.responses.retrieve(made.id, stream=True, starting_after=3))
    assert [event.type for event in rest] == kinds[4:]
    items = client.responses.input_items.list(made.id)
    assert [(item.role, item.content[0].text) for item in items] == [("user", "both")]
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError, match="not found"):
        client.responses.retrieve(made.id)
    unstored = client.responses.create(model="gpt-4o", input="x", store=False)
    assert client.responses.retrieve(unstored.id).output_text == "Hello from fastmock!"  # an id never given out


def test_response_in_the_background_completes_or_is_cancelled(client):
    begun = client.responses.create(model="gpt-4o", input="Hello", background=True)
    assert (begun.status, begun.output) == ("queued", [])
    assert client.responses.retrieve(begun.id).status == "completed"
    begun = client.responses.create(model="gpt-4o", input="Hello", background=True)
    assert client.responses.cancel(begun.id).status == "cancelled"
    assert client.responses.retrieve(begun.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        client.responses.cancel(client.responses.create(model="gpt-4o", input="Hello").id)


def test_response_input_tokens_are_counted_and_compacted(client):
    counted = client.responses.input_tokens.count(model="gpt-4o", input="Hello there")
    assert counted.input_tokens == client.responses.create(model="gpt-4o", input="Hello there").usage.input_tokens
    said = [{"role": role, "content": "Hello there"} for role in ("user", "assistant") * 2]
    compacted = client.responses.compact(model="gpt-4o", input=said)
    assert [item.type for item in compacted.output] == ["compaction"]
    again = client.responses.create(
        model="gpt-4o", input=[*(item.model_dump() for item in compacted.output), {"role": "user", "content": "And?"}]
    )
    assert again.output_text == "The third time."  # turns go on being counted
    assert again.usage.input_tokens < compacted.usage.input_tokens + 4


def test_response_logprobs_cover_the_text(client):
    chat = {"model": "gpt-4o", "input": "Hello", "include": ["message.output_text.logprobs"], "top_logprobs": 2}
    answer = client.responses.create(**chat)
    entries = answer.output[0].content[0].logprobs
    assert "".join(entry.token for entry in entries) == answer.output_text
    assert all(len(entry.top_logprobs) == 2 for entry in entries)
    _, streamed = finished(client.responses.create(**chat, stream=True))
    assert streamed.output[0].content[0] == answer.output[0].content[0]


def test_response_errors_name_the_parameter_that_was_sent(client):
    for wrong, param in (
        ({"input": 3}, "input"),
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": "many"}, "max_output_tokens"),
        ({"tools": [{"type": "web_search"}, {"type": "function", "name": "a b"}]}, "tools[1].name"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "poem"}}}, "text.format.type"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"previous_response_id": "resp_a", "conversation": "conv_b"}, "conversation"),
    ):
        with pytest.raises(openai.BadRequestError) as raised:
            client.responses.create(**{"model": "gpt-4o", "input": "Hello"} | wrong)
        assert raised.value.body["param"] == param, raised.value


def test_response_async_client_creates_streams_and_retrieves(server):
    async def main():
        url = server.url + "/v1"
        async with AsyncOpenAI(base_url=url, api_key="x", _strict_response_validation=True) as client:
            answer = await client.responses.create(model="gpt-4o", input="Hello")
            async with client.responses.stream(model="gpt-4o", input="Hello") as stream:
                final = await stream.get_final_response()
            assert final.output_text == answer.output_text
            assert isinstance(await client.responses.retrieve(answer.id), Response)
            parsed = await client.responses.parse(model="gpt-4o", input="Hello", text_format=Part)
            assert parsed.output_parsed
            many = await asyncio.gather(*(client.responses.create(model="m", input=f"{i}") for i in range(100)))
            assert len({one.id for one in many}) == 100
            found = await asyncio.gather(*(client.responses.retrieve(one.id) for one in many))
            assert found == many

    asyncio.run(main())
