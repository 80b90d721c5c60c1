"""Each fault as the official SDKs report it, over a socket, on the runtimes that support it."""

import json
import time
from itertools import pairwise

import anthropic
import httpx
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.support import serving, undisturbed

pytestmark = pytest.mark.integration

TEXT = "one two three four five six"
CONFIG = {
    "server": {"control_headers": True},
    "streaming": {"tokens_per_chunk": 1},
    "models": {"available": ["gpt-4o", "claude-sonnet"]},
    "responses": {
        "chat_completions": {
            "patterns": [
                {"match": {"content": "call"}, "tool_calls": [{"name": "f", "arguments": {"a": {"b": 1}}}]},
                {"match": {"content": "slow"}, "content": TEXT, "latency": {"ttft": 30, "itl": 20}},
            ],
            "default": {"content": TEXT},
        }
    },
}
ONLY_GRANIAN = ["stall; after=2", "cut; clean=false", "truncated_body; clean=false", "reset", "reset; after=2", "hang"]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
# Errors of the connection itself leave a SDK in the words of its HTTP library, of which each may have its own.
only_granian = pytest.mark.parametrize("server", ["granian"], indirect=True)
BROKEN = "RemoteProtocolError|ReadError|APIConnectionError"


@pytest.fixture(scope="module", params=["robyn", "granian"])
def server(request, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("faults"), CONFIG, "--runtime", request.param) as running:
        yield running


@pytest.fixture
def chat(server):
    with OpenAI(base_url=f"{server.url}/v1", api_key="sk-x", max_retries=0) as client:

        def ask(fault, text="Hello", stream=False, header="x-fastmock-fault", **more):
            return client.chat.completions.create(
                model="gpt-4o",
                messages=[{"role": "user", "content": text}],
                stream=stream,
                extra_headers={header: fault},
                **more,
            )

        yield ask


@pytest.fixture
def message(server):
    with Anthropic(base_url=server.url, api_key="sk-x", max_retries=0) as client:

        def ask(fault, stream=False, header="x-fastmock-fault", **more):
            return client.messages.create(
                model="claude-sonnet",
                max_tokens=100,
                messages=[{"role": "user", "content": "Hello"}],
                stream=stream,
                extra_headers={header: fault},
                **more,
            )

        yield ask


def said(stream):
    """Return what a stream says until it ends or fails, and how it fails."""
    text = ""
    try:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                text += chunk.choices[0].delta.content
    except Exception as error:
        return text, error
    return text, None


def name_of(error):
    """Return the name of an error, or of the first that caused it."""
    return type(error).__name__


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (408, openai.APIStatusError),
        (409, openai.ConflictError),
        (418, openai.APIStatusError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
        (529, openai.InternalServerError),
        (599, openai.InternalServerError),
    ],
)
def test_fault_status_raises_the_sdk_error(chat, status, error):
    with pytest.raises(error) as raised:
        chat(str(status), header="x-fastmock-status")
    assert raised.value.status_code == status
    assert raised.value.body.keys() == {"message", "type", "param", "code"}
    assert raised.value.response.headers["x-fastmock-fault"] == "status"


def test_fault_status_sends_message_code_and_retry_headers(chat):
    header = "status; status=503; message=Go away.; type=gone; code=away; retry_after=7.2; retry_after_ms=7150.5"
    with pytest.raises(openai.InternalServerError) as raised:
        chat(header + "; should_retry=false", stream=True)
    assert raised.value.body == {"message": "Go away.", "type": "gone", "param": None, "code": "away"}
    headers = raised.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"], headers["x-should-retry"]) == ("8", "7150.5", "false")


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (503, anthropic.InternalServerError, "api_error"),
        (529, anthropic.InternalServerError, "overloaded_error"),
    ],
)
def test_fault_status_raises_the_anthropic_sdk_error(message, status, error, kind):
    with pytest.raises(error) as raised:
        message(str(status), header="x-fastmock-status")
    assert raised.value.status_code == status
    assert raised.value.body["error"]["type"] == kind
    assert raised.value.response.headers["request-id"] == raised.value.body["request_id"]


@pytest.mark.parametrize(
    "fault", ["stal", "stall; aftr=3", "stall; after=x", "status", "status; status=200", "cut; clean=maybe"]
)
def test_fault_header_with_an_error_is_a_400(chat, fault):
    with pytest.raises(openai.BadRequestError) as raised:
        chat(fault)
    assert raised.value.body["param"] == "x-fastmock-fault"


@pytest.mark.parametrize("server", ["robyn"], indirect=True)
@pytest.mark.parametrize("fault", ONLY_GRANIAN)
def test_fault_unsupported_by_robyn_is_a_400(chat, fault):
    with pytest.raises(openai.BadRequestError, match=r"Robyn does not support .* take granian"):
        chat(fault, stream=True)


@pytest.mark.parametrize("stream", [False, True])
def test_fault_slow_first_token_delays_the_answer(chat, message, stream):
    for ask in (chat, message):
        begin = time.monotonic()
        answer = ask("slow_first_token; for=300ms", stream=stream)
        list(answer)
        assert time.monotonic() - begin >= 0.3
    with pytest.raises(openai.APITimeoutError):
        chat("slow_first_token; for=1s", stream=stream, timeout=0.2)


def test_fault_latency_spike_multiplies_the_latency(chat):
    begin = time.monotonic()
    assert said(chat("latency_spike; factor=3", "slow", True)) == (TEXT, None)
    assert time.monotonic() - begin >= 3 * (0.03 + 5 * 0.02)


def test_fault_stall_pauses_a_stream_for_a_time(chat, message):
    for ask, before in ((chat, 3), (message, 2)):  # one of Anthropic's events is a ping, which its SDK does not show
        arrived = []
        for _ in ask("stall; after=3; for=400ms", stream=True):
            arrived.append(time.monotonic())
        gaps = [later - earlier for earlier, later in pairwise(arrived)]
        assert gaps[before - 1] == max(gaps) >= 0.35, gaps
    assert said(chat("stall; after=100ms; for=300ms", "slow", True)) == (TEXT, None)


@only_granian
@pytest.mark.parametrize("place", ["3", "60ms"])
def test_fault_stall_without_end_times_out(chat, place):
    text, error = said(chat(f"stall; after={place}", "slow", True, timeout=0.5))
    assert text.startswith("one ")
    assert text != TEXT
    assert "Timeout" in name_of(error)


def test_fault_clean_cut_ends_a_stream_without_an_error(chat, message):
    assert said(chat("cut; after=3", stream=True)) == ("one two", None)
    assert said(chat("cut; after=50%", stream=True)) == ("one two three", None)
    text, error = said(chat("cut; after=80ms", "slow", True))
    assert error is None
    assert text in ("one two", "one two three", "one two three four")
    events = [event.type for event in message("cut; after=4", stream=True)]  # one of them is a ping
    assert events == ["message_start", "content_block_start", "content_block_delta"]


@only_granian
@pytest.mark.parametrize(("place", "text"), [("3", "Hello"), ("3", "slow"), ("70ms", "slow")])
def test_fault_unclean_cut_raises_a_connection_error(chat, place, text):
    text, error = said(chat(f"cut; clean=false; after={place}", text, True))
    assert text.startswith("one two")
    assert text != TEXT
    assert name_of(error) in BROKEN


def test_fault_error_event_raises_the_sdk_error(chat, message):
    text, error = said(chat("error_event; after=3; message=Oh no.; code=oh", stream=True))
    assert text == "one two"
    assert type(error) is openai.APIError
    assert (error.message, error.code) == ("Oh no.", "oh")
    with pytest.raises(anthropic.APIStatusError) as raised:
        list(message("error_event; after=3; status=529", stream=True))
    assert raised.value.body["error"]["type"] == "overloaded_error"
    assert raised.value.response.status_code == 200


def test_fault_error_event_in_a_response_stream_is_an_event(server):
    with OpenAI(base_url=f"{server.url}/v1", api_key="sk-x", max_retries=0) as client:
        headers = {"x-fastmock-fault": "error_event; after=4; message=Oh no."}
        events = client.responses.create(model="gpt-4o", input="Hello", stream=True, extra_headers=headers)
        *_, last = events  # this SDK hands it on as any other event
        assert (last.type, last.message) == ("error", "Oh no.")


def test_fault_malformed_chunk_raises_a_json_error(chat, message):
    text, error = said(chat("malformed_chunk; after=3", stream=True))
    assert text == "one two"
    assert isinstance(error, json.JSONDecodeError)
    with pytest.raises(json.JSONDecodeError):
        list(message("malformed_chunk; after=3", stream=True))


@pytest.mark.parametrize("stream", [False, True])
def test_fault_invalid_utf8_raises_a_unicode_error(chat, message, stream):
    for ask in (chat, message):
        with pytest.raises(UnicodeDecodeError):
            list(ask("invalid_utf8", stream=stream))


def test_fault_duplicated_chunk_repeats_a_piece(chat):
    assert said(chat("duplicated_chunk; after=3", stream=True)) == ("one two three three four five six", None)


def test_fault_wrong_content_type_sends_that_type(server, chat):
    assert chat("wrong_content_type").choices[0].message.content == TEXT  # this SDK does not look at it
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    headers = {"authorization": "Bearer x", "x-fastmock-fault": "wrong_content_type; content_type=text/plain"}
    reply = httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers)
    assert reply.headers["content-type"] == "text/plain"
    assert reply.text.endswith("data: [DONE]\n\n")


def test_fault_empty_body_sends_nothing(chat):
    assert said(chat("empty_body", stream=True)) == ("", None)
    with pytest.raises(json.JSONDecodeError):
        chat("empty_body")


def test_fault_truncated_body_raises_a_json_error(chat, message):
    for ask in (chat, message):
        with pytest.raises(json.JSONDecodeError):
            ask("truncated_body; share=0.7")


@only_granian
def test_fault_unclean_truncation_raises_a_connection_error(chat, message):
    for ask, error in ((chat, openai.APIConnectionError), (message, anthropic.APIConnectionError)):
        with pytest.raises(error):
            ask("truncated_body; share=0.7; clean=false")


def test_fault_broken_tool_arguments_are_invalid_json(server, chat):
    call = chat("broken_tool_arguments", "call", tools=[TOOL]).choices[0].message.tool_calls[0]
    with pytest.raises(json.JSONDecodeError):
        json.loads(call.function.arguments)
    pieces = ""
    for chunk in chat("broken_tool_arguments", "call", True, tools=[TOOL]):
        for part in chunk.choices[0].delta.tool_calls or ():
            pieces += part.function.arguments or ""
    assert pieces.startswith('{"a":')
    with pytest.raises(json.JSONDecodeError):
        json.loads(pieces)
    headers = {"x-fastmock-fault": "broken_tool_arguments"}
    with OpenAI(base_url=f"{server.url}/v1", api_key="sk-x", max_retries=0) as client:
        tool = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
        ask = {"model": "gpt-4o", "input": "call", "tools": [tool], "extra_headers": headers}
        with pytest.raises(json.JSONDecodeError):
            json.loads(client.responses.create(**ask).output[0].arguments)
        with client.responses.stream(**ask) as stream, pytest.raises(json.JSONDecodeError):
            json.loads(stream.get_final_response().output[0].arguments)
    with Anthropic(base_url=server.url, api_key="x", max_retries=0) as client:
        ask = {"model": "claude-sonnet", "max_tokens": 99, "messages": [{"role": "user", "content": "call"}]}
        ask |= {"tools": [{"name": "f", "input_schema": {"type": "object"}}], "extra_headers": headers}
        raw = client.messages.with_raw_response.create(**ask)
        assert raw.headers["x-fastmock-fault"] == "broken_tool_arguments; not applicable"
        assert raw.parse().content[0].input == {"a": {"b": 1}}
        deltas = [event.delta for event in client.messages.create(**ask, stream=True) if "delta" in event.type]
        pieces = "".join(delta.partial_json for delta in deltas if getattr(delta, "type", "") == "input_json_delta")
        with pytest.raises(json.JSONDecodeError):
            json.loads(pieces)


def test_fault_wrong_usage_multiplies_the_tokens(chat, message):
    usage = chat("wrong_usage; factor=7").usage
    right = chat("latency_spike").usage
    assert usage.completion_tokens == 7 * right.completion_tokens
    assert usage.total_tokens == right.total_tokens != usage.prompt_tokens + usage.completion_tokens
    *_, last = chat("wrong_usage; factor=7", stream=True, stream_options={"include_usage": True})
    assert last.usage.completion_tokens == usage.completion_tokens
    assert message("wrong_usage; factor=7").usage.output_tokens == usage.completion_tokens


@only_granian
@undisturbed  # a client that reads late loses what came before a reset
def test_fault_reset_raises_a_connection_error(chat, message):
    for ask, error in ((chat, openai.APIConnectionError), (message, anthropic.APIConnectionError)):
        for stream in (False, True):
            with pytest.raises(error):
                ask("reset", stream=stream)
    for question, place in (("Hello", "3"), ("slow", "3"), ("slow", "70ms")):
        text, error = said(chat(f"reset; after={place}", question, True))
        assert text.startswith("one two")
        assert text != TEXT
        assert name_of(error) in BROKEN


@only_granian
def test_fault_hang_times_out(chat, message):
    for ask, error in ((chat, openai.APITimeoutError), (message, anthropic.APITimeoutError)):
        for stream in (False, True):
            with pytest.raises(error):
                ask("hang", stream=stream, timeout=0.3)


def test_fault_not_applicable_is_reported_in_the_header(server):
    for fault in ("cut", "stall; for=1s", "malformed_chunk", "error_event", "duplicated_chunk", "latency_spike"):
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
        headers = {"authorization": "Bearer x", "x-fastmock-fault": fault}
        reply = httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers)
        assert reply.headers["x-fastmock-fault"] == f"{fault.partition(';')[0]}; not applicable"
        assert reply.json()["choices"][0]["message"]["content"] == TEXT


def test_fault_status_applies_to_every_endpoint(server):
    with OpenAI(base_url=f"{server.url}/v1", api_key="sk-x", max_retries=0) as client:
        headers = {"x-fastmock-status": "500"}
        for ask in (
            lambda: client.models.list(extra_headers=headers),
            lambda: client.embeddings.create(model="e", input="x", extra_headers=headers),
            lambda: client.moderations.create(input="x", extra_headers=headers),
            lambda: client.completions.create(model="m", prompt="x", extra_headers=headers),
            lambda: client.responses.retrieve("resp_1", extra_headers=headers),
        ):
            with pytest.raises(openai.InternalServerError):
                ask()
    assert httpx.get(f"{server.url}/health", headers=headers).status_code == 200
