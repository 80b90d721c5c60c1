"""Findings about the official SDKs: none but infos, under every fault and with their own retries."""

import asyncio
import json
import os
import shutil
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from fastmock.faults.base import Fault
from fastmock.testing import Client, Server
from tests.sdk.test_clients import ENVIRONMENTS, node

pytestmark = pytest.mark.integration

RUNS = int(os.environ.get("FINDINGS_RUNS", "1"))
TEXT = "The quick brown fox jumps over the lazy dog and runs away."
# One of each kind; those that end or delay a response, also with other settings.
FAULTS = {
    **{kind: {} for kind in Fault.kinds},
    "status": {"status": 503},
    "status 429": {"status": 429, "retry_after": 1},
    "status 429 in milliseconds": {"status": 429, "retry_after_ms": 300},
    "status 500 without a retry": {"status": 500, "should_retry": False},
    "status 400 with a retry": {"status": 400, "should_retry": True},
    **{f"status {status}": {"status": status} for status in (400, 401, 403, 404, 408, 409, 422, 500, 529)},
    "status insufficient_quota": {"error": "insufficient_quota"},
    "invalid_arguments": {},
    "latency_spike": {},
    "slow_first_token": {"for": 0.5},
    "close_idle": {"after_idle": 0.2},
    **{
        f"{kind} in the middle": {"after": "50%"}
        for kind in ("cut", "stall", "reset", "error_event", "malformed_chunk")
    },
}


@pytest.fixture(scope="module")
def server():
    # The journal has room for all requests.
    config = {
        "server": {"workers": 2, "max_connections": 8000},
        "journal": {"enabled": True, "size": 100_000, "max_body_bytes": 1000},
        "responses": {"chat_completions": {"default": {"content": TEXT}}},
    }
    with Server(config=config, timeout=60) as server:
        yield server


@pytest.fixture
def mocks(server):
    """Return for each fault a client whose session has it for most requests."""
    with ExitStack() as stack:
        found = {name: stack.enter_context(Client(server.url)) for name in FAULTS}
        for name, mock in found.items():
            fault = {"kind": name.split()[0], "probability": 0.6, **FAULTS[name]}
            mock.configure(findings=True, faults=[fault])
        yield found


def check(mocks):
    for name, mock in mocks.items():
        report = mock.report(final=True)
        assert report["lost"] == 0
        assert mock.requests, name
        worse = [(one["kind"], one["message"]) for one in report["findings"] if one["severity"] != "info"]
        assert worse == [], name


async def attempt(create, **body):
    with suppress(Exception):  # of the fault, from the SDK or from below it
        answer = await create(**body)
        if body["stream"]:
            async for _ in answer:
                pass


async def use(mock, name):
    """Call both APIs, streaming or not, as an application does: with one client, and a new question each time."""
    async with mock.async_openai(timeout=2) as one, mock.async_anthropic(timeout=2) as other:
        calls = []
        for number in range(2 * RUNS):
            ask = {"model": "gpt-4o", "stream": number % 2 == 0}
            messages = [{"role": "user", "content": f"question {number} {name}"}]
            calls.append(attempt(one.chat.completions.create, messages=messages, **ask))
            calls.append(attempt(other.messages.create, max_tokens=90, messages=messages, **ask))
        await asyncio.gather(*calls)


def test_sdks_for_python_have_no_findings(mocks):
    async def use_all():
        await asyncio.gather(*(use(mock, name) for name, mock in mocks.items()))

    asyncio.run(use_all())
    check(mocks)


def test_sdks_for_node_have_no_findings(server, mocks):
    if not (ENVIRONMENTS / "node/node_modules/@anthropic-ai/sdk").exists():
        pytest.skip("the SDKs for Node are not installed: 'make test' installs them where npm is")
    program = shutil.copy(Path(__file__).with_name("sdk_under_faults.mjs"), ENVIRONMENTS / "node")
    given = {"url": server.url, "keys": [mock.api_key for mock in mocks.values()], "runs": RUNS}
    done = subprocess.run([node(), program, json.dumps(given)], timeout=600, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check(mocks)
