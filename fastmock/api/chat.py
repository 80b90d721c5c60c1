"""``POST /v1/chat/completions``."""

from typing import Any

import orjson

from fastmock.api import checks, errors
from fastmock.api.rulebook import Rulebook
from fastmock.api.script import FINISH_REASON, OUTPUT, Chunks, Document, ShapeError, envelope, fragment
from fastmock.content.pieces import sized
from fastmock.content.tokens import count, count_all
from fastmock.wire import Ask, Reply, Request, Stream

_ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
_ROLE_NAMES = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'"
_IMAGE_TOKENS = 85  # what OpenAI charges for one image of low detail


def parse(body: dict[str, Any], unique: str) -> Ask:
    """Read a request; raise the API's own error where it is wrong."""
    ask = Ask(unique, body, checks.model_of(body))
    messages = body.get("messages")
    if type(messages) is not list:
        if messages is None:
            raise errors.missing("messages")
        raise errors.wrong_type("messages", "an array of objects", messages)
    if not messages:
        raise errors.empty_array("messages")
    system = None
    texts = []
    tokens = 3 + 3 * len(messages)  # what OpenAI's cookbook adds: three a reply, three a message
    for index, message in enumerate(messages):
        if type(message) is not dict:
            raise errors.wrong_type(f"messages[{index}]", "an object", message)
        role = message.get("role")
        if type(role) is not str or role not in _ROLES:
            raise _wrong_role(role, index)
        content = message.get("content")
        if type(content) is str:
            texts.append(content)
        else:
            content, extra = _other_content(message, content, role, index)
            tokens += extra
        if role == "user":
            ask.user_message = content
        elif role == "system" or role == "developer":
            system = content if system is None else f"{system}\n{content}"
    ask.prompt_tokens = tokens + count_all(texts)
    if system is not None:
        ask.system_prompt = system
    checks.read_options(ask)
    return ask


def _wrong_role(role: Any, index: int) -> errors.ApiError:
    param = f"messages[{index}].role"
    if role is None:
        return errors.missing(param)
    return (
        errors.not_among(param, role, _ROLE_NAMES) if type(role) is str else errors.wrong_type(param, "a string", role)
    )


def _other_content(message: Document, content: Any, role: str, index: int) -> tuple[str, int]:
    """Return the text and the tokens of a message whose content is not simply a string."""
    tokens = 0
    if calls := message.get("tool_calls") or message.get("function_call"):
        tokens = count(orjson.dumps(calls).decode())
    if content is None:
        if role == "assistant" or role == "function":
            return "", tokens
        if "content" not in message:
            raise errors.missing(f"messages[{index}].content")
        param = f"messages.[{index}].content"
        raise errors.ApiError(400, "Invalid value for 'content': expected a string, got null.", param)
    if type(content) is not list:
        raise errors.wrong_type(f"messages[{index}].content", "one of a string or array of objects", content)
    texts = []
    for place, part in enumerate(content):
        param = f"messages[{index}].content[{place}]"
        if type(part) is not dict:
            raise errors.wrong_type(param, "an object", part)
        kind = part.get("type")
        if type(kind) is not str:
            raise (
                errors.missing(f"{param}.type")
                if kind is None
                else errors.wrong_type(f"{param}.type", "a string", kind)
            )
        if kind == "text":
            text = part.get("text")
            if type(text) is not str:
                raise (
                    errors.missing(f"{param}.text")
                    if text is None
                    else errors.wrong_type(f"{param}.text", "a string", text)
                )
            texts.append(text)
            tokens += count(text)
        elif kind == "image_url":
            tokens += _IMAGE_TOKENS
    return "".join(texts), tokens


class ChatShape:
    """See ``script.Shape``."""

    chunk_object = "chat.completion.chunk"

    def whole(self, document: Document, fingerprint: str) -> Document:
        """See ``script.Shape``."""
        choices = document.get("choices")
        if not isinstance(choices, list) or not choices:
            raise ShapeError(("choices",), "must be a list with at least one choice")
        return envelope(
            document, "chat.completion", "chat_id", [_choice(c, i) for i, c in enumerate(choices)], fingerprint
        )

    def tokens(self, choice: Document) -> int:
        """See ``script.Shape``."""
        message = choice["message"]
        tokens = count(message.get("content") or "") + count(message.get("refusal") or "")
        return tokens + (count(orjson.dumps(calls).decode()) if (calls := message.get("tool_calls")) else 0)

    def text(self, choice: Document) -> str | None:
        """See ``script.Shape``."""
        message = choice["message"]
        return None if message.get("refusal") or message.get("tool_calls") else message.get("content")

    def chunks(self, choice: Document, per_chunk: int) -> Chunks:
        """See ``script.Shape``."""
        message = choice["message"]
        text, refusal, calls = message.get("content"), message.get("refusal"), message.get("tool_calls")
        first: Document = {"role": message["role"], "content": None if text is None else ""}
        deltas: list[tuple[int, Document]] = [(n, {"content": piece}) for n, piece in sized(text or "", per_chunk)]
        if refusal is None:
            if text is not None:
                first["refusal"] = None
        else:
            first["refusal"] = ""
            deltas += [(n, {"refusal": piece}) for n, piece in sized(refusal, per_chunk)]
        for index, call in enumerate(calls or ()):
            arguments = call["function"].get("arguments") or ""
            opener = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
            if index == 0 and len(calls) == 1 and not deltas:
                first["tool_calls"] = [opener]
            else:
                deltas.append((1, {"tool_calls": [opener]}))
            if arguments:
                said = {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}
                deltas.append((count(arguments), said))
        known = ("role", "content", "refusal", "tool_calls", "annotations")
        first.update({key: value for key, value in message.items() if key not in known and value is not None})

        def chunk(delta: Document, finish: str | None = None) -> bytes:
            return fragment({"index": choice["index"], "delta": delta, "logprobs": None, "finish_reason": finish})

        steps = [(tokens, [chunk(delta)]) for tokens, delta in deltas] or [(0, [])]
        steps[0][1].insert(0, chunk(first))
        return [*steps, (0, [chunk({}, choice["finish_reason"])])]


def _choice(choice: Any, index: int) -> Document:
    """Fill in what a file's choice lacks."""
    path: tuple[str | int, ...] = ("choices", index)
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise ShapeError(path, "must be an object with a 'message' that is one")
    message = choice["message"]
    for name in ("content", "refusal"):
        if not isinstance(message.get(name), str | None):
            raise ShapeError((*path, "message", name), "must be a string or null")
    calls = message.get("tool_calls")
    if calls is not None:
        good = isinstance(calls, list) and all(
            isinstance(call, dict) and isinstance(call.get("function"), dict) for call in calls
        )
        if not good or not all(isinstance(call["function"].get("arguments", ""), str) for call in calls):
            form = "[{id, type, function: {name, arguments: a string}}, …]"
            raise ShapeError((*path, "message", "tool_calls"), f"must have the form {form}")
    made = message.get("content") == OUTPUT
    finish = choice.get("finish_reason") or ("tool_calls" if calls else FINISH_REASON if made else "stop")
    return {
        "index": index,
        "message": {"role": "assistant", "content": None, "refusal": None, "annotations": [], **message},
        "logprobs": None,
        **{key: value for key, value in choice.items() if key not in ("index", "message", "finish_reason")},
        "finish_reason": finish,
    }


def document_of(text: str) -> Document:
    """Return the document that says ``text``."""
    return {"choices": [{"message": {"content": text}}]}


class Chat:
    """The endpoint."""

    def __init__(self, rulebook: Rulebook) -> None:
        self._rulebook = rulebook

    def __call__(self, request: Request, unique: str) -> Reply | Stream:
        """Answer a request."""
        ask = parse(checks.parse(request.body), unique)
        ask.request = request
        return self._rulebook.answer(ask)

    def say(self, body: Document, unique: str, file: str | None = None) -> Reply | Stream:
        """Answer a parsed request, by the rules or by a response file."""
        ask = parse(body, unique)
        return self._rulebook.send(ask, self._rulebook.script(ask, file))
