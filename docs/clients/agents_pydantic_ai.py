"""Pydantic AI: an agent with a tool and an output type, whole and streaming."""

import asyncio
import os

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class Report(BaseModel):
    city: str
    degrees: float


url = os.environ.get("FASTMOCK_URL", "http://127.0.0.1:8080/v1")
model = OpenAIChatModel("gpt-4o", provider=OpenAIProvider(base_url=url, api_key="sk-test"))
called = []


def get_weather(city: str) -> str:
    """Return the weather in a city."""
    called.append(city)
    return f"22 degrees in {city}"


print(bool(Agent(model).run_sync("Hello").output))
agent = Agent(model, output_type=Report, tools=[get_weather])
print(type(agent.run_sync("What is the weather in Paris?").output).__name__, len(called))
native = Agent(model, output_type=NativeOutput(Report))
print(type(native.run_sync("What is the weather in Paris?").output).__name__)


async def main():
    async with agent.run_stream("What is the weather in Paris?") as stream:
        print(type(await stream.get_output()).__name__, len(called))
    async with Agent(model).run_stream("Hello") as stream:
        print("".join([part async for part in stream.stream_text(delta=True)]) == await stream.get_output())


asyncio.run(main())
