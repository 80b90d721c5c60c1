"""The canonical form of requests: components, secrets, and what differs from run to run."""

import orjson
import pytest

from fastmock.cassettes.canonical import NOTHING_HASHED, Canonical, parse_body
from fastmock.cassettes.settings import COMPONENTS

pytestmark = pytest.mark.unit
JSON = "application/json"


def hashes(body, canonical=None, content_type=JSON):
    text = body if isinstance(body, bytes) else orjson.dumps(body)
    found = (canonical or Canonical()).hashes("POST", "/v1/chat/completions", {}, parse_body(text, content_type))
    return dict(zip(COMPONENTS, found.components, strict=True))


def differing(one, other, canonical=None):
    first, second = hashes(one, canonical), hashes(other, canonical)
    return [name for name in COMPONENTS if first[name] != second[name]]


CHAT = {"model": "gpt-4o", "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    ("change", "component"),
    [
        ({"model": "gpt-5"}, "model"),
        ({"messages": [{"role": "system", "content": "Be rude."}, CHAT["messages"][1]]}, "instructions"),
        ({"messages": [CHAT["messages"][0], {"role": "user", "content": "Bye"}]}, "conversation"),
        ({"tools": []}, "tools"),
        ({"temperature": 0.5}, "sampling"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"stream": True}, "other"),
        ({"instructions": "Be brief."}, "instructions"),
        ({"input": "Hi"}, "conversation"),
        ({"system": "Be brief."}, "instructions"),
    ],
)
def test_a_changed_field_changes_its_component_alone(change, component):
    assert differing(CHAT, CHAT | change) == [component]


def test_order_and_whitespace_of_fields_do_not_count():
    assert hashes(b'{"model": "m",   "n": 1}') == hashes(b'{"n":1,"model":"m"}')


@pytest.mark.parametrize(
    ("recorded", "sent"),
    [
        ("Today is 2026-11-27.", "Today is 2027-01-02."),
        ("Now: 2026-11-27T10:00:00Z", "Now: 2026-11-28T11:30:12.123456+01:00"),
        ("Friday, November 27, 2026", "Saturday, November 28, 2026"),
        ("27 Nov 2026", "1 January 2027"),
        ("id 123e4567-e89b-12d3-a456-426614174000", "id 00000000-e89b-12d3-a456-426614174fff"),
        ("as in chatcmpl-AbCdEf123456", "as in chatcmpl-Zz9876543210"),
    ],
)
def test_dates_uuids_and_ids_do_not_count(recorded, sent):
    def body(text):
        return {"model": "m", "messages": [{"role": "user", "content": text}]}

    assert differing(body(recorded), body(sent)) == []
    assert differing(body(recorded), body(f"{sent} Really.")) == ["conversation"]


def test_results_of_tools_still_belong_to_their_calls():
    def body(first, second):
        return {
            "messages": [
                {"role": "assistant", "tool_calls": [{"id": "call_aaaaaaaaaa"}, {"id": "call_bbbbbbbbbb"}]},
                {"role": "tool", "tool_call_id": first, "content": "1"},
                {"role": "tool", "tool_call_id": second, "content": "2"},
            ]
        }

    other = orjson.loads(orjson.dumps(body("call_aaaaaaaaaa", "call_bbbbbbbbbb")).replace(b"aaaaaaaaaa", b"cccccccccc"))
    assert differing(body("call_aaaaaaaaaa", "call_bbbbbbbbbb"), other) == []
    assert differing(body("call_aaaaaaaaaa", "call_bbbbbbbbbb"), body("call_bbbbbbbbbb", "call_aaaaaaaaaa")) == [
        "conversation"
    ]


def test_patterns_of_the_user_do_not_count_and_name_the_form():
    one, other = ({"messages": [{"role": "user", "content": f"build {number}"}]} for number in (17, 18))
    canonical = Canonical([r"build \d+", r"(?<=x)y"])
    assert differing(one, other) == ["conversation"]
    assert differing(one, other, canonical) == []
    assert canonical.name != Canonical().name != ""


def test_boundary_of_a_form_does_not_count_but_its_files_do():
    def body(boundary, content=b"\x00\x01", model="whisper-1"):
        return (
            (
                f'--{boundary}\r\ncontent-disposition: form-data; name="model"\r\n\r\n{model}\r\n'
                f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
            ).encode()
            + content
            + f"\r\n--{boundary}--\r\n".encode()
        )

    def of(boundary, *more):
        return hashes(body(boundary, *more), None, f"multipart/form-data; boundary={boundary}")

    assert of("one") == of("two")
    assert of("one")["conversation"] != of("one", b"\x00\x02")["conversation"]
    assert of("one")["model"] != of("one", b"\x00\x01", "whisper-2")["model"]
    assert of("one")["model"] != NOTHING_HASHED


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"plain", b"{", b'"text"', b"[1]", b"[" * 300 + b"]" * 300])
def test_any_body_has_hashes_that_its_recorded_form_has_too(body):
    parsed = parse_body(body, JSON)
    again = type(parsed).from_json(orjson.loads(orjson.dumps(parsed.as_json())))
    canonical = Canonical()
    assert canonical.hashes("POST", "/", {}, parsed) == canonical.hashes("POST", "/", {}, again)
