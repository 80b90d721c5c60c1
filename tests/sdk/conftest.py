"""A server with the configuration of a test module, on both runtimes, and OpenAI's client, strict."""

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.support import Server, serving


@pytest.fixture(scope="module", params=["robyn", "granian"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    work = tmp_path_factory.mktemp("sdk")
    with serving(work, request.module.CONFIG, "--runtime", request.param, "--workers", "2") as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.url + "/v1", api_key="sk-x", max_retries=0, _strict_response_validation=True) as made:
        yield made
