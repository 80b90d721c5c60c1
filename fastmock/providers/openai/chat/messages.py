"""Check the parts of chat messages besides text: tool calls and results, images, audio, files."""

from typing import Any

from fastmock.core import errors
from fastmock.providers.openai import params
from fastmock.providers.openai.errors import calls_without_results, no_call_id, no_calls_before, no_such_call

_PARTS = params.one_of("text", "image_url", "input_audio", "refusal", "audio", "file")
_DETAILS = params.one_of("auto", "low", "high")
_FORMATS = params.one_of("wav", "mp3")
_CALLS = params.one_of("function", "custom")


def check_messages(messages: list[dict[str, Any]]) -> None:
    """Check names and calls, and that exactly the results of all calls follow, in any order."""
    called: set[str] = set()
    waiting: dict[str, None] = {}  # ids of the calls without a result so far, in order
    for index, message in enumerate(messages):
        if message.get("name") is not None:
            params.string(message["name"], f"messages[{index}].name")
        if message["role"] == "tool":
            _check_result(message, index, called)
            waiting.pop(message["tool_call_id"], None)
            continue
        if waiting:
            raise calls_without_results(f"messages.[{index}].role", waiting)
        called = set()
        if message["role"] == "assistant" and (calls := message.get("tool_calls")) is not None:
            if type(calls) is not list or not all(map(_is_plain, calls)):
                _check_calls(calls, f"messages[{index}].tool_calls")
            waiting = dict.fromkeys([call["id"] for call in calls])
            called = set(waiting)
    if waiting:
        raise calls_without_results("messages", waiting)


def _check_result(message: dict[str, Any], index: int, called: set[str]) -> None:
    id_ = message.get("tool_call_id")
    if type(id_) is not str:
        raise (
            no_call_id(index) if id_ is None else errors.WrongType(f"messages[{index}].tool_call_id", "a string", id_)
        )
    if id_ not in called:
        raise no_such_call(index, id_) if called else no_calls_before(index)


def _check_calls(calls: Any, name: str) -> None:
    params.array_of_objects(calls, name)
    for place, call in enumerate(calls):
        param = f"{name}[{place}]"
        params.string_in(call, "id", param)
        kind = params.string_in(call, "type", param)
        _CALLS(kind, f"{param}.type")
        inner = params.object_in(call, kind, param)
        params.string_in(inner, "name", f"{param}.{kind}")
        params.string_in(inner, "arguments" if kind == "function" else "input", f"{param}.{kind}")


def _is_plain(call: Any) -> bool:
    """Return whether it is a valid function call, as nearly all are; takes a fraction of the time of the checks."""
    function = call.get("function") if type(call) is dict else None
    return (
        type(function) is dict
        and type(function.get("name")) is str
        and type(function.get("arguments")) is str
        and type(call.get("id")) is str
        and call.get("type") == "function"
    )


def check_part(part: dict[str, Any], kind: str, param: str) -> None:
    """Check a part of a message's content other than text."""
    _PARTS(kind, f"{param}.type")
    if kind == "image_url":
        image = params.object_in(part, kind, param)
        params.string_in(image, "url", f"{param}.{kind}")
        params.optional(image, "detail", _DETAILS, f"{param}.{kind}")
    elif kind == "input_audio":
        audio = params.object_in(part, kind, param)
        params.string_in(audio, "data", f"{param}.{kind}")
        _FORMATS(params.string_in(audio, "format", f"{param}.{kind}"), f"{param}.{kind}.format")
    elif kind == "file":
        params.object_in(part, kind, param)
    elif kind == "refusal":
        params.string_in(part, kind, param)
