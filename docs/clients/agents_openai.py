"""The OpenAI Agents SDK, on chat completions: a loop with a tool that ends, and an output type."""

import asyncio
import os

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from pydantic import BaseModel

set_tracing_disabled(True)


class Report(BaseModel):
    city: str
    degrees: float


called = []


@function_tool
def get_weather(city: str) -> str:
    """Return the weather in a city."""
    called.append(city)
    return f"22 degrees in {city}"


url = os.environ.get("FASTMOCK_URL", "http://127.0.0.1:8080/v1")
model = OpenAIChatCompletionsModel("gpt-4o", AsyncOpenAI(base_url=url, api_key="sk-test"))
settings = ModelSettings(tool_choice="required")
agent = Agent("Weather", tools=[get_weather], model=model, model_settings=settings)
reporter = Agent("Reporter", model=model, output_type=Report)


async def main():
    done = await Runner.run(agent, "What is the weather in Paris?")
    print(bool(done.final_output), len(called))
    streamed = Runner.run_streamed(agent, "What is the weather in Paris?")
    kinds = [event.item.type async for event in streamed.stream_events() if event.type == "run_item_stream_event"]
    print(*kinds)
    report = await Runner.run(reporter, "What is the weather in Paris?")
    print(type(report.final_output).__name__)


asyncio.run(main())
