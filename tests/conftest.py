"""Fixtures, and what runs around every test."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from fastmock.core.http import Reply, Request, Stream
from tests.support import KEY, Call, Server, launcher, make_app

# To load the certificates of all authorities takes 30 ms, and every client would.
httpx._transports.default.create_ssl_context = functools.cache(httpx._transports.default.create_ssl_context)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m unit`` leave modules alone that need sockets throughout: their SDKs take seconds to import."""
    if config.option.markexpr == "unit" and collection_path.name == "sdk":
        return True
    if config.option.markexpr == "unit" and collection_path.suffix == ".py":
        return "pytestmark = pytest.mark.integration" in collection_path.read_text() or None
    return None


def pytest_sessionfinish() -> None:
    """End the launcher."""
    if launcher.cache_info().currsize:
        launcher().close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers; they are stopped when the test ends."""
    servers: list[Server] = []

    def start(config: dict[str, Any] | None = None, *arguments: str, **options: Any) -> Server:
        if config is not None:
            file = tmp_path / f"config{len(servers)}.json"
            file.write_bytes(orjson.dumps(config))
            arguments = ("--config", str(file), *arguments)
        servers.append(Server(*arguments, **{"cwd": tmp_path} | options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., Call]:
    """Return a function that compiles a configuration into a function that posts to it."""

    def configured(config: dict[str, Any] | None = None) -> Call:
        app = make_app(config, tmp_path)

        def post(path: str, body: Any = b"", method: str = "POST", headers: dict[str, str] = KEY) -> Reply | Stream:
            sent = body if isinstance(body, str | bytes) else orjson.dumps(body)
            return app.handle(Request(method, path, headers, sent))

        return post

    return configured
