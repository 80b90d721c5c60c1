"""Arbitrary bytes over a socket: every request gets an error envelope or an answer."""

import http.client
import json
import socket
import urllib.parse
from contextlib import suppress

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.providers.openai.test_endpoints import JSON, NEAR
from tests.support import Server, examples, wait_until

pytestmark = pytest.mark.integration

JSON_BODIES = (JSON | NEAR).map(lambda value: json.dumps(value).encode())
BODIES = st.binary(max_size=200) | JSON_BODIES
OPENAI = ["chat/completions", "completions", "embeddings", "responses", "moderations"]
POSTED = [*(f"/v1/{name}" for name in OPENAI), "/v1/messages"]
BELOW = ["/v1/responses/resp_x", "/v1/responses/resp_x/cancel", "/v1/responses/resp_x/input_items", "/v1/messages/x"]
ENDPOINTS = [*POSTED, *BELOW, "/v1/models", "/v1/models/x", "/health", "/"]
PATHS = st.sampled_from(ENDPOINTS) | st.text(max_size=20).map(lambda text: "/v1/" + urllib.parse.quote(text))
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"]
# What a header may hold; "authorization" among them, so that some requests have no key.
HEADERS = st.dictionaries(
    st.sampled_from(["authorization", "origin", "content-type", "accept", "x-fastmock-key", "x-other"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20),
)


@pytest.fixture(scope="module", params=["robyn", "granian"])
def server(request, tmp_path_factory):
    started = Server("--runtime", request.param, cwd=tmp_path_factory.mktemp("fuzz"))
    started.runtime = request.param
    yield started
    started.stop()


@pytest.fixture(scope="module")
def connection(server):
    made = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    yield made
    made.close()


def exchange(connection, method, path, body, headers):
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response.status, response.headers, response.read()


many = examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(st.sampled_from(POSTED), BODIES)
def test_any_body_gets_an_answer_or_the_error_envelope(connection, path, body):
    status, headers, answer = exchange(connection, "POST", path, body, {"authorization": "Bearer x"})
    assert status in (200, 400)
    assert headers["request-id" if "messages" in path else "x-request-id"].startswith("req_")
    if status == 400:
        assert_envelope(path, answer)


def assert_envelope(path, answer):
    told = orjson.loads(answer)
    if path.startswith("/v1/messages"):
        assert told["type"] == "error"
        assert told["error"].keys() == {"type", "message"}
    else:
        assert told["error"].keys() == {"message", "type", "param", "code"}


@many
@given(st.sampled_from(METHODS), PATHS, BODIES, HEADERS)
def test_any_request_gets_no_server_error(connection, method, path, body, headers):
    headers = {name: value.strip().encode("latin-1") for name, value in headers.items()}
    if "multipart" in headers.get("content-type", b"").decode("latin-1"):
        return
    status, _, answer = exchange(connection, method, path, body, headers)
    assert status < 500
    if status >= 400 and method != "HEAD":
        assert_envelope(path, answer)


SELF_MADE = {
    # What a runtime answers before any code of ours runs: docs/runtimes.md.
    "unparsable": (b"nonsense\r\n\r\n", {"robyn": (400, b""), "granian": (400, b"")}),
    "unknown method": (
        b"BREW /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nConnection: close\r\n\r\n",
        {"robyn": (405, b"Method not allowed"), "granian": (405, b'{"error":')},
    ),
    "long URL": (
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        {"robyn": (431, b""), "granian": (414, b"")},
    ),
    "large headers": (
        b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Large: " + b"a" * 300_000 + b"\r\n\r\n",
        {"robyn": (431, b""), "granian": (200, b'{"status"')},
    ),
    "malformed multipart": (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nConnection: close\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 4\r\n\r\n--xx",
        {"robyn": (500, b"Internal server error"), "granian": (400, b'{"error":')},
    ),
}


@pytest.mark.parametrize("case", SELF_MADE)
def test_runtime_own_errors_are_as_documented(server, case):
    sent, expected = SELF_MADE[case]
    status, body = expected[server.runtime]
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it answered before it had read all
            connection.sendall(sent)
        with suppress(TimeoutError, ConnectionResetError):
            while part := connection.recv(65536):
                received += part
    head, _, rest = received.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert rest.startswith(body)
    assert bool(rest) == bool(body)
    assert wait_until(lambda: len(server.workers()) == 1, 5)
