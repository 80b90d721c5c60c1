"""Convert a mockllm ``responses.yml`` to a configuration.

The format, and mockllm's use of it (source: its release of April 2025):

    responses:            # the last user message, exactly -> the answer
      "what colour is the sky?": "Blue."
    defaults:
      unknown_response: "I don't know."
    settings:
      lag_enabled: true   # an answer takes len(answer) / (lag_factor * 10) seconds
      lag_factor: 10
"""

import re
from collections.abc import Mapping
from typing import Any

from fastmock.core.problems import Problem, SettingPath, did_you_mean, dotted
from fastmock.core.variables import MARK
from fastmock.rules.settings import Responses

_is_class = re.compile(r"[\w.]+:\w+").fullmatch
_TOKENS = re.compile(r"\w+|[^\w\s]")
_UNKNOWN = "I don't know the answer to that."  # mockllm's reply to an unknown prompt when the file sets none
_FACTOR = 10  # mockllm's default too
_PARTS: Mapping[str, tuple[str, ...]] = {
    "responses": (),
    "defaults": ("unknown_response",),
    "settings": ("lag_enabled", "lag_factor"),
}


def is_mockllm(data: Mapping[Any, Any]) -> bool:
    """Return whether a document is a mockllm file, by its shape: prompts with their answers in place of fastmock's
    endpoints.
    """
    answers = data.get("responses")
    if not isinstance(answers, Mapping) or not data.keys() <= _PARTS.keys():
        return False
    if any(isinstance(answer, Mapping) for answer in answers.values()):
        return False
    if len(data) > 1:  # fastmock has neither of the other sections
        return True
    manager = answers.get("manager")
    if isinstance(manager, str) and _is_class(manager):
        return False
    ours = Responses.model_fields.keys()
    return not all(name in ours or did_you_mean(str(name), ours) for name in answers)


class Translation:
    """A mockllm document converted to settings.

    Attributes:
        settings: the equivalent settings.
        problems: the errors in the document.
        warnings: the parts without effect.
    """

    def __init__(self, data: Mapping[Any, Any], file: str) -> None:
        """Convert the contents of ``file``."""
        self._file = file
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        parts = {name: self._part(data, name, known) for name, known in _PARTS.items()}
        self._factor = self._lag(parts["settings"])
        patterns = []
        for prompt, answer in parts["responses"].items():
            if isinstance(prompt, str):
                said = self._said(answer, ("responses", prompt))
                patterns.append({"match": {"content": _text(prompt)}, **said})
            else:
                self._wrong(("responses", str(prompt)), "must be a text; write the prompt in quotes")
        default = self._said(parts["defaults"].get("unknown_response", _UNKNOWN), ("defaults", "unknown_response"))
        answers = {"rules": patterns, "default": default}
        # mockllm requires no API key.
        self.settings: dict[str, Any] = {"auth": {"mode": "off"}, "responses": {"chat_completions": answers}}

    def _wrong(self, path: SettingPath, message: str) -> None:
        self.problems.append(Problem(self._file, dotted(path), message))

    def _part(self, data: Mapping[Any, Any], name: str, known: tuple[str, ...]) -> Mapping[Any, Any]:
        part = {} if data.get(name) is None else data[name]
        if not isinstance(part, Mapping):
            self._wrong((name,), "must be an object")
            return {}
        for inner in part if known else ():
            if inner not in known:
                near = did_you_mean(str(inner), known)
                self.warnings.append(f"{self._file}: {name}.{inner}: has no effect, as with mockllm{near}")
        return part

    def _lag(self, settings: Mapping[Any, Any]) -> float | None:
        """Return the lag factor; None without a lag."""
        enabled, factor = settings.get("lag_enabled", False), settings.get("lag_factor", _FACTOR)
        if not isinstance(enabled, bool):
            self._wrong(("settings", "lag_enabled"), f"must be true or false, not {enabled!r}")
        if not isinstance(factor, int | float) or isinstance(factor, bool) or factor <= 0:
            self._wrong(("settings", "lag_factor"), f"must be a number above 0, not {factor!r}")
            return None
        return factor if enabled else None

    def _said(self, answer: Any, path: SettingPath) -> dict[str, Any]:
        if not isinstance(answer, str):
            self._wrong(path, f"must be a text, not {answer!r}; write it in quotes")
            return {}
        text = _text(answer)
        said: dict[str, Any] = {"content": text.replace("$", "$$")}
        if self._factor is not None:
            tokens = len(_TOKENS.findall(text)) or 1  # about as many as a tokenizer counts
            each = 100 * len(text) / self._factor / tokens  # milliseconds
            said["latency"] = {"ttft": each, "itl": each}
        return said


def _text(value: str) -> str:
    """Escape a text so that no part of it is read as a variable."""
    return f"${value.removeprefix(MARK)}" if value.startswith(MARK) else value
