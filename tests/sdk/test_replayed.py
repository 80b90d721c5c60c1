"""The official SDKs, with strict validation, over recordings: they return the same as while recording."""

import json
import shutil
import sys

import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.sdk.replies import GetWeather, Part
from tests.sdk.test_clients import CONFIG, ENVIRONMENTS, PROGRAMS, RUNTIMES, node, output, printed

pytestmark = pytest.mark.integration
ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "What is the weather in Paris?"}]}
TOOL = openai.pydantic_function_tool(GetWeather, name="get_weather")
ANTHROPIC_TOOL = {"name": "get_weather", "description": "The weather.", "input_schema": GetWeather.model_json_schema()}


@pytest.fixture
def record_and_replay(serve, tmp_path):
    """Return a function that calls another with the URL of a recorder, and then with those of servers that replay.

    That function returns what it found at each URL.
    """

    def run(call):
        upstream = serve({**CONFIG, "tools": {"auto_call": True}, "latency": {"itl": 1}}, "--workers", "2")
        record = {"upstream": upstream.url, "to": str(tmp_path / "cassettes"), "allow_in_ci": True}
        recorder = serve({"record": record}, "--workers", "2")
        [recorded] = call([recorder.url])
        assert recorder.stop() == upstream.stop() == 0
        replaying = {"cassettes": {"files": [str(tmp_path / "cassettes")], "repeats": "error"}}
        servers = [serve(replaying, "--runtime", runtime, "--workers", "2") for runtime in RUNTIMES]
        assert call([server.url for server in servers]) == [recorded] * 2

    return run


def test_strict_clients_return_the_same_objects(record_and_replay):
    def call(url):
        found = []
        with OpenAI(base_url=f"{url}/v1", api_key="sk-x", max_retries=0, _strict_response_validation=True) as client:
            chat, responses = client.chat.completions, client.responses
            found.append(chat.create(**ASK))
            found.append(chat.parse(**ASK, response_format=Part))
            found.append(chat.parse(**ASK, tools=[TOOL], tool_choice="required"))
            found += [*chat.create(**ASK, stream=True, stream_options={"include_usage": True})]
            with responses.stream(model="gpt-4o", input="Hello") as stream:
                found += [*stream]
            first = responses.create(model="gpt-4o", input="Hello")
            found += [first, responses.create(model="gpt-4o", input="Again", previous_response_id=first.id)]
            found.append(client.embeddings.create(model="text-embedding-3-small", input="a", encoding_format="float"))
            found += [*client.models.list()]
            with pytest.raises(openai.BadRequestError) as error:
                chat.create(model="gpt-4o", messages=[])
            found.append(error.value.response)
        with Anthropic(base_url=url, api_key="sk-ant-x", max_retries=0, _strict_response_validation=True) as client:
            asked = {**ASK, "model": "claude-sonnet", "max_tokens": 500}
            found.append(client.messages.create(**asked))
            found.append(client.messages.create(**asked, tools=[ANTHROPIC_TOOL], tool_choice={"type": "any"}))
            with client.messages.stream(**asked) as events:
                found += [*events]
            found.append(client.messages.count_tokens(model="claude-sonnet", messages=ASK["messages"]))
        return [
            json.loads(one.model_dump_json(warnings=False)) if hasattr(one, "model_dump_json") else one.json()
            for one in found
        ]

    record_and_replay(lambda urls: [call(url) for url in urls])


@pytest.mark.parametrize("program", ["openai_current.py", "anthropic_current.py", "node_openai.mjs", "node_vercel.mjs"])
def test_programs_print_the_same(record_and_replay, program):
    if program.endswith(".mjs"):
        command = [node(), shutil.copy(PROGRAMS / program, ENVIRONMENTS / "node")]
        record_and_replay(lambda urls: [output(url, *command) for url in urls])
    else:
        record_and_replay(lambda urls: printed(sys.executable, [program], urls))
