"""The official SDK as it was before version 1."""

import os

import openai

openai.api_base = os.environ.get("FASTMOCK_URL", "http://127.0.0.1:8080/v1")
openai.api_key = "sk-test"
question = [{"role": "user", "content": "Hello"}]

answer = openai.ChatCompletion.create(model="gpt-4", messages=question)
print(answer.choices[0].message.content)

stream = openai.ChatCompletion.create(model="gpt-4", messages=question, stream=True)
print("".join(chunk.choices[0].delta.get("content", "") for chunk in stream))

completion = openai.Completion.create(model="gpt-3.5-turbo-instruct", prompt="Hello")
print(completion.choices[0].text)

vectors = openai.Embedding.create(model="text-embedding-ada-002", input=["a text", "another"])
print(len(vectors.data), len(vectors.data[0].embedding))

try:
    openai.ChatCompletion.create(model="gpt-4", messages=[])
except openai.error.InvalidRequestError as error:
    print(error.param, error.code)
