"""Checks of requests for responses."""

from typing import Any

from fastmock.core import errors
from fastmock.providers.openai import params
from fastmock.providers.openai.chat.checks import mentions_json
from fastmock.providers.openai.checks import reasons
from fastmock.providers.openai.responses.request import PREFIXES, ResponsesRequest
from fastmock.providers.openai.schema_checks import check_strict_format
from fastmock.validation.check import RESPONSES, Contents, Part

_LEAST_TOKENS = 16
_LONGEST_CALL_ID = 64
_ITEMS = frozenset(
    (
        "additional_tools",
        "apply_patch_call",
        "apply_patch_call_output",
        "code_interpreter_call",
        "compaction",
        "compaction_summary",
        "compaction_trigger",
        "computer_call",
        "computer_call_output",
        "configuration_update",
        "custom_tool_call",
        "custom_tool_call_output",
        "file_search_call",
        "function_call",
        "function_call_output",
        "image_generation_call",
        "item_reference",
        "local_shell_call",
        "local_shell_call_output",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "message",
        "program",
        "program_output",
        "reasoning",
        "shell_call",
        "shell_call_output",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    )
)
_OUTPUT_PARTS = ("output_text", "refusal")
_GIVEN = ("input_text", "input_image", "input_file", "input_audio")
_SUPPORTED_GIVEN = "'input_text', 'input_image', and 'input_file'"
_INCLUDABLE = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
)
_CALLS = {
    "function_call": "function call",
    "custom_tool_call": "custom tool call",
    "computer_call": "computer call",
}
_OUTPUTS = {f"{kind}_output": words for kind, words in _CALLS.items()}
_UNKNOWN_CALLS = ("item_reference", "compaction", "compaction_summary")  # these may stand for any calls
_HOSTED = ("ws_", "fs_", "ci_", "ig_", "mcp_")  # id prefixes of calls that the API answers itself
FIELDS = {
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
    "custom_tool_call": ("call_id", "name", "input"),
    "custom_tool_call_output": ("call_id", "output"),
    "computer_call": ("call_id",),
    "computer_call_output": ("call_id", "output"),
}
"""The required fields of items."""


PARAMS = frozenset(
    ("previous_response_id", "conversation", "tools", "functions", "text", "include", "max_output_tokens", "logit_bias")
)
"""The parameters that checks examine, for any model, besides the input."""


def contents(chat: ResponsesRequest) -> Contents | None:
    """Return the contents of a request; None for a request with text alone, which no check can reject."""
    body = chat.sent
    given = body.get("input")
    if type(given) is str and given and PARAMS.isdisjoint(body) and not reasons(chat.model):
        return None
    before = chat.body["messages"][: chat.before] if chat.before else []
    found = Contents(RESPONSES, chat.model, body, history=before, complete=chat.complete)
    for index, item in enumerate(given if type(given) is list else ()):
        kind = item.get("type") or "message"
        role = item.get("role") if kind == "message" else ""
        found.add(kind, Part((index,), role or "", item))
        content = item.get("output" if kind.endswith("_output") else "content")
        if type(content) is list and kind != "reasoning":
            for place, part in enumerate(content):
                found.add("part", Part((index, place), role or "", part))
    return found


def refuse_no_input(contents: Contents) -> None:
    """Reject a request without any input."""
    names = ("input", "previous_response_id", "prompt", "conversation")
    if all(contents.body.get(name) in (None, "", []) for name in names):
        message = "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be provided."
        raise errors.ApiError(400, message, "input", "missing_required_parameter")


def refuse_short_limit(contents: Contents) -> None:
    """Reject a token limit below the minimum."""
    most = contents.body.get("max_output_tokens")
    if most is not None and most < _LEAST_TOKENS:
        raise errors.OutOfRange("max_output_tokens", most, _LEAST_TOKENS, _LEAST_TOKENS)


def refuse_unknown_items(contents: Contents) -> None:
    """Reject items of an unknown type."""
    for kind, parts in contents.parts.items():
        if kind not in _ITEMS and kind != "part":
            (index,) = parts[0].at
            raise errors.UnsupportedValue(f"input[{index}]", kind, _listed(sorted(_ITEMS)))


def refuse_misplaced_parts(contents: Contents) -> None:
    """Reject parts that the role of a message, or the output of a tool, does not allow."""
    for (index, place), role, part in contents.of("part"):
        param = f"input[{index}].content[{place}]" if role else f"input[{index}].output[{place}]"
        kind = part.get("type")
        if role == "assistant":
            if kind not in _OUTPUT_PARTS:
                raise errors.UnsupportedValue(param, kind, "'output_text' and 'refusal'")
        elif kind not in _GIVEN:
            raise errors.UnsupportedValue(param, kind, _SUPPORTED_GIVEN)
        url = part.get("image_url") if kind == "input_image" else None
        if url is not None and type(url) is not str:
            raise errors.WrongType(f"{param}.image_url", "an image URL", url)


def refuse_foreign_ids(contents: Contents) -> None:
    """Reject ids that the API cannot have generated for an item of that type."""
    body = contents.body
    for kind, prefix in PREFIXES.items():
        for (index,), _, item in contents.of(kind):
            if (id_ := item.get("id")) is not None and not id_.startswith(prefix):
                raise _wrong_id(f"input[{index}].id", id_, prefix)
    for name, prefix in (("previous_response_id", "resp"), ("conversation", "conv")):
        value = body.get(name)
        id_ = value.get("id") if type(value) is dict else value
        if type(id_) is str and id_ and not id_.startswith(prefix):
            raise _wrong_id(name, id_, prefix)


def _wrong_id(param: str, id_: str, prefix: str) -> errors.ApiError:
    message = f"Invalid '{param}': '{id_}'. Expected an ID that begins with '{prefix}'."
    return errors.ApiError(400, message, param, "invalid_value")


def refuse_unknown_includes(contents: Contents) -> None:
    """Reject unknown values of ``include``."""
    for place, name in enumerate(contents.body.get("include") or ()):
        if name not in _INCLUDABLE:
            raise errors.UnsupportedValue(f"include[{place}]", name, _listed(_INCLUDABLE))


def _listed(names: Any) -> str:
    shown = [f"'{name}'" for name in names]
    return f"{', '.join(shown[:-1])}, and {shown[-1]}"


def refuse_incomplete_items(contents: Contents) -> None:
    """Reject items that lack a field."""
    for (index,), _, item in contents.of("reasoning"):
        if item.get("summary") is None:
            raise errors.ParameterMissing(f"input[{index}].summary")
    for kind, names in FIELDS.items():
        for (index,), _, item in contents.of(kind):
            for name in names:
                if item.get(name) is None:
                    raise errors.ParameterMissing(f"input[{index}].{name}")
            call_id = item["call_id"]
            params.string(call_id, f"input[{index}].call_id")
            if len(call_id) > _LONGEST_CALL_ID:
                raise errors.StringTooLong(f"input[{index}].call_id", _LONGEST_CALL_ID, len(call_id))


def refuse_outputs_without_calls(contents: Contents) -> None:
    """Reject outputs of calls that are neither in the request nor in its history."""
    if not _all_known(contents):
        return
    called = {part.value["call_id"] for part in contents.of(*_CALLS)}
    called |= {call["id"] for message in contents.history for call in message.get("tool_calls") or ()}
    for kind, words in _OUTPUTS.items():
        for part in contents.of(kind):
            if (call_id := part.value["call_id"]) not in called:
                message = f"No tool call found for {words} output with call_id {call_id}."
                raise errors.ApiError(400, message, "input")


def refuse_calls_without_outputs(contents: Contents) -> None:
    """Reject calls without an output by the end of the request."""
    if not _all_known(contents):
        return
    kinds = tuple(_OUTPUTS)
    answered = {part.value["call_id"] for part in contents.of(*kinds)}
    answered |= {str(message["tool_call_id"]) for message in contents.history if message["role"] == "tool"}
    for kind, words in _CALLS.items():
        for part in contents.of(kind):
            if (call_id := part.value["call_id"]) not in answered:
                raise _unanswered(words, call_id)
    for message in contents.history:
        for call in message.get("tool_calls") or ():
            if call["id"] and call["id"] not in answered and not call["id"].startswith(_HOSTED):
                raise _unanswered("custom tool call" if call["type"] == "custom" else "function call", call["id"])


def _unanswered(words: str, call_id: Any) -> errors.ApiError:
    return errors.ApiError(400, f"No tool output found for {words} {call_id}.", "input")


def _all_known(contents: Contents) -> bool:
    """Return whether the whole history of the request is known here."""
    return contents.complete and not any(kind in contents.parts for kind in _UNKNOWN_CALLS)


def refuse_json_unmentioned(contents: Contents) -> None:
    """Reject the format ``json_object`` if no message mentions JSON."""
    body = contents.body
    form = (body.get("text") or {}).get("format") or {}
    if form.get("type") != "json_object" or body.get("prompt") is not None or not _all_known(contents):
        return
    given = body.get("input")
    messages = [{"content": given}] if type(given) is str else [part.value for part in contents.of("message")]
    outputs = [{"content": part.value.get("output")} for part in contents.of(*_OUTPUTS)]
    messages += [{"content": body.get("instructions")}, *outputs, *contents.history]
    if not any(map(mentions_json, messages)):
        message = "Response input messages must contain the word 'json' in some form to use 'text.format' of type "
        raise errors.ApiError(400, f"{message}'json_object'.", "input")


def refuse_strict_format(contents: Contents) -> None:
    """Reject a strict format whose schema uses features that strict mode does not support."""
    form = (contents.body.get("text") or {}).get("format") or {}
    if form.get("type") == "json_schema":
        check_strict_format(form, "text.format.schema", "invalid_json_schema")
