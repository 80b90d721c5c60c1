"""Pydantic AI on responses and on Anthropic messages: a tool and an output type, whole and streaming."""

import asyncio
import os

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider


class Report(BaseModel):
    city: str
    degrees: float


url = os.environ.get("FASTMOCK_URL", "http://127.0.0.1:8080/v1")
models = [
    OpenAIResponsesModel("gpt-4o", provider=OpenAIProvider(base_url=url, api_key="sk-test")),
    AnthropicModel(
        "claude-sonnet-4-5", provider=AnthropicProvider(base_url=url.removesuffix("/v1"), api_key="sk-ant-test")
    ),
]
called = []


def get_weather(city: str) -> str:
    """Return the weather in a city."""
    called.append(city)
    return f"22 degrees in {city}"


async def main(model):
    called.clear()
    agent = Agent(model, output_type=Report, tools=[get_weather])
    done = await agent.run("What is the weather in Paris?")
    print(type(done.output).__name__, len(called), done.usage.output_tokens > 0)
    native = await Agent(model, output_type=NativeOutput(Report)).run("What is the weather in Paris?")
    print(type(native.output).__name__)
    async with agent.run_stream("What is the weather in Paris?") as stream:
        print(type(await stream.get_output()).__name__, len(called))
    async with Agent(model).run_stream("Hello") as stream:
        print("".join([part async for part in stream.stream_text(delta=True)]) == await stream.get_output())


for each in models:
    asyncio.run(main(each))
