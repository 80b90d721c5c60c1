"""Fixtures, and what runs around every test."""

import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Imports of the package are below: the process that hands out the tests needs none, which saves a second.

gc.disable()  # until the tests are collected


def pytest_collection_finish() -> None:
    """Exempt the tests themselves from the garbage collector, which takes a tenth of a run without sockets."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m unit`` leave modules alone that need sockets throughout: their SDKs take seconds to import."""
    if config.option.markexpr == "unit" and collection_path.name == "sdk":
        return True
    if config.option.markexpr == "unit" and collection_path.suffix == ".py":
        return "pytestmark = pytest.mark.integration" in collection_path.read_text() or None
    return None


def pytest_sessionfinish() -> None:
    """End the process that starts servers."""
    if "tests.support" in sys.modules:
        from tests.support import launcher

        if launcher.cache_info().currsize:
            launcher().close()


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A server with two workers for the tests of a module, as test suites start it."""
    from fastmock.testing import Server

    with Server("--workers", "2", timeout=60) as server:
        yield server


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start servers; they are stopped when the test ends."""
    import orjson

    from tests.support import Server

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
def call() -> Callable[..., Any]:
    """Return a function that compiles a configuration into a function that posts to it.

    Tests without a configuration share an App: one that looks at state, such as stored completions, gives ``{}``.
    """
    from tests.support import default_app, make_app, posting

    return lambda config=None: posting(default_app() if config is None else make_app(config))
