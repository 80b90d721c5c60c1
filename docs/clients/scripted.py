"""A test that scripts the server and verifies what it was asked."""

import os

import httpx
from openai import OpenAI

URL = os.environ.get("FASTMOCK_URL", "http://127.0.0.1:8080/v1").removesuffix("/v1")

TOKEN = os.environ.get("FASTMOCK_ADMIN_TOKEN", "")  # needed where the server does not listen on loopback alone
headers = {"x-fastmock-session": "checkout"} | ({"authorization": f"Bearer {TOKEN}"} if TOKEN else {})

control = httpx.Client(base_url=f"{URL}/fastmock/", headers=headers)
control.put("config", json={"journal": {"enabled": True}}).raise_for_status()
rule = {"match": {"content_contains": "refund"}, "content": "Your refund is on its way."}
control.post("rules", json=rule).raise_for_status()

client = OpenAI(base_url=f"{URL}/v1", api_key="checkout:sk-test")
answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "A refund, please."}])
print(answer.choices[0].message.content)

control.post("verify", json={"match": {"content_contains": "refund"}, "count": 1}).raise_for_status()
control.post("reset", json={"rules": True, "journal": True}).raise_for_status()
