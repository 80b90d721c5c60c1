"""The official SDK as it was before version 1."""

import os

import openai

openai.api_base = os.environ.get("FASTMOCK_URL", "http://127.0.0.1:8080/v1")
openai.api_key = "sk-test"

answer = openai.ChatCompletion.create(model="gpt-4", messages=[{"role": "user", "content": "Hello"}])
print(answer.choices[0].message.content)

stream = openai.ChatCompletion.create(model="gpt-4", messages=[{"role": "user", "content": "Hello"}], stream=True)
print("".join(chunk.choices[0].delta.get("content", "") for chunk in stream))

vectors = openai.Embedding.create(model="text-embedding-ada-002", input=["a text", "another"])
print(len(vectors.data), len(vectors.data[0].embedding))
