"""A pytest fixture that starts fastmock, and tests that script it."""

import re
import subprocess

import httpx
import openai
import pytest


@pytest.fixture(scope="session")
def fastmock_url():
    """Start a server on a free port; it prints its address."""
    with subprocess.Popen(["fastmock", "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        yield next(found[1] for line in server.stdout if (found := re.search(r"listening on +(\S+)/v1", line)))
        server.terminate()


@pytest.fixture
def control(fastmock_url, request):
    """Control the server for this test alone: each test has its own session."""
    headers = {"x-fastmock-session": request.node.name}
    with httpx.Client(base_url=f"{fastmock_url}/fastmock/", headers=headers) as client:
        client.put("config", json={"journal": {"enabled": True}}).raise_for_status()
        yield client
        client.post("reset", json={"rules": True, "journal": True}).raise_for_status()


@pytest.fixture
def ask(fastmock_url, request):
    """Send a message with the official SDK, in the test's session."""
    client = openai.OpenAI(base_url=f"{fastmock_url}/v1", api_key=f"{request.node.name}:sk-test")

    def send(text):
        messages = [{"role": "user", "content": text}]
        return client.chat.completions.create(model="gpt-4o", messages=messages).choices[0].message.content

    return send


def test_refund(control, ask):
    control.post("rules", json={"match": {"content_contains": "refund"}, "content": "It is on its way."})
    assert ask("A refund, please.") == "It is on its way."
    control.post("verify", json={"match": {"content_contains": "refund"}, "count": 1}).raise_for_status()


def test_retry(control, ask):
    faults = [{"kind": "status", "status": 503, "times": 1, "match": {"session": "test_retry"}}]
    control.put("config", json={"faults": faults}).raise_for_status()
    assert ask("Hello")
    control.post("verify", json={"match": {"content": "Hello"}, "count": 2}).raise_for_status()
