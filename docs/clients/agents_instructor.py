"""Instructor: models by tools and by JSON, whole, in part, and several."""

import asyncio
import os
from typing import Literal

import instructor
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel, Field


class Person(BaseModel):
    name: str
    age: int = Field(ge=18, le=99)
    role: Literal["admin", "user"]


server = {"base_url": os.environ.get("FASTMOCK_URL", "http://127.0.0.1:8080/v1"), "api_key": "sk-test"}
asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Ada is an admin."}]}

for mode in (instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT, instructor.Mode.JSON_SCHEMA):
    client = instructor.from_openai(OpenAI(**server), mode=mode)
    print(mode.name, type(client.chat.completions.create(response_model=Person, **asked)).__name__)

client = instructor.from_openai(OpenAI(**server))
*_, last = client.chat.completions.create_partial(response_model=Person, **asked)
print("partial", last.role in ("admin", "user"))
print("several", bool(list(client.chat.completions.create_iterable(response_model=Person, **asked))))


async def main():
    client = instructor.from_openai(AsyncOpenAI(**server))
    print("async", type(await client.chat.completions.create(response_model=Person, **asked)).__name__)


asyncio.run(main())
