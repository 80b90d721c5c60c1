"""The official SDK, current."""

import os

from openai import OpenAI

client = OpenAI(base_url=os.environ.get("FASTMOCK_URL", "http://127.0.0.1:8080/v1"), api_key="sk-test")

answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}])
print(answer.choices[0].message.content)

stream = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}], stream=True)
print("".join(chunk.choices[0].delta.content or "" for chunk in stream))

vectors = client.embeddings.create(model="text-embedding-3-small", input=["a text", "another"])
print(len(vectors.data), len(vectors.data[0].embedding))
