"""Anthropic's SDK, whose base URL has no /v1."""

import os

from anthropic import Anthropic

url = os.environ.get("FASTMOCK_URL", "http://127.0.0.1:8080/v1").removesuffix("/v1")
client = Anthropic(base_url=url, api_key="sk-ant-test")
question = {"model": "claude-sonnet-4-5", "max_tokens": 1000, "messages": [{"role": "user", "content": "Hello"}]}

print(client.messages.create(**question).content[0].text)
with client.messages.stream(**question) as stream:
    print("".join(stream.text_stream))
print(client.messages.count_tokens(model="claude-sonnet-4-5", messages=question["messages"]).input_tokens)
