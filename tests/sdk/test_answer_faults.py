"""Semantic faults as SDKs report them: openai, anthropic and Pydantic AI for Python."""

import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import anthropic
import openai
import pydantic
import pytest

from tests.sdk.test_clients import python
from tests.support import serving

pytestmark = pytest.mark.integration


class Place(pydantic.BaseModel):
    city: str
    unit: Literal["celsius", "fahrenheit"]


SCHEMA = Place.model_json_schema() | {"additionalProperties": False}
PLACE = {"city": "Paris", "unit": "celsius"}
JSON = '{"city":"Paris","unit":"celsius"}'
CONFIG = {
    "server": {"control_headers": True},
    "responses": {
        "chat_completions": {
            "rules": [
                {
                    "match": {"content": "call", "last_role": "user"},
                    "tool_calls": [{"name": "look", "arguments": PLACE}],
                },
                {"match": {"content": "json"}, "content": JSON},
            ],
            "default": {"content": "The quick brown fox."},
        }
    },
}
CALLS = ("unknown_tool", "invalid_arguments", "duplicate_call_id", "cut_arguments")
REACTIONS = {
    # fault: openai chat.completions.parse, openai responses.parse, anthropic messages.stream, Pydantic AI
    "unknown_tool": ("unknown_tool", "unknown_tool", "unknown_tool", "UnexpectedModelBehavior"),
    "invalid_arguments": ({"unit": "celsius"}, {"unit": "celsius"}, {"unit": "celsius"}, "retried"),
    "duplicate_call_id": ("2 calls, 1 id", "2 calls, 1 id", "2 calls, 1 id", "no error"),
    "cut_arguments": ("LengthFinishReasonError", "JSONDecodeError", {"city": "Paris"}, "retried"),
    "empty_answer": ("", "ValidationError", "", "UnexpectedModelBehavior"),
    "reasoning_only": ("LengthFinishReasonError", "ValidationError", "", "UnexpectedModelBehavior"),
    "refusal": ("refusal", "refusal", "refusal", "ContentFilterError"),
    "content_filter": ("ContentFilterFinishReasonError", "ValidationError", "refusal", "UnexpectedModelBehavior"),
    "not_json": ("ValidationError", "ValidationError", None, "UnexpectedModelBehavior"),
    "fenced_json": ("ValidationError", "ValidationError", f"```json\n{JSON}\n```", "no error"),
    "repetition_loop": ("LengthFinishReasonError", "ValidationError", None, "UnexpectedModelBehavior"),
    "wrong_language": ("ValidationError", "ValidationError", "Es tut mir leid", "UnexpectedModelBehavior"),
}
PROGRAM = """
import sys, warnings
warnings.simplefilter("ignore")
from typing import Literal
import openai, pydantic
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

class Place(pydantic.BaseModel):
    city: str
    unit: Literal["celsius", "fahrenheit"]

url, calls, *faults = sys.argv[1:]
for fault in faults:
    headers = {"x-fastmock-fault": fault}
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0, default_headers=headers)
    model = OpenAIChatModel("gpt-4o", provider=OpenAIProvider(openai_client=client))
    is_call = fault in calls.split(",")
    agent = Agent(model, output_type=str if is_call else NativeOutput(Place), retries=1)
    if is_call:
        @agent.tool_plain
        def look(city: str, unit: Literal["celsius", "fahrenheit"]) -> str:
            return "22"
    try:
        result = agent.run_sync("call" if is_call else "json")
        retried = any(part.part_kind == "retry-prompt" for message in result.all_messages() for part in message.parts)
        print("retried" if retried else "no error")
    except Exception as error:
        print(type(error).__name__)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("answers"), CONFIG, "--runtime", "granian") as running:
        yield running


def reaction(call):
    """Return what a call returns, or the name of its error."""
    try:
        return call()
    except Exception as error:
        return type(error).__name__


def of_calls(calls):
    """Sum calls up, given as (id, name, arguments): several of them, an unknown name, or the arguments."""
    if len(calls) > 1:
        return f"{len(calls)} calls, {len({call[0] for call in calls})} id"
    [(_, name, arguments)] = calls
    return arguments if name == "look" else name


@pytest.mark.parametrize("fault", REACTIONS)
def test_openai_reports_a_wrong_chat_completion(server, fault):
    def ask():
        more = {"tools": [{"type": "function", "function": {"name": "look", "parameters": SCHEMA, "strict": True}}]}
        message = (
            client.chat.completions.parse(
                model="gpt-4o",
                messages=[{"role": "user", "content": "call" if fault in CALLS else "json"}],
                extra_headers={"x-fastmock-fault": fault},
                **(more if fault in CALLS else {"response_format": Place}),
            )
            .choices[0]
            .message
        )
        if message.tool_calls:
            calls = [(call.id, call.function.name, call.function.parsed_arguments) for call in message.tool_calls]
            return of_calls(calls)
        return "refusal" if message.refusal else message.content

    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0) as client:
        assert reaction(ask) == REACTIONS[fault][0]


@pytest.mark.parametrize("fault", REACTIONS)
def test_openai_reports_a_wrong_response(server, fault):
    def ask():
        more = {"tools": [{"type": "function", "name": "look", "parameters": SCHEMA, "strict": True}]}
        response = client.responses.parse(
            model="gpt-4o",
            input="call" if fault in CALLS else "json",
            extra_headers={"x-fastmock-fault": fault},
            **(more if fault in CALLS else {"text_format": Place}),
        )
        calls = [item for item in response.output if item.type == "function_call"]
        if calls:
            return of_calls([(call.call_id, call.name, call.parsed_arguments) for call in calls])
        return "refusal" if response.output[-1].content[0].type == "refusal" else response.output_text

    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0) as client:
        assert reaction(ask) == REACTIONS[fault][1]


@pytest.mark.parametrize("fault", REACTIONS)
def test_anthropic_reports_a_wrong_message(server, fault):
    def ask():
        with client.messages.stream(
            model="claude-sonnet",
            max_tokens=500,
            messages=[{"role": "user", "content": "call" if fault in CALLS else "json"}],
            tools=[{"name": "look", "input_schema": SCHEMA}] if fault in CALLS else [],
            extra_headers={"x-fastmock-fault": fault},
        ) as stream:
            message = stream.get_final_message()
        calls = [block for block in message.content if block.type == "tool_use"]
        if calls:
            return of_calls([(block.id, block.name, block.input) for block in calls])
        return "refusal" if message.stop_reason == "refusal" else message.content[-1].text

    with anthropic.Anthropic(base_url=server.url, api_key="k", max_retries=0) as client:
        found, expected = reaction(ask), REACTIONS[fault][2]
        assert expected is None or found == expected or (expected and str(found).startswith(str(expected)))


@cache
def of_pydantic_ai():
    """Return the outcomes of all faults."""
    with TemporaryDirectory() as directory, serving(Path(directory), CONFIG, "--runtime", "granian") as server:
        command = (python("agents"), "-c", PROGRAM, server.url, ",".join(CALLS), *REACTIONS)
        done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(REACTIONS, done.stdout.splitlines(), strict=True))


@pytest.mark.parametrize("fault", REACTIONS)
def test_pydantic_ai_reports_a_wrong_answer(fault):
    assert of_pydantic_ai()[fault] == REACTIONS[fault][3]
