"""LangChain on responses and on Anthropic messages: a tool, structured output, streams."""

import asyncio
import os

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class Event(BaseModel):
    name: str
    people: list[str]


@tool
def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"22 degrees in {city}"


url = os.environ.get("FASTMOCK_URL", "http://127.0.0.1:8080/v1")
models = [
    ChatOpenAI(model="gpt-4o", use_responses_api=True, base_url=url, api_key="sk-test"),
    ChatAnthropic(model="claude-sonnet-4-5", base_url=url.removesuffix("/v1"), api_key="sk-ant-test"),
]
asked = [HumanMessage("What is the weather in Paris?")]


async def main(chat):
    print(bool((await chat.ainvoke("Hello")).text))
    with_tool = chat.bind_tools([get_weather], tool_choice="get_weather")
    called = await with_tool.ainvoke(asked)
    call = called.tool_calls[0]
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    print(call["name"], sorted(call["args"]), bool(with_tool.invoke([*asked, called, result]).text))
    total = None
    async for chunk in with_tool.astream(asked):
        total = chunk if total is None else total + chunk
    print(total.tool_calls[0]["name"], sorted(total.tool_calls[0]["args"]), total.usage_metadata["output_tokens"] > 0)
    for method in ("json_schema", "function_calling"):
        event = chat.with_structured_output(Event, method=method).invoke("Who comes to the party?")
        print(method, type(event).__name__)
    print("".join(chunk.text for chunk in chat.stream("Hello")) == chat.invoke("Hello").text)


for model in models:
    asyncio.run(main(model))
