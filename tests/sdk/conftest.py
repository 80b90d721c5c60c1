"""A server with the configuration of a test module, on both runtimes, and OpenAI's client, strict."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from tests.support import Server, serving


@pytest.fixture(scope="module", params=["robyn", "granian"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    work = tmp_path_factory.mktemp("sdk")
    with serving(work, request.module.CONFIG, "--runtime", request.param, "--workers", "2") as running:
        if "RECORD_SDK_TESTS" not in os.environ:  # set by tests/cassettes/test_sdk_traffic.py
            yield running
            return
        place = Path(os.environ["RECORD_SDK_TESTS"]) / f"{request.module.__name__}-{request.param}"
        options = ("record", "--upstream", running.url, "--to", str(place), "--allow-record", "--workers", "2")
        recorder = Server(*options, cwd=work)
        running.url, running.port = recorder.url, recorder.port
        yield running
        assert recorder.stop() == 0


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.url + "/v1", api_key="sk-x", max_retries=0, _strict_response_validation=True) as made:
        yield made
