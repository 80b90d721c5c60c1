"""OpenAI's SDK with strict validation over a socket: chat completions, on both runtimes and two workers."""

import asyncio
import re
import signal
import tempfile
import time
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion

from tests.sdk.replies import GetWeather, Part
from tests.support import wait_until

pytestmark = pytest.mark.integration

ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "What is the weather in Paris?"}]}
TOOL = openai.pydantic_function_tool(GetWeather, name="get_weather")
CONFIG = {
    "responses": {
        "chat_completions": {
            "patterns": [
                {"match": {"content": "refuse"}, "refusal": "I can't help with that."},
                {
                    "match": {"content": "both"},
                    "tool_calls": [
                        {"name": "get_weather", "arguments": {"city": "Paris", "unit": "c"}},
                        {"name": "get_weather", "arguments": {"city": "Rome", "unit": None}},
                    ],
                },
            ]
        }
    }
}


def test_parse_returns_structured_output(client):
    answer = client.chat.completions.parse(**ASK, response_format=Part)
    assert answer.choices[0].message.parsed.kind in ("wheel", "axle")
    again = client.chat.completions.parse(**ASK, response_format=Part)
    assert again.choices[0].message.parsed == answer.choices[0].message.parsed
    several = client.chat.completions.parse(**ASK, response_format=Part, n=3)
    assert all(choice.message.parsed for choice in several.choices)
    refused = client.chat.completions.parse(
        model="gpt-4o", messages=[{"role": "user", "content": "refuse"}], response_format=Part
    )
    assert refused.choices[0].message.parsed is None
    assert refused.choices[0].message.refusal == "I can't help with that."


def test_parse_returns_tool_arguments_and_the_loop_ends(client):
    answer = client.chat.completions.parse(**ASK, tools=[TOOL], tool_choice="required")
    (call,) = answer.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, GetWeather)
    messages = [
        *ASK["messages"],
        answer.choices[0].message.model_dump(exclude_none=True, exclude={"parsed"}),
        {"role": "tool", "tool_call_id": call.id, "content": "22"},
    ]
    final = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[TOOL], tool_choice="required")
    assert final.choices[0].message.content
    assert final.choices[0].finish_reason == "stop"


def test_stream_helper_parses_structured_output(client):
    with client.chat.completions.stream(**ASK, response_format=Part) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert kinds.count("content.delta") > 3
    assert "content.done" in kinds
    assert (
        final.choices[0].message.parsed
        == client.chat.completions.parse(**ASK, response_format=Part).choices[0].message.parsed
    )


def test_stream_helper_parses_tool_arguments(client):
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "both"}], "tools": [TOOL]}
    with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    assert [event.parsed_arguments.city for event in done] == ["Paris", "Rome"]
    assert [call.function.parsed_arguments.unit for call in final.choices[0].message.tool_calls] == ["c", None]
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.usage.total_tokens == final.usage.prompt_tokens + final.usage.completion_tokens
    with client.chat.completions.stream(**ASK, tools=[TOOL], tool_choice="required") as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.parsed_arguments.city


def test_stream_helper_collects_refusals_and_logprobs(client):
    with client.chat.completions.stream(
        model="gpt-4o", messages=[{"role": "user", "content": "refuse"}], logprobs=True, top_logprobs=2
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"refusal.delta", "refusal.done", "logprobs.refusal.done"} <= kinds
    assert final.choices[0].message.refusal == "I can't help with that."
    with client.chat.completions.stream(**ASK, logprobs=True, top_logprobs=2) as stream:
        final = stream.get_final_completion()
    entries = final.choices[0].logprobs.content
    assert "".join(entry.token for entry in entries) == final.choices[0].message.content
    assert all(len(entry.top_logprobs) == 2 for entry in entries)


def test_async_client_parses_and_streams(server):
    async def go():
        async with AsyncOpenAI(base_url=server.url, api_key="x", _strict_response_validation=True) as client:
            answers = await asyncio.gather(
                *(client.chat.completions.parse(**ASK, response_format=Part) for _ in range(20))
            )
            assert len({answer.choices[0].message.content for answer in answers}) == 1
            async with client.chat.completions.stream(**ASK, tools=[TOOL], tool_choice="required") as stream:
                final = await stream.get_final_completion()
            assert final.choices[0].message.tool_calls[0].function.parsed_arguments

    asyncio.run(go())


def test_stored_completions_are_listed_updated_and_deleted_on_any_worker(server, client):
    """Whichever worker answers: connections are opened anew for each request, so that both do."""

    def fresh():
        return OpenAI(base_url=server.url + "/v1", api_key="sk-x", max_retries=0, _strict_response_validation=True)

    run = f"run-{time.time_ns()}"
    made = []
    for number in range(6):
        with fresh() as one:
            stream = number % 2 == 1
            answer = one.chat.completions.create(
                **ASK, store=True, metadata={"run": run, "n": f"{number} & [ä]"}, stream=stream
            )
            made.append(next(iter(answer)).id if stream else answer.id)
    with fresh() as one:
        listed = one.chat.completions.list(metadata={"run": run}, limit=4)
        assert [item.id for item in listed.data] == made[:4]
        assert [item.id for item in one.chat.completions.list(metadata={"run": run}, limit=4)] == made
        newest = one.chat.completions.list(metadata={"run": run}, limit=1, order="desc")
        assert newest.data[0].id == made[-1]
        assert [item.id for item in one.chat.completions.list(metadata={"run": run, "n": "2 & [ä]"})] == [made[2]]
        with pytest.raises(openai.BadRequestError):  # a pager would never end
            one.chat.completions.list(limit=0)
        assert one.chat.completions.list(model="other").data == []
    for id_ in made:
        with fresh() as one:
            found = one.chat.completions.retrieve(id_)
            assert isinstance(found, ChatCompletion)
            assert found.choices[0].message.content
            assert found.metadata["run"] == run
            updated = one.chat.completions.update(id_, metadata={"run": "other"})
            assert updated.metadata == {"run": "other"}
    # Not strict: the SDK's type says that each of these messages is the assistant's.
    with OpenAI(base_url=server.url + "/v1", api_key="sk-x") as lenient:
        (asked,) = lenient.chat.completions.messages.list(made[0]).data
    assert (asked.role, asked.content) == ("user", ASK["messages"][0]["content"])
    assert client.chat.completions.list(metadata={"run": run}).data == []
    deleted = client.chat.completions.delete(made[0])
    assert (deleted.id, deleted.deleted) == (made[0], True)
    assert made[0] not in {item.id for item in client.chat.completions.list(limit=100)}
    for call in (client.chat.completions.retrieve, client.chat.completions.delete):
        with pytest.raises(openai.NotFoundError):  # it was made, and is gone
            call(made[0])
    plausible = client.chat.completions.retrieve("chatcmpl-never-made")
    assert plausible.id == "chatcmpl-never-made"


def test_run_directory_is_removed_with_the_server(serve):
    server = serve(CONFIG)
    with OpenAI(base_url=server.url + "/v1", api_key="sk-x") as client:
        client.chat.completions.create(**ASK, store=True)
    (directory,) = Path(tempfile.gettempdir()).glob(f"fastmock-{server.process.pid}-*")
    assert (directory / "stored.sqlite").exists()
    server.stop()
    assert wait_until(lambda: not directory.exists(), 5)


def test_stored_completions_survive_a_reload_and_strict_ids_apply(serve):
    server = serve({"stored": {"strict_ids": True, "max_entries": 3}})
    with OpenAI(base_url=server.url + "/v1", api_key="sk-x", max_retries=0) as client:
        ids = [client.chat.completions.create(**ASK, store=True).id for _ in range(5)]
        server.process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: any("reloaded" in line for line in server.errors), 10)
        assert [item.id for item in client.chat.completions.list()] == ids[2:]
        for call in (client.chat.completions.retrieve, client.chat.completions.delete):
            with pytest.raises(openai.NotFoundError):
                call(ids[0])
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.list(limit=1000)


def test_rule_header_names_the_rule_and_the_nearest(serve):
    server = serve({"server": {"control_headers": True}, **CONFIG})
    with OpenAI(base_url=server.url + "/v1", api_key="sk-x") as client:
        for stream in (False, True):
            raw = client.chat.completions.with_raw_response.create(**ASK, stream=stream)
            assert re.match(r"chat_completions.default; nearest chat_completions", raw.headers["x-fastmock-rule"])
            other = {"model": "m", "messages": [{"role": "user", "content": "refuse"}]}
            raw = client.chat.completions.with_raw_response.create(**other, stream=stream)
            assert raw.headers["x-fastmock-rule"].startswith("chat_completions.patterns[0]; nearest ")


@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_prompt_cache_is_shared_by_workers(serve, runtime):
    server = serve({"usage": {"simulate_prompt_cache": True}}, "--runtime", runtime, "--workers", "2")
    messages = [{"role": "system", "content": "You are a helpful assistant. " * 400}, {"role": "user", "content": "Hi"}]
    cached = []
    for _ in range(8):  # a connection each, so that both workers answer
        with OpenAI(base_url=server.url + "/v1", api_key="sk-x", max_retries=0) as client:
            usage = client.chat.completions.create(model="gpt-4o", messages=messages).usage
            cached.append(usage.prompt_tokens_details.cached_tokens)
    assert cached[0] == 0
    assert set(cached[1:]) == {cached[1]}
    assert cached[1] >= 1024
