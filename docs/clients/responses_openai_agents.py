"""The OpenAI Agents SDK with its defaults, which are responses: a loop with a tool, an output type, a memory."""

import asyncio
import os

from agents import Agent, ModelSettings, Runner, function_tool, set_default_openai_client, set_tracing_disabled
from openai import AsyncOpenAI
from pydantic import BaseModel

set_tracing_disabled(True)
url = os.environ.get("FASTMOCK_URL", "http://127.0.0.1:8080/v1")
set_default_openai_client(AsyncOpenAI(base_url=url, api_key="sk-test"))


class Report(BaseModel):
    city: str
    degrees: float


called = []


@function_tool
def get_weather(city: str) -> str:
    """Return the weather in a city."""
    called.append(city)
    return f"22 degrees in {city}"


agent = Agent("Weather", tools=[get_weather], model_settings=ModelSettings(tool_choice="required"))
reporter = Agent("Reporter", output_type=Report)


async def main():
    done = await Runner.run(agent, "What is the weather in Paris?")
    print(bool(done.final_output), len(called))
    streamed = Runner.run_streamed(agent, "What is the weather in Paris?")
    kinds = [event.item.type async for event in streamed.stream_events() if event.type == "run_item_stream_event"]
    print(*kinds)
    report = await Runner.run(reporter, "What is the weather in Paris?")
    print(type(report.final_output).__name__)
    again = await Runner.run(reporter, "And in Rome?", previous_response_id=report.last_response_id)
    print(type(again.final_output).__name__)


asyncio.run(main())
