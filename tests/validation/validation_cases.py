# ruff: noqa: E501 - a request a line
"""Requests that the providers refuse, and requests that they accept."""

from fastmock.providers.anthropic.messages.signatures import sign
from fastmock.validation.check import CHAT, COMPLETIONS, MESSAGES, RESPONSES

# --- the parts of requests

HI = {"role": "user", "content": "x"}
FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}
IMAGE_URL = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
CALLING = {
    "role": "assistant",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}],
}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
STRICT = OPEN | {"additionalProperties": False}

USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "r"}
TEXT = {"type": "text", "text": "a"}
CACHED = TEXT | {"cache_control": {"type": "ephemeral"}}
CUSTOM = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
THINKING = {"type": "thinking", "thinking": "t", "signature": sign("t")}
THINKS = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 3000}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
SONNET = {"model": "claude-sonnet-4-5"}

CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "r"}


def chat(*messages, **more):
    return {"model": "gpt-4o", "messages": list(messages) or [HI], **more}


def parameters(schema, strict=None):
    return chat(tools=[{"type": "function", "function": {"name": "f", "parameters": schema, "strict": strict}}])


def strict_format(schema, **more):
    inner = {"name": "s", "strict": True, "schema": schema, **more}
    return chat(response_format={"type": "json_schema", "json_schema": inner})


def completion(**more):
    return {"model": "gpt-3.5-turbo-instruct", "prompt": "x", **more}


def response(*items, **more):
    return {"model": "gpt-4o", "input": list(items) or "x", **more}


def says(role, *blocks):
    return {"role": role, "content": list(blocks)}


def message(*messages, **more):
    return {"model": "claude-sonnet-4-0", "max_tokens": 200, "messages": list(messages) or [HI], **more}


def schema(document, **more):
    return message(tools=[CUSTOM | {"input_schema": document} | more])


def answered(*blocks):
    """A conversation in which the assistant said something in the middle."""
    return message(HI, says("assistant", *blocks), HI)


# --- what is refused: endpoint, request, part of the message, param, code, check

# fmt: off
REFUSED = [
    (CHAT, chat(HI, {"role": "assistant", "content": "y", "tool_calls": []}, HI), "Invalid 'messages[1].tool_calls': empty array. Expected an array with minimum length 1, but got an empty array instead.", "messages[1].tool_calls", "empty_array", "empty_array"),
    (CHAT, chat(tools=[]), "Invalid 'tools': empty array.", "tools", "empty_array", "empty_array"),
    (CHAT, chat(functions=[]), "Invalid 'functions': empty array.", "functions", "empty_array", "empty_array"),
    (CHAT, chat(says("user")), "Invalid 'messages[0].content': empty array.", "messages[0].content", "empty_array", "empty_array"),
    (CHAT, chat(HI, {"role": "assistant", "content": None}, HI), "Invalid value for 'content': expected a string, got null.", "messages.[1].content", None, "assistant_content"),
    (CHAT, chat(HI | {"name": "John Doe"}), "Invalid 'messages[0].name': string does not match pattern. Expected a string that matches the pattern '^[^\\s<|\\\\/>]+$'.", "messages[0].name", "invalid_value", "participant_name"),
    (CHAT, chat(HI, CALLING, {"role": "tool", "tool_call_id": "c1", "content": [IMAGE_URL]}), "Invalid 'messages[2]'. Image URLs are only allowed for messages with role 'user', but this message with role 'tool' contains an image URL.", "messages[2]", "invalid_value", "part_for_role"),
    (CHAT, chat(says("system", IMAGE_URL), HI), "this message with role 'system' contains an image URL.", "messages[0]", "invalid_value", "part_for_role"),
    (CHAT, chat(says("user", {"type": "refusal", "refusal": "no"})), "Invalid value: 'refusal'. Supported values are: 'text', 'image_url',", "messages[0].content[0].type", "invalid_value", "part_for_role"),
    (CHAT, chat(HI, says("assistant", {"type": "file", "file": {"file_id": "f"}}), HI), "Supported values are: 'text' and 'refusal'.", "messages[1].content[0].type", "invalid_value", "part_for_role"),
    (CHAT, chat(tool_choice="auto"), "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.", "tool_choice", None, "choice_needs_tools"),
    (CHAT, chat(parallel_tool_calls=False), "'parallel_tool_calls' is only allowed when 'tools' are specified.", "parallel_tool_calls", None, "choice_needs_tools"),
    (CHAT, chat(function_call="auto"), "'function_call' is only allowed when 'functions' are specified.", "function_call", None, "choice_needs_tools"),
    (CHAT, chat(stream_options={"include_usage": True}), "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options", None, "stream_options_need_stream"),
    (COMPLETIONS, completion(stream=False, stream_options={"include_usage": True}), "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options", None, "stream_options_need_stream"),
    (CHAT, chat(max_tokens=5, max_completion_tokens=5), "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.", "max_tokens", "invalid_parameter_combination", "token_limits_exclusive"),
    (CHAT, chat(model="o3", max_tokens=5), "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "max_tokens", "unsupported_parameter", "reasoning_model_parameters"),
    (CHAT, chat(model="o3", temperature=0.2), "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.", "temperature", "unsupported_value", "reasoning_model_parameters"),
    (CHAT, chat(model="o1-mini", top_p=0.2), "Unsupported parameter: 'top_p' is not supported with this model.", "top_p", "unsupported_parameter", "reasoning_model_parameters"),
    (CHAT, chat(model="gpt-5-mini", stop="x"), "Unsupported parameter: 'stop' is not supported with this model.", "stop", "unsupported_parameter", "reasoning_model_parameters"),
    (CHAT, chat(model="o4-mini-2025-04-16", presence_penalty=1), "'presence_penalty' is not supported with this model.", "presence_penalty", "unsupported_parameter", "reasoning_model_parameters"),
    (CHAT, chat(model="gpt-5.2", temperature=0.2, reasoning_effort="low"), "'temperature' does not support 0.2", "temperature", "unsupported_value", "reasoning_model_parameters"),
    (RESPONSES, response(model="gpt-5", temperature=0.2), "Unsupported parameter: 'temperature' is not supported with this model.", "temperature", None, "reasoning_model_parameters"),
    (CHAT, chat(logit_bias={"hello": 5}), "Invalid key in 'logit_bias': hello. You should only be submitting non-negative integers.", "logit_bias", None, "logit_bias_keys"),
    (COMPLETIONS, completion(logit_bias={"-1": 5}), "Invalid key in 'logit_bias': -1.", "logit_bias", None, "logit_bias_keys"),
    (CHAT, chat(response_format={"type": "json_object"}), "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.", "messages", None, "json_mentioned"),
    (CHAT, strict_format(OPEN), "Invalid schema for response_format 's': In context=(), 'additionalProperties' is required to be supplied and to be false.", "response_format", None, "strict_format"),
    (CHAT, strict_format(STRICT | {"required": []}), "In context=(), 'required' is required to be supplied and to be an array including every key in properties. Missing 'a'.", "response_format", None, "strict_format"),
    (CHAT, strict_format(STRICT | {"required": ["a", "b"]}), "Extra required key 'b' supplied.", "response_format", None, "strict_format"),
    (CHAT, strict_format({"type": "array", "items": {"type": "string"}}), "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"array\"'.", "response_format", None, "strict_format"),
    (CHAT, strict_format(STRICT | {"properties": {"a": {"oneOf": [{"type": "string"}]}}}), "In context=('properties', 'a'), 'oneOf' is not permitted.", "response_format", None, "strict_format"),
    (CHAT, strict_format(STRICT | {"allOf": []}), "In context=(), 'allOf' is not permitted.", "response_format", None, "strict_format"),
    (CHAT, strict_format(STRICT | {"properties": {"a": {"description": "d"}}}), "In context=('properties', 'a'), schema must have a 'type' key.", "response_format", None, "strict_format"),
    (CHAT, strict_format(STRICT | {"properties": {"a": {"type": "array", "items": OPEN}}}), "In context=('properties', 'a', 'items'), 'additionalProperties' is required", "response_format", None, "strict_format"),
    (CHAT, parameters(OPEN, True), "Invalid schema for function 'f': In context=(), 'additionalProperties' is required to be supplied and to be false.", "tools[0].function.parameters", "invalid_function_parameters", "strict_function"),
    (RESPONSES, response(tools=[{"type": "function", "name": "f", "strict": True, "parameters": OPEN}]), "Invalid schema for function 'f': In context=(), 'additionalProperties' is required", "tools[0].parameters", "invalid_function_parameters", "strict_function"),
    (CHAT, parameters({"type": "object", "properties": {"a": {"type": "array"}}}), "Invalid schema for function 'f': In context=('properties', 'a'), array schema missing items.", "tools[0].function.parameters", "invalid_function_parameters", "function_schema"),
    (CHAT, parameters({"type": "string"}), "Invalid schema for function 'f': schema must be a JSON Schema of 'type: \"object\"', got 'type: \"string\"'.", "tools[0].function.parameters", "invalid_function_parameters", "function_schema"),
    (CHAT, parameters({"properties": {}}), "got 'type: \"None\"'.", "tools[0].function.parameters", "invalid_function_parameters", "function_schema"),
    (CHAT, chat(functions=[{"name": "f", "parameters": {"type": "object"}}]), "In context=(), object schema missing properties.", "functions[0].parameters", "invalid_function_parameters", "function_schema"),
    (RESPONSES, response(tools=[{"type": "web_search"}, {"type": "function", "name": "f", "parameters": {"type": "object"}}]), "In context=(), object schema missing properties.", "tools[1].parameters", "invalid_function_parameters", "function_schema"),
    (CHAT, chat(tools=[{"type": "function", "function": FUNCTION | {"description": "d" * 1100}}]), "Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 1024, but got a string with length 1100 instead.", "tools[0].function.description", "string_above_max_length", "function_description_length"),
    (RESPONSES, {"model": "gpt-4o"}, 'One of "input" or "previous_response_id" or', "input", "missing_required_parameter", "input_required"),
    (RESPONSES, response(HI, OUTPUT), "No tool call found for function call output with call_id call_1.", "input", None, "output_needs_call"),
    (RESPONSES, response(HI, CALL, OUTPUT | {"type": "custom_tool_call_output", "call_id": "call_2"}, OUTPUT), "No tool call found for custom tool call output with call_id call_2.", "input", None, "output_needs_call"),
    (RESPONSES, response(HI, CALL, HI), "No tool output found for function call call_1.", "input", None, "call_needs_output"),
    (RESPONSES, response(HI, says("assistant", {"type": "input_text", "text": "y"}), HI), "Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'.", "input[1].content[0]", "invalid_value", "content_for_role"),
    (RESPONSES, response(says("user", TEXT)), "Invalid value: 'text'. Supported values are: 'input_text', 'input_image',", "input[0].content[0]", "invalid_value", "content_for_role"),
    (RESPONSES, response(says("user", {"type": "output_text", "text": "y"})), "Invalid value: 'output_text'.", "input[0].content[0]", "invalid_value", "content_for_role"),
    (RESPONSES, response(says("user", {"type": "input_image", "image_url": {"url": "https://x/y"}})), "Invalid type for 'input[0].content[0].image_url': expected an image URL, but got an object instead.", "input[0].content[0].image_url", "invalid_type", "content_for_role"),
    (RESPONSES, response(HI, CALL, OUTPUT | {"output": [TEXT]}), "Invalid value: 'text'.", "input[2].output[0]", "invalid_value", "content_for_role"),
    (RESPONSES, response(HI, CALL | {"id": "call_1"}, OUTPUT), "Invalid 'input[1].id': 'call_1'. Expected an ID that begins with 'fc'.", "input[1].id", "invalid_value", "item_id_prefix"),
    (RESPONSES, response(HI | {"id": "item_1"}), "Invalid 'input[0].id': 'item_1'. Expected an ID that begins with 'msg'.", "input[0].id", "invalid_value", "item_id_prefix"),
    (RESPONSES, response(previous_response_id="nope"), "Invalid 'previous_response_id': 'nope'. Expected an ID that begins with 'resp'.", "previous_response_id", "invalid_value", "item_id_prefix"),
    (RESPONSES, response(conversation={"id": "nope"}), "Invalid 'conversation': 'nope'. Expected an ID that begins with 'conv'.", "conversation", "invalid_value", "item_id_prefix"),
    (RESPONSES, response(HI, {"type": "reasoning", "id": "rs_1"}), "Missing required parameter: 'input[1].summary'.", "input[1].summary", "missing_required_parameter", "item_fields"),
    (RESPONSES, response(HI, {"type": "function_call", "name": "f", "arguments": "{}"}), "Missing required parameter: 'input[1].call_id'.", "input[1].call_id", "missing_required_parameter", "item_fields"),
    (RESPONSES, response(HI, CALL | {"call_id": "c" * 65}, OUTPUT), "string too long. Expected a string with maximum length 64, but got a string with length 65", "input[1].call_id", "string_above_max_length", "item_fields"),
    (RESPONSES, response({"type": "foo"}), "Invalid value: 'foo'. Supported values are: 'additional_tools', ", "input[0]", "invalid_value", "item_type"),
    (RESPONSES, response(max_output_tokens=15), "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 15 instead.", "max_output_tokens", "integer_below_min_value", "output_limit_minimum"),
    (RESPONSES, response(include=["foo"]), "Invalid value: 'foo'.", "include[0]", "invalid_value", "includable"),
    (RESPONSES, response(text={"format": {"type": "json_object"}}), "Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'.", "input", None, "text_mentions_json"),
    (RESPONSES, response(text={"format": {"type": "json_schema", "name": "s", "strict": True, "schema": OPEN}}), "Invalid schema for response_format 's': In context=(), 'additionalProperties' is required", "text.format.schema", "invalid_json_schema", "strict_text_format"),
    (MESSAGES, message(HI, says("assistant", USE), HI), "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1. Each `tool_use` block must have a corresponding `tool_result` block in the next message.", None, None, "tool_use_needs_result"),
    (MESSAGES, message(HI, says("assistant", USE), says("user", TEXT, RESULT)), "messages.1: `tool_use` ids were found without `tool_result` blocks", None, None, "tool_use_needs_result"),
    (MESSAGES, message(HI, says("assistant", USE)), "messages.1: `tool_use` ids were found", None, None, "tool_use_needs_result"),
    (MESSAGES, message(says("user", RESULT)), "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1. Each `tool_result` block must have a corresponding `tool_use` block in the previous message.", None, None, "tool_result_needs_use"),
    (MESSAGES, message(HI, says("assistant", USE), says("user", RESULT), {"role": "assistant", "content": "y"}, says("user", RESULT | {"tool_use_id": "toolu_0"})), "messages.4.content.0: unexpected `tool_use_id`", None, None, "tool_result_needs_use"),
    (MESSAGES, message({"role": "user", "content": ""}), "messages.0: user messages must have non-empty content", None, None, "non_empty_content"),
    (MESSAGES, message(says("user")), "messages.0: user messages must have non-empty content", None, None, "non_empty_content"),
    (MESSAGES, message(says("user", TEXT | {"text": ""})), "messages: text content blocks must be non-empty", None, None, "non_empty_content"),
    (MESSAGES, message(says("user", TEXT | {"text": " \n"})), "messages: text content blocks must contain non-whitespace text", None, None, "non_empty_content"),
    (MESSAGES, message(HI, {"role": "assistant", "content": ""}, HI), "messages.1: all messages must have non-empty content except for the optional final assistant message", None, None, "non_empty_content"),
    (MESSAGES, message(system=[TEXT | {"text": ""}]), "system: text content blocks must be non-empty", None, None, "non_empty_content"),
    (MESSAGES, message(HI, {"role": "assistant", "content": "The answer is "}), "messages: final assistant content cannot end with trailing whitespace", None, None, "prefill_whitespace"),
    (MESSAGES, message(HI, says("assistant", TEXT | {"text": "It is\n"})), "messages: final assistant content cannot end with trailing whitespace", None, None, "prefill_whitespace"),
    (MESSAGES, message(says("user", *[CACHED] * 5)), "A maximum of 4 blocks with cache_control may be provided. Found 5.", None, None, "cache_breakpoints"),
    (MESSAGES, message(says("user", CACHED), says("assistant", CACHED), says("user", CACHED), system=[CACHED], tools=[CUSTOM | {"cache_control": {"type": "ephemeral"}}]), "Found 5.", None, None, "cache_breakpoints"),
    (MESSAGES, message(says("user", TEXT, CACHED | {"text": ""})), "messages.0.content.1.text: cache_control cannot be set for empty text blocks", None, None, "cache_breakpoints"),
    (MESSAGES, answered(THINKING | {"cache_control": {"type": "ephemeral"}}), "messages.1.content.0.thinking.cache_control: Extra inputs are not permitted", None, None, "cache_breakpoints"),
    (MESSAGES, message(temperature=0.5, top_p=0.5) | SONNET, "`temperature` and `top_p` cannot both be specified for this model. Please use only one.", None, None, "sampling_exclusive"),
    (MESSAGES, message(tools=[CUSTOM], tool_choice={"type": "any"}) | THINKS, "Thinking may not be enabled when tool_choice forces tool use.", None, None, "thinking_parameters"),
    (MESSAGES, message(temperature=0.5) | THINKS, "`temperature` may only be set to 1 when thinking is enabled.", None, None, "thinking_parameters"),
    (MESSAGES, message(top_k=5) | THINKS, "`top_k` must be unset when thinking is enabled.", None, None, "thinking_parameters"),
    (MESSAGES, message(top_p=0.5) | THINKS, "`top_p` must be greater than or equal to 0.95 or unset", None, None, "thinking_parameters"),
    (MESSAGES, answered({"type": "thinking", "thinking": "t"}, TEXT), "messages.1.content.0.thinking.signature: Field required", None, None, "thinking_signature"),
    (MESSAGES, answered(THINKING | {"signature": ""}, TEXT), "messages.1.content.0: Invalid `signature` in `thinking` block", None, None, "thinking_signature"),
    (MESSAGES, answered(THINKING | {"thinking": "T"}, TEXT), "messages.1.content.0: Invalid `signature` in `thinking` block", None, None, "thinking_signature"),
    (MESSAGES, answered({"type": "redacted_thinking"}, TEXT), "messages.1.content.0.redacted_thinking.data: Field required", None, None, "thinking_signature"),
    (MESSAGES, message(says("user", IMAGE_URL)), "messages.0.content.0: Input tag 'image_url' found using 'type' does not match any of the expected tags: ", None, None, "block_type"),
    (MESSAGES, message(HI, says("assistant", USE), says("user", RESULT | {"content": [IMAGE_URL]})), "messages.2.content.0.tool_result.content.0: Input tag 'image_url'", None, None, "block_type"),
    (MESSAGES, message(system=[{"type": "image", "text": "x"}]), "system.0.type: Input should be 'text'", None, None, "block_type"),
    (MESSAGES, message(says("user", USE)), "messages.0: `tool_use` blocks can only be in `assistant` messages", None, None, "block_for_role"),
    (MESSAGES, message(HI, says("assistant", RESULT), HI), "messages.1: `tool_result` blocks can only be in `user` messages", None, None, "block_for_role"),
    (MESSAGES, answered(PNG), "messages.1.content.0: 'image' blocks are not permitted within assistant turns", None, None, "block_for_role"),
    (MESSAGES, message(tools=[TOOL]), "tools.0: Input tag 'function' found using 'type' does not match any of the expected tags: ", None, None, "tool_type"),
    (MESSAGES, schema({"properties": {}}), "tools.0.custom.input_schema.type: Field required", None, None, "input_schema"),
    (MESSAGES, schema({"type": "array"}), "tools.0.custom.input_schema.type: Input should be 'object'", None, None, "input_schema"),
    (MESSAGES, schema({"type": "object", "anyOf": [{"required": ["a"]}]}), "tools.0.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level", None, None, "input_schema"),
    (MESSAGES, schema({"type": "object", "properties": {"a b": {}}}), "tools.0.custom.input_schema.properties: Property keys should match pattern '^[a-zA-Z0-9_.-]{1,64}$'", None, None, "input_schema"),
    (MESSAGES, message(tools=[CUSTOM, CUSTOM]), "tools: Tool names must be unique.", None, None, "unique_tool_name"),
    (MESSAGES, message(says("user", PNG | {"source": PNG["source"] | {"media_type": "image/bmp"}})), "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'", None, None, "image_source"),
    (MESSAGES, message(says("user", {"type": "image"})), "messages.0.content.0.image.source: Field required", None, None, "image_source"),
    (MESSAGES, message(HI, says("assistant", USE), says("user", RESULT | {"content": [PNG | {"source": {"type": "path"}}]})), "messages.2.content.0.tool_result.content.0.image.source: Input tag 'path'", None, None, "image_source"),
    (MESSAGES, message(HI, says("assistant", USE, USE), says("user", RESULT)), "messages.1.content.1: `tool_use` ids must be unique", None, None, "unique_tool_use_id"),
    (MESSAGES, message(HI, says("assistant", USE), says("user", RESULT, RESULT)), "messages.2.content.1: each tool_use must have a single result. Found multiple `tool_result` blocks with id: toolu_1", None, None, "unique_tool_use_id"),
    (MESSAGES, message(HI, says("assistant", USE | {"input": "{}"}), says("user", RESULT)), "messages.1.content.0.tool_use.input: Input should be a valid dictionary", None, None, "tool_block_fields"),
    (MESSAGES, message(HI, says("assistant", USE | {"id": "a b"}), says("user", RESULT)), "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'", None, None, "tool_block_fields"),
    (MESSAGES, message(HI, says("assistant", USE), says("user", {"type": "tool_result"})), "messages.2.content.0.tool_result.tool_use_id: Field required", None, None, "tool_block_fields"),
    (MESSAGES, message(stop_sequences=["\n"]), "stop_sequences: each stop sequence must contain non-whitespace", None, None, "blank_stop_sequence"),
]

# --- what is valid: endpoint, request

ACCEPTED = [
    (CHAT, chat(HI, HI, {"role": "assistant", "content": "a prefill "})),
    (CHAT, chat(HI, CALLING, {"role": "tool", "tool_call_id": "c1", "content": [TEXT]}, tools=[TOOL], tool_choice="auto")),
    (CHAT, chat(HI, CALLING | {"content": None}, {"role": "tool", "tool_call_id": "c1", "content": ""})),
    (CHAT, chat(HI, CALLING, {"role": "tool", "tool_call_id": "c1", "content": [IMAGE_URL]}, model="gpt-5.2")),
    (CHAT, chat(says("user", IMAGE_URL, TEXT) | {"name": "John_Doe-1"})),
    (CHAT, chat(HI, says("assistant", {"type": "refusal", "refusal": "no"}), HI)),
    (CHAT, chat(HI, {"role": "assistant", "refusal": "no"}, HI)),
    (CHAT, chat({"role": "user", "content": ""})),
    (CHAT, chat(stream=True, stream_options={"include_usage": True})),
    (CHAT, chat(stream_options=None, tools=None, tool_choice=None, parallel_tool_calls=None, logit_bias=None)),
    (CHAT, chat(max_tokens=5, max_completion_tokens=None)),
    (CHAT, chat(model="o3", temperature=1, top_p=1, max_completion_tokens=50, reasoning_effort="high")),
    (CHAT, chat(model="gpt-5-chat-latest", temperature=0.2, max_tokens=5)),
    (CHAT, chat(model="gpt-5.2", temperature=0.2, reasoning_effort="none")),
    (CHAT, chat(temperature=0.2, top_p=0.3, stop="x", logprobs=True, logit_bias={"50256": -100})),
    (CHAT, chat({"role": "system", "content": "Answer in JSON."}, HI, response_format={"type": "json_object"})),
    (CHAT, chat(says("user", {"type": "text", "text": "json"}), response_format={"type": "json_object"})),
    (CHAT, strict_format(STRICT)),
    (CHAT, strict_format(OPEN, strict=False)),
    (CHAT, strict_format(STRICT | {"properties": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/b"}]}}, "$defs": {"b": {"enum": [1]}}})),
    (CHAT, strict_format(STRICT | {"properties": {"a": {"type": ["string", "null"], "pattern": "x"}}})),
    (CHAT, parameters(STRICT, True)),
    (CHAT, parameters({})),
    (CHAT, parameters(None)),
    (CHAT, parameters({"type": "object", "properties": {"a": {"type": "array", "items": {}}, "b": {"oneOf": []}}})),
    (CHAT, chat(tools=[{"type": "custom", "custom": {"name": "c"}}], unknown=[])),
    (COMPLETIONS, completion(stream=True, stream_options={"include_usage": True}, logit_bias={"1": 1}, best_of=1)),
    (RESPONSES, response(HI, HI, {"role": "assistant", "content": "y"}, HI)),
    (RESPONSES, response(tool_choice="auto", parallel_tool_calls=True, tools=[])),
    (RESPONSES, response(HI, {"type": "reasoning", "summary": []}, CALL, OUTPUT)),
    (RESPONSES, response(HI, CALL | {"id": None}, OUTPUT | {"output": [{"type": "input_image", "image_url": "https://x"}]})),
    (RESPONSES, response(HI, CALL | {"id": "fc_1"}, OUTPUT, max_output_tokens=16, include=["reasoning.encrypted_content"])),
    (RESPONSES, response(OUTPUT, previous_response_id="resp_unknown")),
    (RESPONSES, response(OUTPUT, conversation="conv_unknown")),
    (RESPONSES, response({"type": "item_reference", "id": "fc_1"}, OUTPUT)),
    (RESPONSES, response({"type": "compaction", "encrypted_content": "dXNlcg=="}, OUTPUT)),
    (RESPONSES, response(says("assistant", {"type": "output_text", "text": "y"}), HI)),
    (RESPONSES, response({"type": "web_search_call", "id": "ws_1", "status": "completed"}, HI)),
    (RESPONSES, response(says("user", {"type": "input_image", "file_id": "f"}, {"type": "input_file", "file_id": "f"}))),
    (RESPONSES, response(text={"format": {"type": "json_object"}}, instructions="Answer in JSON.")),
    (RESPONSES, response(text={"format": {"type": "json_schema", "name": "s", "schema": OPEN}})),
    (RESPONSES, response(model="o3", reasoning={"effort": "high"}, temperature=1)),
    (MESSAGES, message(HI, HI)),
    (MESSAGES, message(HI, {"role": "assistant", "content": "The answer is"})),
    (MESSAGES, message(HI, {"role": "assistant", "content": ""})),
    (MESSAGES, message(HI, {"role": "assistant", "content": "in the middle "}, HI)),
    (MESSAGES, message(HI, says("assistant", TEXT, USE), says("user", RESULT, TEXT), tools=[CUSTOM])),
    (MESSAGES, message(HI, says("assistant", USE), says("user", RESULT | {"content": [PNG, TEXT]}))),
    (MESSAGES, message(HI, says("assistant", USE), says("user", {"type": "tool_result", "tool_use_id": "toolu_1"}))),
    (MESSAGES, message(HI, says("assistant", USE, USE | {"id": "toolu_2"}), says("user", RESULT), says("user", RESULT | {"tool_use_id": "toolu_2"}))),
    (MESSAGES, message(HI, says("assistant", TEXT), says("assistant", USE), says("user", RESULT))),
    (MESSAGES, answered(THINKING, TEXT)),
    (MESSAGES, answered(THINKING | {"signature": "EqoBCkgIAxABGAIiQL"}, TEXT)),
    (MESSAGES, answered({"type": "redacted_thinking", "data": "x"}, TEXT)),
    (MESSAGES, message(says("user", CACHED, CACHED, CACHED, CACHED, TEXT))),
    (MESSAGES, message(temperature=0.5, top_p=0.5)),
    (MESSAGES, message(temperature=0.5) | SONNET),
    (MESSAGES, message(temperature=1, tools=[CUSTOM], tool_choice={"type": "auto"}) | THINKS),
    (MESSAGES, message(tools=[CUSTOM, {"type": "custom", **CUSTOM, "name": "g"}, {"type": "web_search_20990101", "name": "web_search"}])),
    (MESSAGES, schema({"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}]}}})),
    (MESSAGES, message(says("user", PNG, {"type": "image", "source": {"type": "url", "url": "https://x/y.bmp"}}))),
    (MESSAGES, message(says("user", {"type": "search_result", "source": "s", "title": "t", "content": [TEXT]}, TEXT))),
    (MESSAGES, message(stop_sequences=["END"], unknown=1, system="")),
]
# fmt: on
