"""Write rules from recordings: a configuration that people read and edit."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson
import yaml

from fastmock.cassettes.answers import ReadAnswer, ReadToolCall, last_user_text, read_answer
from fastmock.cassettes.cassette import Recording

_LONGEST_NAME = 40  # characters
_SECTIONS: Mapping[str, str] = {
    "/chat/completions": "chat_completions",
    "/responses": "chat_completions",
    "/messages": "chat_completions",
    "/completions": "completions",
    "/embeddings": "embeddings",
    "/moderations": "moderations",
}
_NO_REPLY = ("embeddings", "moderations")


class Converted(NamedTuple):
    """A configuration, and the recordings that are not in it: their names with the reasons."""

    config: dict[str, Any]
    left_out: list[str]

    def as_yaml(self) -> str:
        """Return the configuration as YAML, with the recordings that are not in it as comments."""
        text = yaml.dump(self.config, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
        return "".join(f"# not carried over: {line}\n" for line in self.left_out) + text


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text and not any(line.endswith(" ") for line in text.split("\n")) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_list(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.SequenceNode:
    is_vector = bool(values) and all(isinstance(value, float) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=is_vector)


_Dumper.add_representer(str, _represent)
_Dumper.add_representer(list, _represent_list)


def rules_from(recordings: Iterable[tuple[str, Recording]]) -> Converted:
    """Return rules that answer as recordings did.

    A rule matches the model, the last message of the user and the turn of the conversation. Of recordings with equal
    conditions the first one counts.
    """
    left_out: list[str] = []
    rules: dict[str, list[dict[str, Any]]] = {}
    seen: dict[bytes, str] = {}
    faults: list[dict[str, Any]] = []
    for name, recording in recordings:
        found = _rule_of(recording)
        if isinstance(found, str):
            left_out.append(f"{name}: {found}")
            continue
        section, rule = found
        key = orjson.dumps((section, rule["match"]))
        if key in seen:
            left_out.append(f"{name}: {seen[key]} has the same conditions")
            continue
        seen[key] = name
        if section == "faults":
            faults.append(rule)
        else:
            rules.setdefault(section, []).append(rule)
    config: dict[str, Any] = {}
    if rules:
        config["responses"] = {section: {"rules": made} for section, made in rules.items()}
    if faults:
        config["faults"] = faults
    return Converted(config, left_out)


def _rule_of(recording: Recording) -> tuple[str, dict[str, Any]] | str:
    """Return the section and the rule of a recording, or why there is none."""
    request, answer = recording.request, recording.answer
    section = next((section for end, section in _SECTIONS.items() if request.path.endswith(end)), None)
    if section is None or request.method != "POST":
        return f"{request.method} {request.path} has no rules"
    body = request.body.value
    if not isinstance(body, dict):
        return "its request is not a JSON object"
    match = _match_of(body)
    if answer.status >= 400:
        error = {"kind": "status", "status": answer.status, "match": match}
        if (wait := answer.headers.get("retry-after", "")).isdigit():
            error["retry_after"] = int(wait)
        return "faults", error
    found = read_answer(answer)
    reply = _vector_or_flags(body, found) if section in _NO_REPLY else _reply_of(found)
    if isinstance(reply, str):
        return reply
    return section, {"name": _name_of(match), "match": match, **reply}


def _match_of(body: Mapping[str, Any]) -> dict[str, Any]:
    match: dict[str, Any] = {}
    if isinstance(model := body.get("model"), str):
        match["model"] = model
    if text := last_user_text(body):
        match["content"] = text
    messages = body.get("messages", body.get("input"))
    if isinstance(messages, list):
        turns = sum(isinstance(one, dict) and one.get("role") == "assistant" for one in messages)
        if turns:
            match["turn"] = turns + 1
    return match


def _reply_of(found: ReadAnswer) -> dict[str, Any] | str:
    """Return the reply of a rule, or why there is none."""
    reply: dict[str, Any] = {}
    for name, text in (("reasoning", found.reasoning), ("refusal", found.refusal), ("content", found.text)):
        if text:
            reply[name] = text.replace("$", "$$")  # which begins a variable in templates
    if found.calls:
        reply["tool_calls"] = [*map(_call_of, found.calls)]
    return reply or "its answer has no text and no tool call"


def _call_of(call: ReadToolCall) -> dict[str, Any]:
    try:
        arguments: Any = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        arguments = call.arguments
    return {"name": call.name, "arguments": arguments}


def _vector_or_flags(body: Mapping[str, Any], found: ReadAnswer) -> dict[str, Any] | str:
    """Return the reply of a rule for embeddings or moderations, or why there is none."""
    if found.flagged is not None:
        return {"flag": found.flagged}
    if len(found.vectors) != 1:
        return f"it has {len(found.vectors)} vectors, and a rule has one"
    return {"vector": found.vectors[0]}


def _name_of(match: Mapping[str, Any]) -> str:
    text = " ".join(str(match.get("content") or match.get("model") or "any").split())
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"
