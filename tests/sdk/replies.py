"""The tool, the structured output and the rules shared by the tests of several SDKs."""

from typing import Any, Literal

from pydantic import BaseModel


class Part(BaseModel):
    name: str
    kind: Literal["wheel", "axle"]
    parts: list["Part"]
    weight: float | None


class GetWeather(BaseModel):
    """Get the weather."""

    city: str
    unit: Literal["c", "f"] | None


RULES: list[dict[str, Any]] = [
    {"match": {"content": "refuse"}, "refusal": "I can't help with that."},
    {"match": {"content": "think"}, "reasoning": "Let me see.", "content": "I have seen."},
    {"match": {"content": "both"}, "content": "Two calls:", "tool_calls": [
        {"name": "get_weather", "arguments": {"city": "Paris", "unit": "c"}},
        {"name": "get_weather", "arguments": {"city": "Rome", "unit": None}},
    ]},
    {"match": {"content": "long"}, "response": {
        "choices": [{"message": {"content": "Once upon"}, "finish_reason": "length"}]
    }},
]  # fmt: skip
