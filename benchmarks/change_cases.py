"""Generate changes of a running server's configuration, valid and broken, over the control API and in its files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from benchmarks.change_files import (
    COSTLY_FILES,
    COSTLY_MANAGERS,
    EITHER_FILES,
    MANAGERS,
    REFUSED_FILES,
    alias_bomb,
    base_config,
    dumped,
    replaces,
    writes,
)

Expected = Literal["valid", "broken", "either"]
"""Whether a change must be applied, must be refused, or either."""

NEVER = {"session": "nobody"}  # a match that no request of the load satisfies
COSTLY_SHARE = 0.002  # of changes that may use up the server's time limit for a change


@dataclass
class Change:
    """A change: a control API call or, with ``write``, a new configuration file that SIGHUP makes the server read.

    Attributes:
        kind: its name in reports.
        expected: its required outcome.
        method: the method of the call.
        path: the path of the call, below ``/fastmock/``.
        body: the body of the call.
        write: writes the configuration file.
        probe: a user message, and the reply that it must get once the change is active.
        setting: a path in ``GET /fastmock/config``, and its required value then.
    """

    kind: str
    expected: Expected
    method: str = ""
    path: str = ""
    body: bytes = b""
    write: Callable[[Path], None] | None = None
    probe: tuple[str, str] | None = None
    setting: tuple[tuple[str, ...], Any] | None = None


def nested(key: str, depth: int) -> dict[str, Any]:
    """Return a condition nested ``depth`` deep."""
    inner: dict[str, Any] = {}
    for _ in range(depth):
        inner = {key: inner} if key == "not" else {key: [inner]}
    return inner


class ChangeGenerator:
    """Draws changes; the same seed draws the same ones."""

    def __init__(self, seed: int, kinds: str = "") -> None:
        """Prepare to draw.

        Args:
            seed: selects the changes.
            kinds: draw only kinds whose name contains this; all if empty.
        """
        self._random = Random(seed)
        self._number = 0
        makers: list[tuple[str, float, Callable[[str], Change]]] = [
            ("rule added", 10, self._rule),
            ("rules replaced", 2, self._rules),
            ("rule put", 4, self._rule_put),
            ("rule deleted", 4, self._rule_deleted),
            ("settings put", 10, self._settings),
            ("reset", 2, self._reset),
            ("file reloaded", 6, self._reload),
            ("rule broken", 8, self._broken_rule),
            ("rule of an odd file", 6, self._odd_file),
            ("rule nested deeply", 3, self._nested_rule),
            ("call malformed", 6, self._malformed),
            ("settings broken", 8, self._broken_settings),
            ("manager broken", 4, self._manager),
            ("samples of an odd file", 3, self._samples),
            ("file broken", 6, self._broken_reload),
        ]
        costly: list[tuple[str, float, Callable[[str], Change]]] = [
            ("costly file", 1, self._costly_file),
            ("costly manager", 1, self._costly_manager),
            ("costly glob", 1, self._costly_glob),
            ("costly configuration file", 1, self._costly_reload),
        ]
        self._makers = [maker for maker in makers if kinds in maker[0]]
        self._costly = [maker for maker in costly if kinds in maker[0]]

    def __iter__(self) -> "ChangeGenerator":
        return self

    def __next__(self) -> Change:
        self._number += 1
        is_costly = not self._makers or (bool(self._costly) and self._random.random() < COSTLY_SHARE)
        makers = self._costly if is_costly else self._makers
        kind, _, make = self._random.choices(makers, [weight for _, weight, _ in makers])[0]
        return make(kind)

    # Valid changes.

    def _one_rule(self) -> dict[str, Any]:
        number, random = self._number, self._random
        rule: dict[str, Any] = {
            "match": {"content": f"probe {number}"},
            "content": f"answer {number}",
            "priority": number,
        }
        if random.random() < 0.3:
            rule["match"] |= random.choice(({"model": "gpt-*"}, {"content_regex": "pro+be"}, {"any": [{"turn": 1}]}))
        if random.random() < 0.2:
            rule["name"] = random.choice(("a", "é" * 100, "🙂", "x" * 300))
        return rule

    def _probe(self) -> tuple[str, str]:
        return f"probe {self._number}", f"answer {self._number}"

    def _rule(self, kind: str) -> Change:
        return Change(kind, "valid", "POST", "rules", dumped(self._one_rule()), probe=self._probe())

    def _rules(self, kind: str) -> Change:
        rules = [self._one_rule(), {"match": NEVER, "content": "x"}]
        return Change(kind, "valid", "PUT", "rules", dumped(rules), probe=self._probe())

    def _rule_put(self, kind: str) -> Change:
        rule_id = f"rule-{self._random.randrange(self._number + 20)}"
        return Change(kind, "either", "PUT", f"rules/{rule_id}", dumped(self._one_rule()))

    def _rule_deleted(self, kind: str) -> Change:
        path = f"rules/rule-{self._random.randrange(self._number + 20)}" if self._random.random() < 0.9 else "rules"
        return Change(kind, "either", "DELETE", path)

    def _settings(self, kind: str) -> Change:
        random = self._random
        path, value = random.choice(
            (
                (("latency", "ttft"), random.choice((0.0, 1.0, 3.0))),
                (("journal", "enabled"), random.random() < 0.8),
                (("limits", "requests_per_minute"), random.randrange(10**7, 10**8)),
                (("tools", "auto_call"), random.random() < 0.5),
                (("usage", "simulate_prompt_cache"), random.random() < 0.5),
                (("output", "kind"), random.choice(("lorem", "echo", "counter", None))),
                (("stored", "strict_ids"), random.random() < 0.5),
                (("streaming", "tokens_per_chunk"), random.randint(1, 9)),
                (("seed",), random.randrange(100)),
            )
        )
        body: Any = value
        for name in reversed(path):
            body = {name: body}
        return Change(kind, "valid", "PUT", "config", dumped(body), setting=(path, value))

    def _reset(self, kind: str) -> Change:
        body = self._random.choice((b"", b"{}", b'{"rules": true}', b'{"config": true, "journal": true}'))
        return Change(kind, "valid", "POST", "reset", body)

    def _reload(self, kind: str) -> Change:
        value = f"reload {self._number}"
        config = base_config(value)
        return Change(kind, "valid", write=writes(dumped(config)), probe=("reload probe", value))

    # Broken changes.

    def _broken_rule(self, kind: str) -> Change:
        random = self._random
        rule = self._one_rule()
        key, value = random.choice(
            (
                ("match", {"content_regex": "(" * random.choice((1, 5000))}),
                ("match", {"content_regex": 7}),
                ("match", {"unknown": "x"}),
                ("match", []),
                ("match", {"any": {}}),
                ("content", ["x"]),
                ("content", {}),
                ("priority", "high"),
                ("priority", 10**40),
                ("unknown", 1),
                ("endpoint", "nothing"),
                ("id", "a b"),
                ("id", "x" * 5000),
                ("id", ["a"]),
                ("tool_calls", [{"arguments": {}}]),
                ("responses", []),
                ("latency", {"ttft": -1}),
                ("latency", {"preset": "none"}),
                ("output", {"kind": "poem"}),
                ("response", 5),
            )
        )
        return Change(kind, "broken", "POST", "rules", dumped(rule | {key: value}))

    def _odd_file(self, kind: str) -> Change:
        is_refused = self._random.random() < 0.7
        name = self._random.choice(REFUSED_FILES if is_refused else EITHER_FILES)
        rule = {"match": NEVER, "response_file": name}
        return Change(f"{kind} {name[:20]!r}", "broken" if is_refused else "either", "POST", "rules", dumped(rule))

    def _nested_rule(self, kind: str) -> Change:
        random = self._random
        depth = random.choice((10, 60, 200, 250, 480, 900, 3000))
        key = random.choice(("not", "any", "all", "arguments", "response"))
        rule: dict[str, Any] = {"match": NEVER, "content": "x"}
        if key in ("not", "any", "all"):
            rule["match"] = {"all": [NEVER, nested(key, depth)]}
        else:
            value: Any = 1
            for _ in range(depth):
                value = [value]
            rule = {"match": NEVER}
            rule |= (
                {"response": {"a": value}}
                if key == "response"
                else {"tool_calls": [{"name": "x", "arguments": {"a": value}}]}
            )
        return Change(f"{kind} {key} {depth}", "either", "POST", "rules", dumped(rule))

    def _malformed(self, kind: str) -> Change:
        random = self._random
        method, path = random.choice((("POST", "rules"), ("PUT", "rules"), ("PUT", "rules/a"), ("PUT", "config")))
        name, body = random.choice(
            (
                ("truncated", b'{"match": {"content": "x"'),
                ("not UTF-8", b'{"content": "\xff"}'),
                ("surrogate", b'{"match": {}, "content": "\\ud800"}'),
                ("deep", b"[" * 100_000 + b"]" * 100_000),
                ("deep object", b'{"match":' * 1000 + b"1" + b"}" * 1000),
                ("huge number", b'{"match": {}, "content": "x", "priority": ' + b"9" * 5000 + b"}"),
                ("text", b'"text"'),
                ("numbers", b"[1, null]"),
                ("NaN", b'{"latency": {"ttft": NaN}}'),
                ("zeros", b"\0" * 1000),
            )
        )
        return Change(f"{kind}: {name}", "broken", method, path, body)

    def _broken_settings(self, kind: str) -> Change:
        patch: dict[str, Any] = self._random.choice(
            (
                {"latency": {"ttft": "soon"}},
                {"latency": {"ttft": {"distribution": "lognormal", "mean": -1}}},
                {"unknown": 1},
                {"server": {"workers": "many"}},
                {"server": []},
                {"seed": 10**40},
                {"faults": [{"kind": "unknown"}]},
                {"faults": {"a": 1}},
                {"faults": [{"kind": "status", "match": {"content_regex": "("}}]},
                {"responses": {"chat_completions": {"default": "missing.json"}}},
                {"responses": {"chat_completions": {"default": "x" * 300}}},
                {"responses": {"embeddings": {"default": "a\0b"}}},
                {"per_model": [{"latency": {}}]},
                {"models": {"available": [1]}},
                {"limits": {"requests_per_minute": -1}},
                {"limits": {"per": [{"api_key": []}]}},
                {"auth": {"mode": "none"}},
                {"journal": {"enabled": "maybe"}},
                {"output": {"tokens": {"file": "missing.txt"}}},
                {"limits": {"store": "no-url"}},
            )
        )
        return Change(f"{kind}: {next(iter(patch))}", "broken", "PUT", "config", dumped(patch))

    def _manager(self, kind: str) -> Change:
        name = self._random.choice((*MANAGERS, "missing", "a\0b", "x" * 300, "", ":", "os.path"))
        body = dumped({"responses": {"manager": f"{name}:Manager"}})
        return Change(f"{kind}: {name[:20]!r}", "broken", "PUT", "config", body)

    def _samples(self, kind: str) -> Change:
        name = self._random.choice((*REFUSED_FILES, *EITHER_FILES, "good.json"))
        section, key = self._random.choice((("latency", "ttft"), ("output", "tokens")))
        body = dumped({section: {key: {"file": name}}})
        return Change(f"{kind} {name[:20]!r}", "broken" if name in REFUSED_FILES else "either", "PUT", "config", body)

    def _broken_reload(self, kind: str) -> Change:
        random = self._random
        config = base_config("broken")
        texts: dict[str, bytes] = {
            "truncated": dumped(config)[:-3],
            "no YAML": b"a: [1\n b: }",
            "empty list": b"[]",
            "not UTF-8": b"a: \xff\xfe",
            "zeros": b"\0" * 100,
            "unknown key": dumped(config | {"unknown": 1}),
            "wrong type": dumped(config | {"stored": 7}),  # a section that no change over the control API covers
            "missing file": dumped(config | {"responses": {"chat_completions": {"default": "missing.json"}}}),
            "long name": dumped(config | {"responses": {"chat_completions": {"default": "x" * 300}}}),
            "locked directory": dumped(config | {"responses": {"chat_completions": {"default": "loop.json/x"}}}),
            "zero in a name": dumped(config | {"responses": {"chat_completions": {"default": "a\0b"}}}),
            "deep": b"[" * 3000 + b"]" * 3000,
            "alias bomb": alias_bomb().encode(),
            "manager": dumped(config | {"responses": {"manager": f"{random.choice(list(MANAGERS))}:Manager"}}),
            "Python object": b"a: !!python/object/apply:os._exit [1]",
        }
        name = random.choice((*texts, "no file", "directory", "loop of links"))
        return Change(f"{kind}: {name}", "broken", write=writes(texts[name]) if name in texts else replaces(name))

    # Changes that may use up the time limit.

    def _costly_file(self, kind: str) -> Change:
        name = self._random.choice(COSTLY_FILES)
        rule = {"match": NEVER, "response_file": name}
        return Change(f"{kind}: {name}", "broken", "POST", "rules", dumped(rule))

    def _costly_manager(self, kind: str) -> Change:
        name = self._random.choice(list(COSTLY_MANAGERS))
        body = dumped({"responses": {"manager": f"{name}:Manager"}})
        return Change(f"{kind}: {name}", "broken", "PUT", "config", body)

    def _costly_glob(self, kind: str) -> Change:
        glob = self._random.choice(("[" * 10_000, "*a" * 5000, "?" * 100_000, "[!" * 5000))
        return Change(kind, "either", "POST", "rules", dumped({"match": {"model": glob, **NEVER}, "content": "x"}))

    def _costly_reload(self, kind: str) -> Change:
        name = self._random.choice(("fifo", "device", "manager"))
        if name == "manager":
            manager = self._random.choice(list(COSTLY_MANAGERS))
            config = base_config("broken") | {"responses": {"manager": f"{manager}:Manager"}}
            return Change(f"{kind}: {manager}", "broken", write=writes(dumped(config)))
        return Change(f"{kind}: {name}", "broken", write=replaces(name))
