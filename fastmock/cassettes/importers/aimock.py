"""Write rules from the fixtures of aimock."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from fastmock.cassettes.importers.written import ImportFailedError, documents_of
from fastmock.cassettes.rules_from import Converted

_OF_TEXT = {"userMessage": "content_contains", "inputText": "content_contains", "model": "model", "toolName": "tool"}
_ENDPOINTS = ("chat", "embedding")
_LOST = ("truncateAfterChunks", "disconnectAfterMs", "chaos", "recordedTimings")
"""Fields of a fixture that have no counterpart in a rule."""
_OVERRIDES = ("id", "created", "model", "usage", "systemFingerprint", "finishReason", "role", "webSearches")
"""Fields of its response that have none."""


def is_fixtures(path: Path) -> bool:
    """Return whether a file holds fixtures, or a directory has files with them and no cassettes."""
    if path.is_dir():
        files = [*path.rglob("*.json")]
        return bool(files) and not any(path.rglob("*.jsonl"))
    return path.suffix == ".json"


def rules_of_fixtures(places: Iterable[Path]) -> Converted:
    """Return rules that match and answer as fixtures do.

    Raises:
        ImportFailedError: a file does not hold fixtures.
    """
    left_out: list[str] = []
    sections: dict[str, list[dict[str, Any]]] = {}
    faults: list[dict[str, Any]] = []
    for path in (file for place in places for file in (sorted(place.rglob("*.json")) if place.is_dir() else [place])):
        for name, document in documents_of(path):
            fixtures = document.get("fixtures") if isinstance(document, Mapping) else document
            if not isinstance(fixtures, list):
                raise ImportFailedError(f"{name} has no list 'fixtures'")
            for number, fixture in enumerate(fixtures):
                try:
                    lost = _add(fixture, sections, faults)
                except (AttributeError, KeyError, TypeError, ValueError) as error:
                    lost = str(error) if type(error) is ValueError else f"is malformed: {error!r}"
                if lost:
                    left_out.append(f"{name}: fixtures[{number}]: {lost}")
    config: dict[str, Any] = {}
    if sections:
        config["responses"] = {section: {"rules": rules} for section, rules in sections.items()}
    if faults:
        config["faults"] = faults
    return Converted(config, left_out)


def _add(fixture: Any, sections: dict[str, list[dict[str, Any]]], faults: list[dict[str, Any]]) -> str:
    """Add the rule or the fault of a fixture; return what was lost, empty if nothing was.

    Raises:
        ValueError: there is no rule for it.
    """
    if not isinstance(fixture, Mapping) or not isinstance(response := fixture.get("response"), Mapping):
        raise ValueError("has no object 'response'")
    match = _match_of(fixture.get("match") or {})
    if isinstance(error := response.get("error"), Mapping):
        fault = {"kind": "status", "status": int(response.get("status") or error.get("status") or 500), "match": match}
        if isinstance(wait := response.get("retryAfter"), int | float):
            fault["retry_after"] = wait
        faults.append(fault)
    elif isinstance(vector := response.get("embedding"), list):
        sections.setdefault("embeddings", []).append({"match": match, "vector": vector})
    else:
        rule = {"match": match, **_reply_of(response), **_latency_of(fixture)}
        sections.setdefault("chat_completions", []).append(rule)
    lost = [name for name in _LOST if fixture.get(name) is not None]
    lost += [name for name in _OVERRIDES if response.get(name) is not None]
    return f"without {', '.join(lost)}" if lost else ""


def _reply_of(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reply of a rule; raise ValueError if there is none."""
    text, calls = response.get("content"), list(response.get("toolCalls") or ())
    if isinstance(blocks := response.get("blocks"), list):  # they have the same content, in its order
        text = "".join(one.get("text", "") for one in blocks if one.get("type") == "text") or None
        calls = [one for one in blocks if one.get("type") == "toolCall"]
    reply: dict[str, Any] = {}
    for name, value in (("reasoning", response.get("reasoning")), ("content", text)):
        if value is not None:
            written = value if isinstance(value, str) else orjson.dumps(value).decode()
            reply[name] = written.replace("$", "$$")  # which begins a variable in templates
    if calls:
        reply["tool_calls"] = [{"name": one["name"], "arguments": one.get("arguments", {})} for one in calls]
    if not reply:
        raise ValueError(f"its response has only {', '.join(response) or 'nothing'}")
    return reply


def _latency_of(fixture: Mapping[str, Any]) -> dict[str, Any]:
    """Return the latency of a rule, if a fixture has one."""
    latency: dict[str, Any] = {}
    if _is_number(wait := fixture.get("latency")):
        latency["itl"] = wait
    profile = fixture.get("streamingProfile")
    if isinstance(profile, Mapping):
        for theirs, ours in (("ttft", "ttft"), ("tps", "tokens_per_second")):
            if _is_number(value := profile.get(theirs)):
                latency[ours] = value
        if "tokens_per_second" in latency:
            latency.pop("itl", None)
    return {"latency": latency} if latency else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _match_of(given: Any) -> dict[str, Any]:
    """Return the conditions of a rule; raise ValueError if one has no counterpart."""
    if not isinstance(given, Mapping):
        raise ValueError("its match is not an object")
    match: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or (name == "sequenceIndex" and value == 0) or (name == "endpoint" and value in _ENDPOINTS):
            continue
        if name in _OF_TEXT and isinstance(value, str):
            match[_OF_TEXT[name]] = value
        elif name == "systemMessage" and isinstance(value, str | list):
            texts = [{"system_prompt": one} for one in ([value] if isinstance(value, str) else value)]
            match |= texts[0] if len(texts) == 1 else {"all": texts}
        elif name == "hasToolResult" and isinstance(value, bool):
            match["tool_result"] = value
        elif name == "responseFormat" and isinstance(value, str):
            match["response_format"] = value
        elif name == "turnIndex" and _is_number(value):
            match["turn"] = value + 1
        else:
            raise ValueError(f"its condition {name!r} has no counterpart")
    return match
