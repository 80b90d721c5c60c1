"""Requests are refused as the provider refuses them, by checks that one table describes."""

import httpx
import orjson
import pytest

from fastmock.providers.anthropic.checks_table import CHECKS as ANTHROPICS
from fastmock.providers.anthropic.messages import checks as message_checks
from fastmock.providers.anthropic.messages.signatures import is_forged, sign
from fastmock.providers.checks_page import markdown
from fastmock.providers.openai.chat import checks as chat_checks
from fastmock.providers.openai.checks_table import CHECKS as OPENAIS
from fastmock.providers.openai.responses import checks as response_checks
from fastmock.validation.check import CHAT, COMPLETIONS, MESSAGES, RESPONSES
from tests.support import KEY, ROOT
from tests.validation.validation_cases import (
    ACCEPTED,
    HI,
    OUTPUT,
    REFUSED,
    RESULT,
    TEXT,
    THINKS,
    answered,
    chat,
    completion,
    message,
    response,
    says,
)

CHECKS = (*OPENAIS, *ANTHROPICS)
PATHS = {
    CHAT: "/v1/chat/completions",
    COMPLETIONS: "/v1/completions",
    RESPONSES: "/v1/responses",
    MESSAGES: "/v1/messages",
}
LENIENT = {"validation": "lenient"}


def sent(post, endpoint, body):
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"} if endpoint == MESSAGES else KEY
    reply = post(PATHS[endpoint], body, headers=headers)
    return reply.head.status, orjson.loads(reply.body) if reply.body[:1] == b"{" else {}, dict(reply.more)


@pytest.mark.parametrize(("endpoint", "body", "words", "param", "code", "check"), REFUSED)
def test_invalid_request_is_refused_with_the_provider_error(call, endpoint, body, words, param, code, check):
    status, told, headers = sent(call(), endpoint, body)
    assert (status, headers.get("x-fastmock-check")) == (400, check), told
    error = told["error"]
    assert (error.get("param"), error.get("code"), error["type"]) == (param, code, "invalid_request_error")
    assert words in error["message"]


@pytest.mark.parametrize(("endpoint", "body"), [(one[0], one[1]) for one in REFUSED])
def test_lenient_validation_checks_only_shapes_and_types(call, endpoint, body):
    status, told, headers = sent(call(LENIENT), endpoint, body)
    assert "x-fastmock-check" not in headers
    assert status == 200 or "Invalid schema for" in told["error"]["message"], told  # nothing can be generated for it


@pytest.mark.parametrize(("endpoint", "body"), ACCEPTED)
def test_valid_request_is_accepted(call, endpoint, body):
    status, told, _ = sent(call(), endpoint, body)
    assert status == 200, told


def test_checks_have_an_example_for_each_endpoint():
    examples = {(endpoint, check) for endpoint, *_, check in REFUSED}
    assert examples == {(endpoint, check.name) for check in CHECKS for endpoint in check.endpoints}


def test_checks_table_is_complete():
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert all((check.words, check.source, check.cost))
        assert check.cost.endswith(".")


def test_checks_read_only_params_of_the_fast_path():
    by_model = next(check for check in CHECKS if check.name == "reasoning_model_parameters").params
    for endpoint, known, others in (
        (CHAT, chat_checks.PARAMS, {"stream_options", *by_model}),
        (RESPONSES, response_checks.PARAMS, {"input", *by_model}),
        (MESSAGES, message_checks.PARAMS, set()),
    ):
        params = {name for check in CHECKS if endpoint in check.endpoints for name in check.params}
        assert params - others <= known


def test_validation_docs_are_current():
    assert (ROOT / "docs/validation.md").read_text() == markdown()


# --- levels


@pytest.mark.parametrize(
    ("config", "header", "status"),
    [
        ({}, None, 400),
        (LENIENT, None, 200),
        (LENIENT | {"responses": {CHAT: {"validation": "provider"}}}, None, 400),
        ({"responses": {CHAT: {"validation": "lenient"}}}, None, 200),
        ({"responses": {MESSAGES: {"validation": "lenient"}}}, None, 400),
        ({"per_model": [{"model": "gpt-*", "validation": "lenient"}]}, None, 200),
        ({"per_model": [{"model": "claude*", "validation": "lenient"}]}, None, 400),
        ({"per_model": [{"model": "gpt-*"}, {"model": "*", "validation": "lenient"}]}, None, 400),
        (
            {
                "per_model": [{"model": "*", "validation": "provider"}],
                "responses": {CHAT: {"validation": "lenient"}},
            },
            None,
            400,
        ),
        ({}, "lenient", 400),  # headers are off
        ({"server": {"control_headers": True}}, "lenient", 200),
        ({"server": {"control_headers": True}}, None, 400),
        ({"server": {"control_headers": True}} | LENIENT, "provider", 400),
        (
            {"server": {"control_headers": True}, "per_model": [{"model": "*", "validation": "lenient"}]},
            "provider",
            400,
        ),
    ],
)
def test_validation_mode_of_the_more_specific_level_wins(call, config, header, status):
    headers = KEY if header is None else KEY | {"x-fastmock-validation": header}
    assert call(config)(PATHS[CHAT], chat(tools=[]), headers=headers).head.status == status


@pytest.mark.parametrize("endpoint", PATHS)
def test_validation_header_with_an_unknown_mode_is_a_400(call, endpoint):
    body = {CHAT: chat(), COMPLETIONS: completion(), RESPONSES: response(), MESSAGES: message()}[endpoint]
    post = call({"server": {"control_headers": True}})
    reply = post(PATHS[endpoint], body, headers=KEY | {"x-fastmock-validation": "strict"})
    assert reply.head.status == 400
    assert b"Supported values are: 'provider' and 'lenient'." in reply.body


@pytest.mark.parametrize("endpoint", PATHS)
def test_validation_mode_is_configurable_per_endpoint(call, endpoint):
    body = next(body for one, body, *_ in REFUSED if one == endpoint)
    assert sent(call({"responses": {endpoint: {"validation": "lenient"}}}), endpoint, body)[0] == 200
    assert sent(call(LENIENT | {"responses": {endpoint: {"validation": "provider"}}}), endpoint, body)[0] == 400


def test_token_counting_endpoints_validate_requests(call):
    for path, body in (
        ("/v1/messages/count_tokens", message(says("user", RESULT))),
        ("/v1/responses/input_tokens", response(HI, OUTPUT)),
    ):
        assert call({})(path, body).head.status == 400
        assert call(LENIENT)(path, body).head.status == 200


# --- signatures of thinking


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("display", ["summarized", "omitted"])
def test_thinking_signature_is_accepted_by_another_server(call, stream, display):
    asked = message(stream=stream) | THINKS
    asked["thinking"] = asked["thinking"] | {"display": display}
    reply = call()(PATHS[MESSAGES], asked)
    if stream:
        events = [orjson.loads(line[6:]) for line in reply.body.split(b"\n") if line.startswith(b"data: {")]
        deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
        thinking = "".join(delta.get("thinking", "") for delta in deltas)
        signature = next(delta["signature"] for delta in deltas if "signature" in delta)
    else:
        block = orjson.loads(reply.body)["content"][0]
        thinking, signature = block["thinking"], block["signature"]
    assert signature == sign(thinking)
    again = {"type": "thinking", "thinking": thinking, "signature": signature}
    other = call({"seed": 7})
    assert sent(other, MESSAGES, answered(again, TEXT) | THINKS)[0] == 200
    assert sent(other, MESSAGES, answered(again | {"thinking": f"{thinking}."}, TEXT) | THINKS)[0] == 400


def test_thinking_signature_depends_only_on_the_text():
    assert sign("a thought") == "ZmFzdG1vY2stdGhpbmtpbmc6" + sign("a thought")[24:]
    assert sign("a thought") == sign("a thought") != sign("another")
    assert is_forged("a thought", sign("another"))
    assert not is_forged("a thought", sign("a thought"))
    assert not any(is_forged("a thought", foreign) for foreign in ("", "no base64!", "c2lnbmVk", "ü"))


# --- responses that go on from others

CALLS = {"match": {"content": "call"}, "tool_calls": [{"name": "f", "arguments": {}}]}
CALLED = {"responses": {"chat_completions": {"patterns": [CALLS]}}}
OFFERED = [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}]


def test_previous_response_with_a_call_needs_its_output(call):
    post = call(CALLED)
    first = sent(post, RESPONSES, response(HI | {"content": "call"}, tools=OFFERED))[1]
    goes_on = {"model": "gpt-4o", "previous_response_id": first["id"], "tools": OFFERED}
    output = OUTPUT | {"call_id": first["output"][0]["call_id"]}
    status, second, _ = sent(post, RESPONSES, goes_on | {"input": [output]})
    assert status == 200
    assert sent(post, RESPONSES, goes_on | {"input": "y", "previous_response_id": second["id"]})[0] == 200
    for items, words in (([OUTPUT], "No tool call found"), ([HI], "No tool output found for function call call_")):
        status, told, headers = sent(post, RESPONSES, goes_on | {"input": items})
        assert status == 400
        assert words in told["error"]["message"]
        assert headers["x-fastmock-check"] in ("output_needs_call", "call_needs_output")


def test_conversation_with_a_call_needs_its_output(call):
    post = call(CALLED)
    conversation = orjson.loads(post("/v1/conversations", {}).body)["id"]
    goes_on = {"model": "gpt-4o", "conversation": conversation, "tools": OFFERED}
    first = sent(post, RESPONSES, goes_on | {"input": "call"})[1]
    output = OUTPUT | {"call_id": first["output"][0]["call_id"]}
    assert sent(post, RESPONSES, goes_on | {"input": [OUTPUT]})[0] == 400
    assert sent(post, RESPONSES, goes_on | {"input": [output]})[0] == 200
    items = orjson.loads(post(f"/v1/conversations/{conversation}/items", method="GET").body)["data"][::-1]
    status, told, _ = sent(post, RESPONSES, {"model": "gpt-4o", "input": items})
    assert status == 200, told  # as it was listed


# --- who says it


def test_check_header_is_sent_with_a_response_manager(call):
    config = {"responses": {"manager": "fastmock.responses:ResponseManager"}}
    for endpoint, body, _, _, _, check in REFUSED[::10]:
        assert sent(call(config), endpoint, body)[2]["x-fastmock-check"] == check


def test_check_header_is_exposed_to_browsers(call):
    reply = call()(PATHS[CHAT], chat(tools=[]), headers=KEY | {"origin": "https://x"})
    assert "x-fastmock-check" in dict(reply.head.headers)["access-control-expose-headers"]


@pytest.mark.integration
@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_check_is_named_in_header_journal_and_log(serve, runtime):
    server = serve({"journal": {"enabled": True}}, "--runtime", runtime, "--log-requests")
    refused = httpx.post(f"{server.url}/v1/chat/completions", json=chat(tools=[]), headers=KEY)
    assert (refused.status_code, refused.headers["x-fastmock-check"]) == (400, "empty_array")
    accepted = httpx.post(f"{server.url}/v1/chat/completions", json=chat(), headers=KEY)
    assert "x-fastmock-check" not in accepted.headers
    status, journal = server.control("GET", "requests?check=empty_*")
    assert status == 200
    assert [one["check"] for one in journal["requests"]] == ["empty_array"]
    logged = next(line for line in iter(lambda: server.lines.get(timeout=5), None) if " 400 " in line)
    assert "check=empty_array" in logged
