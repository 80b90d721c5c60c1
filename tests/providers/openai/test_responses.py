"""The Responses API: items, sequence numbers, streams of stored responses, tools."""

import orjson
import pytest

from fastmock.core.http import Request, Stream
from fastmock.latency.pacer import UNCOUNTED, Pacer
from tests.providers.test_dialect_details import HOSTED, asked, refused, ruled
from tests.providers.test_dialects import (
    KEYS,
    RESPONSES,
    typed,
    words_of_response,
)
from tests.support import KEY

pytestmark = pytest.mark.unit


def streamed(app, path, body, method="POST", query=None):
    """Return the events of a stream, as they are sent when nothing is late."""
    given = () if query is None else (query,)
    answer = app.handle(Request(method, path, KEYS.get(path, KEY), orjson.dumps(body), *given))
    assert answer.head.status == 200
    assert ("content-type", "text/event-stream; charset=utf-8") in answer.head.headers
    if not isinstance(answer, Stream):
        return typed(answer.body)
    pacer, said = Pacer(answer.due_times, answer.cut, 0.0, UNCOUNTED, answer.failed), b""
    while pacer.due is not None:
        said += pacer.take(pacer.due)
    return typed(said)


CONVERSATIONS = "/v1/conversations"


SAID = {"role": "user", "content": "a"}


@pytest.mark.parametrize("wrong", [{}, [], 3, True])
def test_item_id_that_is_no_string_is_a_400(wrong):
    app = ruled()
    items = [SAID, SAID | {"id": wrong}]
    assert refused(app, RESPONSES, {"input": items})["param"] == "input[1].id"
    assert refused(app, CONVERSATIONS, {"items": items})["param"] == "items[1].id"
    assert refused(app, f"{CONVERSATIONS}/conv_x/items", {"items": items})["param"] == "items[1].id"
    assert refused(app, f"{RESPONSES}/input_tokens", {"input": items})["param"] == "input[1].id"


def test_item_ids_that_are_duplicates_are_a_400():
    app = ruled()
    items = [SAID | {"id": "msg_a"}, SAID | {"id": "msg_a"}]
    assert refused(app, RESPONSES, {"input": items})["message"].startswith("Duplicate item found with id msg_a.")
    assert refused(app, CONVERSATIONS, {"items": items})["param"] == "items"


def test_item_fields_that_are_null_are_filled_in():
    app = ruled()
    items = [SAID | {"id": None, "type": None, "status": None}, {"role": "user", "content": "b", "id": None}]
    _, made = asked(app, RESPONSES, {"input": items})
    _, listed = asked(app, f"{RESPONSES}/{made['id']}/input_items", None, "GET", {"order": ["asc"]})
    _, conversation = asked(app, CONVERSATIONS, {"items": items})
    below = f"{CONVERSATIONS}/{conversation['id']}/items"
    _, of_conversation = asked(app, below, None, "GET", {"order": ["asc"]})
    for found in (listed["data"], of_conversation["data"]):
        assert [item["content"][0]["text"] for item in found] == ["a", "b"]
        assert len({item["id"] for item in found}) == 2
        assert all(item["type"] == "message" and item["status"] == "completed" for item in found)
    _, page = asked(app, below, None, "GET", {"order": ["asc"], "limit": ["1"], "after": [of_conversation["first_id"]]})
    assert [item["content"][0]["text"] for item in page["data"]] == ["b"]


STRIKES = [{"after": 4}, {"after": "50%"}, {"after": 1}, {"after": "25ms"}]


PACED = pytest.mark.parametrize("latency", [{}, {"itl": 10}])


@PACED
@pytest.mark.parametrize("strike", STRIKES)
def test_error_event_in_a_response_stream_has_the_next_sequence_number(latency, strike):
    app = ruled(latency=latency, faults=[{"kind": "error_event", "status": 503, **strike}])
    found = streamed(app, RESPONSES, {"input": "x", "stream": True})
    if found[-1]["type"] == "error":
        assert found[-1]["param"] is None
        assert len(found) > 1
    else:  # where nothing takes time, no time is reached
        assert (strike, latency) == ({"after": "25ms"}, {})
    assert [event["sequence_number"] for event in found] == list(range(len(found)))


def test_response_stream_failing_midway_ends_with_the_next_sequence_number():
    app = ruled(latency={"itl": 10})
    answer = app.handle(Request("POST", RESPONSES, KEY, orjson.dumps({"input": "x", "stream": True})))
    numbering = answer.cut.__self__
    known = numbering._cut

    def breaking(begin, end):
        if end > 3:
            raise OSError
        return known(begin, end)

    numbering._cut = breaking
    pacer, said = Pacer(answer.due_times, answer.cut, 0.0, UNCOUNTED, answer.failed), b""
    while pacer.due is not None:
        said += pacer.take(pacer.due)
    found = typed(said)
    assert found[-1]["type"] == "error"
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert len(found) > 4


def test_response_retrieved_as_a_stream_takes_error_events():
    app = ruled(faults=[{"kind": "error_event", "status": 503, "after": 4, "match": {"endpoint": "other"}}])
    _, made = asked(app, RESPONSES, {"input": "x"})
    found = streamed(app, f"{RESPONSES}/{made['id']}", None, "GET", {"stream": ["true"]})
    assert [event["sequence_number"] for event in found] == [0, 1, 2, 3, 4]
    assert found[-1]["type"] == "error"


def again(app, id_, **query):
    """Return the events of a response that is streamed again."""
    query = {name: [value] for name, value in ({"stream": "true"} | query).items()}
    return streamed(app, f"{RESPONSES}/{id_}", None, "GET", query)


CUT_OFF = {"choices": [{"message": {"content": "Once upon"}, "finish_reason": "length"}]}


def test_response_retrieved_as_a_stream_equals_the_first_stream():
    app = ruled({"match": {"content": "long"}, "response": CUT_OFF}, {"content": "Said."})
    for text in ("x", "long"):
        first = streamed(app, RESPONSES, {"input": text, "stream": True})
        assert again(app, first[-1]["response"]["id"]) == first
        assert first[0]["response"]["completed_at"] is None
        whole = first[-1]["response"]
        assert (whole["completed_at"] is None) == (whole["status"] == "incomplete") == (text == "long")


def test_response_cancelled_is_streamed_with_a_failed_event():
    app = ruled()
    _, begun = asked(app, RESPONSES, {"input": "x", "background": True})
    asked(app, f"{RESPONSES}/{begun['id']}/cancel", None)
    found = again(app, begun["id"])
    assert [event["type"] for event in found] == ["response.created", "response.in_progress", "response.failed"]
    assert found[-1]["response"]["status"] == "cancelled"


def test_response_stream_starting_after_continues_there():
    app = ruled()
    _, made = asked(app, RESPONSES, {"input": "x"})
    everything = again(app, made["id"])
    for after in ("-1", "-3", "-" + "9" * 30):
        assert again(app, made["id"], starting_after=after) == everything
    assert again(app, made["id"], starting_after="2") == everything[3:]
    for wrong in ("", "x", "1.5", "--1"):
        query = {"stream": ["true"], "starting_after": [wrong]}
        told = refused(app, f"{RESPONSES}/{made['id']}", None, method="GET", query=query)
        assert told["param"] == "starting_after"


def test_previous_response_of_a_conversation_includes_its_turns():
    app = ruled({"match": {"turn": 3}, "content": "The third."}, {"match": {"turn": 4}, "content": "The fourth."})
    asked(app, RESPONSES, {"input": "One", "conversation": "conv_x"})
    _, second = asked(app, RESPONSES, {"input": "Two", "conversation": {"id": "conv_x"}})
    asked(app, RESPONSES, {"input": "Not seen", "conversation": "conv_x"})
    _, third = asked(app, RESPONSES, {"input": "Three", "previous_response_id": second["id"]})
    assert words_of_response(third["output"])[0] == "The third."
    _, fourth = asked(app, RESPONSES, {"input": "Four", "previous_response_id": third["id"]})
    assert words_of_response(fourth["output"])[0] == "The fourth."
    app.handle(Request("DELETE", f"{CONVERSATIONS}/conv_x", KEY, b""))
    status, _ = asked(app, RESPONSES, {"input": "Three", "previous_response_id": second["id"]})
    assert status == 200


TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": [{"type": {}}]}, "tools[0].type"),
        ({"tools": [TOOL, {"type": 5}]}, "tools[1].type"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": 5}, "tools"),
        ({"tool_choice": {"type": ["a"]}}, "tool_choice.type"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tools": [TOOL], "tool_choice": {"type": ["a"]}}, "tool_choice.type"),
        ({"tools": [HOSTED], "tool_choice": {"type": ["a"]}}, "tool_choice.type"),
        ({"tool_choice": "junk"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "junk"}, "tool_choice"),
        ({"tools": [HOSTED], "tool_choice": "junk"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        ({"tools": [HOSTED], "tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        ({"tools": [HOSTED], "tool_choice": {"type": "function"}}, "tool_choice.name"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [3]}},
            "tool_choice.tools[0]",
        ),
    ],
)
def test_response_tools_and_tool_choice_are_validated(more, param):
    assert refused(ruled(), RESPONSES, {"input": "x"} | more)["param"] == param


@pytest.mark.parametrize(
    "more",
    [
        {"tool_choice": "auto"},
        {"tool_choice": "none"},
        {"tool_choice": None, "tools": None},
        {"tools": [HOSTED], "tool_choice": "required"},
        {"tools": [HOSTED], "tool_choice": HOSTED},
        {"tools": [HOSTED, TOOL], "tool_choice": HOSTED},
        {"tools": [HOSTED], "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [HOSTED]}},
    ],
)
def test_response_tool_choice_accepts_hosted_tools(more):
    _, made = asked(ruled(), RESPONSES, {"input": "x"} | more)
    assert [item["type"] for item in made["output"]] == ["message"]
