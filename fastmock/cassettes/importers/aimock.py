"""Write rules from the fixtures of aimock."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from fastmock.cassettes.importers.written import ImportFailedError, documents_of
from fastmock.cassettes.rules_from import Converted

_MATCHES = {"userMessage": "content_contains", "inputText": "content_contains", "systemMessage": "system_prompt"}
_OF_EMBEDDINGS = ("embedding", "embeddings")


def is_fixtures(path: Path) -> bool:
    """Return whether a file holds fixtures, or a directory has files with them and no cassettes."""
    if path.is_dir():
        files = [*path.glob("*.json")]
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
    for path in (file for place in places for file in (sorted(place.glob("*.json")) if place.is_dir() else [place])):
        for name, document in documents_of(path):
            fixtures = document.get("fixtures") if isinstance(document, Mapping) else document
            if not isinstance(fixtures, list):
                raise ImportFailedError(f"{name} has no list 'fixtures'")
            for number, fixture in enumerate(fixtures):
                try:
                    _add(fixture, sections, faults)
                except ValueError as error:
                    left_out.append(f"{name}: fixtures[{number}]: {error}")
    config: dict[str, Any] = {}
    if sections:
        config["responses"] = {section: {"rules": rules} for section, rules in sections.items()}
    if faults:
        config["faults"] = faults
    return Converted(config, left_out)


def _add(fixture: Any, sections: dict[str, list[dict[str, Any]]], faults: list[dict[str, Any]]) -> None:
    """Add the rule or the fault of a fixture; raise ValueError if there is none."""
    if not isinstance(fixture, Mapping) or not isinstance(response := fixture.get("response"), Mapping):
        raise ValueError("has no object 'response'")
    match = _match_of(fixture.get("match") or {})
    if isinstance(error := response.get("error"), Mapping):
        faults.append(
            {"kind": "status", "status": int(response.get("status") or error.get("status") or 500), "match": match}
        )
        return
    if isinstance(vector := response.get("embedding"), list):
        sections.setdefault("embeddings", []).append({"match": match, "vector": vector})
        return
    rule: dict[str, Any] = {"match": match}
    for theirs, ours in (("reasoning", "reasoning"), ("content", "content")):
        value = response.get(theirs)
        if value is not None:
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
            rule[ours] = text.replace("$", "$$")
    if calls := response.get("toolCalls"):
        rule["tool_calls"] = [{"name": one["name"], "arguments": one.get("arguments", {})} for one in calls]
    if len(rule) == 1:
        raise ValueError(f"its response has only {', '.join(response) or 'nothing'}")
    if isinstance(wait := fixture.get("latency"), int | float) and not isinstance(wait, bool):
        rule["latency"] = {"itl": wait}
    sections.setdefault("chat_completions", []).append(rule)


def _match_of(given: Any) -> dict[str, Any]:
    """Return the conditions of a rule; raise ValueError if one has no counterpart."""
    if not isinstance(given, Mapping):
        raise ValueError("its match is not an object")
    match: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or name in ("sequenceIndex", "endpoint"):
            continue
        if name in _MATCHES and isinstance(value, str):
            match[_MATCHES[name]] = value
        elif name == "model" and isinstance(value, str):
            match["model"] = value
        elif name == "toolName" and isinstance(value, str):
            match["tool"] = value
        elif name == "turnIndex" and isinstance(value, int):
            match["turn"] = value + 1
        else:
            raise ValueError(f"its condition {name!r} has no counterpart")
    return match
