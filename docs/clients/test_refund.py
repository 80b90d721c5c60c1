"""A pytest fixture that starts fastmock, and a test that scripts it."""

import re
import subprocess

import httpx
import openai
import pytest


@pytest.fixture(scope="session")
def fastmock_url():
    with subprocess.Popen(["fastmock", "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        yield next(found[1] for line in server.stdout if (found := re.search(r"listening on +(\S+)/v1", line)))
        server.terminate()


@pytest.fixture
def control(fastmock_url, request):
    """Control the server for this test alone: each test has a session of its own."""
    with httpx.Client(base_url=f"{fastmock_url}/fastmock/", headers={"x-fastmock-session": request.node.name}) as client:
        client.put("config", json={"journal": {"enabled": True}}).raise_for_status()
        yield client
        client.post("reset", json={"rules": True, "journal": True}).raise_for_status()


@pytest.fixture
def model(fastmock_url, request):
    return openai.OpenAI(base_url=f"{fastmock_url}/v1", api_key=f"{request.node.name}:sk-test")


def test_refund(control, model):
    control.post("rules", json={"match": {"content_contains": "refund"}, "content": "It is on its way."})
    question = [{"role": "user", "content": "A refund, please."}]
    assert model.chat.completions.create(model="gpt-4o", messages=question).choices[0].message.content.startswith("It is")
    control.post("verify", json={"match": {"content_contains": "refund"}, "count": 1}).raise_for_status()


def test_retry(control, model):
    faults = [{"kind": "status", "status": 503, "times": 1, "match": {"session": "test_retry"}}]
    control.put("config", json={"faults": faults}).raise_for_status()
    model.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}])
    control.post("verify", json={"match": {}, "count": 2}).raise_for_status()
