"""LangChain: a tool, structured output, streams."""

import os

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


server = {"base_url": os.environ.get("FASTMOCK_URL", "http://127.0.0.1:8080/v1"), "api_key": "sk-test"}
chat = ChatOpenAI(model="gpt-4o", use_responses_api=False, **server)

with_tool = chat.bind_tools([get_weather], tool_choice="get_weather")
asked = [HumanMessage("What is the weather in Paris?")]
called = with_tool.invoke(asked)
call = called.tool_calls[0]
result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
print(call["name"], sorted(call["args"]), bool(with_tool.invoke([*asked, called, result]).content))

total = None
for chunk in with_tool.stream(asked):
    total = chunk if total is None else total + chunk
print(total.tool_calls[0]["name"], sorted(total.tool_calls[0]["args"]))

for method in ("json_schema", "function_calling"):
    event = chat.with_structured_output(Event, method=method).invoke("Who comes to the party?")
    print(method, type(event).__name__, bool(event.name))
print(type(chat.with_structured_output(method="json_mode").invoke("Answer in JSON.")).__name__)
*_, last = chat.with_structured_output(Event, method="json_schema").stream("Who comes to the party?")
print(type(last).__name__)
