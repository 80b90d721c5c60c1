"""Render answers as chat completions, streaming and non-streaming."""

from collections.abc import Iterator, Sequence
from typing import Any

from fastmock.content.template import JsonText
from fastmock.content.words import Chunker
from fastmock.core.completion import Answer, ChatRequest, ToolCall
from fastmock.engine.constraints import called_tokens
from fastmock.engine.response_template import (
    FINISH_REASON,
    OUTPUT,
    ChoiceFormatError,
    Chunks,
    Document,
    envelope,
    fragment,
)
from fastmock.rules.settings import ReplySpec

_MESSAGE = ("role", "content", "refusal", "tool_calls", "function_call", "annotations", "reasoning_content")


class ChatChoiceFormat:
    """The choices of chat completions."""

    chunk_object = "chat.completion.chunk"

    def document(self, spec: ReplySpec) -> Document:
        """Return the document of an inline reply."""
        message: Document = {"content": spec.content}
        if spec.content is None and spec.tool_calls is None and spec.refusal is None:
            message["content"] = OUTPUT
        if spec.refusal is not None:
            message["refusal"] = spec.refusal
        if spec.reasoning is not None:
            message["reasoning_content"] = spec.reasoning
        if spec.tool_calls is not None:
            message["tool_calls"] = [
                {
                    "id": call.id or f"${{call_id}}{place or ''}",
                    "type": "function",
                    "function": {
                        "name": call.name.replace("$", "$$"),
                        "arguments": call.arguments.replace("$", "$$")
                        if isinstance(call.arguments, str)
                        else JsonText(call.arguments),
                    },
                }
                for place, call in enumerate(spec.tool_calls)
            ]
        return {"choices": [{"message": message}]}

    def whole(self, document: Document, fingerprint: str) -> Document:
        """Fill in the missing parts of a document from a file; raise ChoiceFormatError if its form is invalid."""
        choices = document.get("choices")
        if not isinstance(choices, list) or not choices:
            raise ChoiceFormatError(("choices",), "must be a list with at least one choice")
        return envelope(
            document, "chat.completion", "chat_id", [_choice(c, i) for i, c in enumerate(choices)], fingerprint
        )

    def answer(self, choice: Document) -> Answer:
        """Return the answer of a rendered choice, without its token count."""
        message = choice["message"]
        calls = [_call(call) for call in message.get("tool_calls") or ()]
        if legacy := message.get("function_call"):
            calls.append(ToolCall("", legacy["name"], legacy.get("arguments") or ""))
        reason = choice["finish_reason"]
        return Answer(
            message.get("content"),
            tuple(calls),
            message.get("refusal"),
            "tool_calls" if reason == "function_call" else reason,
            reasoning=message.get("reasoning_content"),
        )

    def choice(self, answer: Answer, index: int, chat: ChatRequest) -> Document:
        """Render an answer as a choice."""
        constraints = chat.constraints
        legacy = constraints is not None and constraints.legacy
        reason = answer.finish_reason
        if reason == "tool_calls" and constraints is not None and chat.endpoint == "chat_completions":
            reason = "stop" if constraints.named else "function_call" if legacy else reason
        message: Document = {"role": "assistant", "content": answer.text, "refusal": answer.refusal, "annotations": []}
        if answer.reasoning is not None:
            message["reasoning_content"] = answer.reasoning
        if answer.calls and legacy:
            message["function_call"] = {"name": answer.calls[0].name, "arguments": answer.calls[0].arguments}
        elif answer.calls:
            message["tool_calls"] = [_tool_call(call) for call in answer.calls]
        return {"index": index, "message": message, "logprobs": logprobs_of(answer), "finish_reason": reason}

    def chunks(self, choice: Document, chunker: Chunker) -> Chunks:
        """Split a rendered choice into the steps of its stream."""
        message = choice["message"]
        text, refusal, calls = message.get("content"), message.get("refusal"), message.get("tool_calls")
        function = message.get("function_call")
        logprobs = choice.get("logprobs")
        first: Document = {"role": message["role"], "content": None if text is None else ""}
        deltas: list[tuple[int, Document, Any]] = []
        opened = 0  # tokens in the first chunk
        if reasoning := message.get("reasoning_content"):  # as in DeepSeek and vLLM; OpenAI returns none here
            deltas += _deltas("reasoning_content", reasoning, chunker, None)
        deltas += _deltas("content", text, chunker, logprobs)
        if refusal is not None:
            first["refusal"] = ""
            deltas += _deltas("refusal", refusal, chunker, logprobs)
        elif text is not None:
            first["refusal"] = None
        for index, call in enumerate(calls or ()):
            kind, words = ("custom", "input") if "custom" in call else ("function", "arguments")
            opener = {"index": index, **call, kind: {**call[kind], words: ""}}
            named = called_tokens(str(call[kind].get("name") or ""), chunker.tokenizer)
            if index == 0 and len(calls) == 1 and not deltas:
                first["tool_calls"], opened = [opener], named
            else:
                deltas.append((named, {"tool_calls": [opener]}, None))
            for tokens, piece in chunker.cut(call[kind].get(words) or ""):
                deltas.append((tokens, {"tool_calls": [{"index": index, kind: {words: piece}}]}, None))
        if function is not None:
            first["function_call"] = {**function, "arguments": ""}
            opened = called_tokens(str(function.get("name") or ""), chunker.tokenizer)
            for tokens, piece in chunker.cut(function.get("arguments") or ""):
                deltas.append((tokens, {"function_call": {"arguments": piece}}, None))
        first.update({key: value for key, value in message.items() if key not in _MESSAGE and value is not None})

        def chunk(delta: Document, finish: str | None = None, logs: Any = None) -> bytes:
            return fragment({"index": choice["index"], "delta": delta, "logprobs": logs, "finish_reason": finish})

        opening: Any = None if logprobs is None else {"content": [], "refusal": None}
        steps = [(tokens, [chunk(delta, None, logs)]) for tokens, delta, logs in deltas] or [(0, [])]
        steps[0] = steps[0][0] + opened, [chunk(first, None, opening), *steps[0][1]]
        return [*steps, (0, [chunk({}, choice["finish_reason"])])]


def _deltas(name: str, text: str | None, chunker: Chunker, logprobs: Any) -> Iterator[tuple[int, Document, Any]]:
    """Split a text into deltas with their token counts and logprobs."""
    for tokens, piece, logs in pieces(text or "", chunker, (logprobs or {}).get(name)):
        yield tokens, {name: piece}, logs and {"content": None, "refusal": None, name: logs}


def pieces(text: str, chunker: Chunker, logprobs: Sequence[Any] | None) -> Iterator[tuple[int, str, list[Any] | None]]:
    """Split a text into pieces with their token counts and, if present, logprobs."""
    if not logprobs or b"".join(map(_bytes, logprobs)) != text.encode():
        for tokens, piece in chunker.cut(text):
            yield tokens, piece, None
        return
    held: list[Any] = []
    data = b""
    for place, entry in enumerate(logprobs):
        held.append(entry)
        data += _bytes(entry)
        if len(held) < chunker.per_chunk and place < len(logprobs) - 1:
            continue
        try:
            piece = data.decode()
        except UnicodeDecodeError:  # a token may end inside a character
            continue
        yield len(held), piece, held
        held, data = [], b""


def _call(call: Document) -> ToolCall:
    custom = "custom" in call
    inner = call["custom" if custom else "function"]
    arguments = inner.get("input" if custom else "arguments") or ""
    return ToolCall(str(call.get("id") or ""), str(inner.get("name") or ""), arguments, custom)


def _tool_call(call: ToolCall) -> Document:
    if call.custom:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def logprobs_of(answer: Answer) -> Document | None:
    """Return the logprobs of an answer, under ``content`` or ``refusal``; None if they are not requested."""
    if answer.logprobs is None:
        return None
    entries = [
        _entry(one.token, one.logprob) | {"top_logprobs": [_entry(*other) for other in one.top]}
        for one in answer.logprobs
    ]
    return {"content": None, "refusal": entries} if answer.text is None else {"content": entries, "refusal": None}


def _entry(token: bytes, logprob: float | None) -> Document:
    return {"token": token.decode(errors="backslashreplace"), "logprob": logprob, "bytes": list(token)}


def _is_call(call: Any) -> bool:
    """Return whether it is a valid tool call in a response file."""
    inner = (call.get("custom") or call.get("function")) if isinstance(call, dict) else None
    if not isinstance(inner, dict):
        return False
    return all(isinstance(inner.get(words, ""), str | JsonText | None) for words in ("arguments", "input"))


def _are_tokens(entries: Any) -> bool:
    """Return whether these are valid logprobs in a response file."""
    if entries is None:
        return True
    return isinstance(entries, list) and all(
        isinstance(entry, dict)
        and isinstance(entry.get("bytes"), list | None)
        and all(isinstance(byte, int) and 0 <= byte < 256 for byte in entry.get("bytes") or ())
        for entry in entries
    )


def _choice(choice: Any, index: int) -> Document:
    """Fill in the missing parts of a choice from a file."""
    path: tuple[str | int, ...] = ("choices", index)
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise ChoiceFormatError(path, "must be an object with an object 'message'")
    message = choice["message"]
    for name in ("content", "refusal", "reasoning_content"):
        if not isinstance(message.get(name), str | None):
            raise ChoiceFormatError((*path, "message", name), "must be a string or null")
    calls = message.get("tool_calls")
    if calls is not None and not (isinstance(calls, list) and all(map(_is_call, calls))):
        form = "[{id, type, function: {name, arguments: a string}}, …]"
        raise ChoiceFormatError((*path, "message", "tool_calls"), f"must have the form {form}")
    legacy = message.get("function_call")
    if legacy is not None and not (_is_call({"function": legacy}) and isinstance(legacy.get("name"), str)):
        raise ChoiceFormatError((*path, "message", "function_call"), "must have the form {name, arguments: a string}")
    logprobs = choice.get("logprobs")
    if logprobs is not None and not (isinstance(logprobs, dict) and all(map(_are_tokens, logprobs.values()))):
        form = "{content: [{token, logprob, bytes, top_logprobs}, …]}"
        raise ChoiceFormatError((*path, "logprobs"), f"must have the form {form}")
    reason = choice.get("finish_reason")
    if not isinstance(reason, str | None):
        raise ChoiceFormatError((*path, "finish_reason"), "must be a string")
    default = FINISH_REASON if message.get("content") == OUTPUT else "stop"
    finish = reason or ("tool_calls" if calls else "function_call" if legacy else default)
    return {
        "index": index,
        "message": {"role": "assistant", "content": None, "refusal": None, "annotations": [], **message},
        "logprobs": None,
        **{key: value for key, value in choice.items() if key not in ("index", "message", "finish_reason")},
        "finish_reason": finish,
    }


def _bytes(entry: Document) -> bytes:
    """Return the bytes of a token in logprobs."""
    return bytes(entry["bytes"]) if entry.get("bytes") else str(entry.get("token")).encode()
