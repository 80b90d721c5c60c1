"""The pytest plugin: one server for the whole run, and a session of its own for each test.

pytest loads it in every run, so it imports what it needs when it is needed.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fastmock.testing.client import Client
    from fastmock.testing.item_session import ItemSession
    from fastmock.testing.session_server import SessionServer

_SHARED = "fastmock_shared"  # what the controller of pytest-xdist tells its workers


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("fastmock")
    group.addoption("--fastmock-url", metavar="URL", help="use the server at this URL, by default that of FASTMOCK_URL")
    group.addoption("--fastmock-token", metavar="TOKEN", help="token of its control API")
    group.addoption("--fastmock-config", metavar="FILE", help="configuration of the server that is started")
    group.addoption(
        "--fastmock-timeout", metavar="S", type=float, default=10, help="seconds for the server to start (10)"
    )
    group.addoption(
        "--fastmock-record",
        metavar="MODE",
        choices=("none", "once", "new", "all"),
        help="record the cassettes of markers: none, once, new or all; by default as each marker says",
    )
    parser.addini("fastmock_autouse", "use the fixture 'fastmock' in every test", type="bool", default=False)
    parser.addini("fastmock_strict", "fail tests in which no rule matches a request", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "fastmock(config=None, strict=None, findings=None, cassette=None, record='none'): configure the session of the "
        "test, from a mapping or a file; in strict mode the test fails if no rule matches a request, with findings if "
        "its client misbehaves; a cassette answers its requests, and is recorded by record='once', 'new' or 'all'",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Have the workers of pytest-xdist share one server."""
    from fastmock.testing.session_server import shared_of

    node.workerinput[_SHARED] = str(shared_of(node.config))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server that the workers of pytest-xdist share."""
    if hasattr(config, _SHARED):
        from fastmock.testing.session_server import stop_shared

        stop_shared(config)


@pytest.fixture(scope="session")
def fastmock_server(request: pytest.FixtureRequest) -> Iterator["SessionServer"]:
    """A fastmock server, the same for the whole run; ``url`` is its URL."""
    from fastmock.testing.session_server import session_server

    with session_server(request.config) as server:
        yield server


@pytest.fixture
def fastmock(
    fastmock_server: "SessionServer", request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator["Client"]:
    """A client with a session of its own, which the environment variables of the SDKs select."""
    from fastmock.testing.environment import REMOVED
    from fastmock.testing.item_session import ItemSession

    session = ItemSession(fastmock_server, request.node)
    for name, value in session.client.environment().items():
        monkeypatch.setenv(name, value)
    for name in REMOVED:
        monkeypatch.delenv(name, raising=False)
    yield session.client
    session.end()


@pytest.fixture(autouse=True)
def _fastmock_autouse(request: pytest.FixtureRequest) -> None:
    """Use the fixture ``fastmock`` in every test if the configuration says so."""
    if request.config.getini("fastmock_autouse"):
        request.getfixturevalue("fastmock")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> Iterator[None]:
    """Show the requests of a failed test, and fail a strict one in which no rule matched a request."""
    outcome: Any = yield
    session: ItemSession | None = getattr(item, "_fastmock", None)
    if session is not None and call.when == "call":
        session.complete(outcome.get_result())
