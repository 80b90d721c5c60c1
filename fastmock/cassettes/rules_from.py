"""Write rules from recordings: a configuration that people read and edit."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson
import yaml

from fastmock.cassettes.answers import ReadAnswer, ReadToolCall, last_user_text, read_answer
from fastmock.cassettes.cassette import Recording
from fastmock.core.text import printable

_LONGEST_NAME = 40  # characters
_SECTIONS: Mapping[str, str] = {
    "/chat/completions": "chat_completions",
    "/responses": "chat_completions",
    "/messages": "chat_completions",
    "/completions": "completions",
    "/embeddings": "embeddings",
    "/moderations": "moderations",
}


_TRANSIENT = (408, 409, 429, *range(500, 600))  # statuses of errors that a retry may not meet


class Converted(NamedTuple):
    """A configuration, and the recordings that are not in it: their names with the reasons."""

    config: dict[str, Any]
    left_out: list[str]

    def as_yaml(self) -> str:
        """Return the configuration as YAML, with the recordings that are not in it as comments."""
        text = yaml.dump(self.config, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
        return "".join(f"# not carried over: {printable(line)}\n" for line in self.left_out) + text


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
    conditions the first one counts; rules for a turn come before those for any, which would else always win. An error
    before a success with the same conditions happens as often as it was recorded.
    """
    left_out: list[str] = []
    rules: dict[bytes, tuple[str, str, dict[str, Any]]] = {}
    faults: dict[bytes, list[dict[str, Any]]] = {}
    for name, recording in recordings:
        found = _rules_of(recording)
        if isinstance(found, str):
            left_out.append(f"{name}: {found}")
            continue
        section, made = found
        for rule in made:
            if section == "faults":
                faults.setdefault(orjson.dumps(rule["match"]), []).append(rule)
                continue
            key = orjson.dumps((section, rule["match"]))
            earlier = rules.setdefault(key, (name, section, rule))
            if earlier[2] != rule:
                left_out.append(f"{name}: {earlier[0]} has the same conditions and another answer")
    succeeded = {orjson.dumps(rule["match"]) for _, _, rule in rules.values()}
    config: dict[str, Any] = {}
    for _, section, rule in sorted(rules.values(), key=lambda one: "turn" not in one[2]["match"]):
        config.setdefault("responses", {}).setdefault(section, {"rules": []})["rules"].append(rule)
    for section in config.get("responses", {}).values():
        _distinguish(section["rules"])
    for match, errors in faults.items():
        times = {"times": len(errors)} if match in succeeded else {}
        config.setdefault("faults", []).append({**errors[0], **times})
    return Converted(config, left_out)


def _distinguish(rules: list[dict[str, Any]]) -> None:
    """Number the names of rules that would else be equal."""
    seen: Counter[str] = Counter()
    for rule in rules:
        seen[rule["name"]] += 1
        if (number := seen[rule["name"]]) > 1:
            rule["name"] += f" ({number})"


def _rules_of(recording: Recording) -> tuple[str, list[dict[str, Any]]] | str:
    """Return the section and the rules of a recording, or why there are none."""
    request, answer = recording.request, recording.answer
    section = next((section for end, section in _SECTIONS.items() if request.path.endswith(end)), None)
    if section is None or request.method != "POST":
        return f"{request.method} {request.path} has no rules"
    body = request.body.value
    if not isinstance(body, dict):
        return "its request is not a JSON object"
    match = _match_of(body)
    if section != "embeddings" and "content" not in match:
        return "its request has no text of a user that a rule could match"
    if answer.status >= 400:
        if answer.status not in _TRANSIENT:
            return f"its request was refused with {answer.status}, for reasons that a rule cannot match"
        error = {"kind": "status", "status": answer.status, "match": match}
        if (wait := answer.headers.get("retry-after", "")).isdigit():
            error["retry_after"] = int(wait)
        return "faults", [error]
    found = read_answer(answer)
    if section == "embeddings":
        rules = [*_vectors(body, match, found)]
        return (section, rules) if rules else "its answer has no vector for each input"
    flags = found.flagged if section == "moderations" else None
    reply = _reply_of(found) if flags is None else {"flag": flags}
    if not reply:
        return "its answer has no text and no tool call"
    return section, [{"name": _name_of(match), "match": match, **reply}]


def _vectors(body: Mapping[str, Any], match: dict[str, Any], found: ReadAnswer) -> Iterator[dict[str, Any]]:
    """Yield a rule for each text of a request for embeddings."""
    given = body.get("input")
    texts = given if isinstance(given, list) else [given]
    if len(texts) == len(found.vectors):
        for text, vector in zip(texts, found.vectors, strict=True):
            if isinstance(text, str):  # else it is tokens, which no rule matches
                own = {**match, "content": text}
                yield {"name": _name_of(own), "match": own, "vector": vector}


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


def _reply_of(found: ReadAnswer) -> dict[str, Any]:
    """Return the reply of a rule; empty if there is none."""
    reply: dict[str, Any] = {}
    for name, text in (("reasoning", found.reasoning), ("refusal", found.refusal), ("content", found.text)):
        if text:
            reply[name] = text.replace("$", "$$")  # which begins a variable in templates
    if found.calls:
        reply["tool_calls"] = [*map(_call_of, found.calls)]
    return reply


def _call_of(call: ReadToolCall) -> dict[str, Any]:
    try:
        arguments: Any = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        arguments = call.arguments
    return {"name": call.name, "arguments": arguments}


def _name_of(match: Mapping[str, Any]) -> str:
    text = " ".join(str(match.get("content") or match.get("model") or "any").split())
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"
