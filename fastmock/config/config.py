"""A loaded configuration: the settings, the origin of each, and the files that they name."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from fastmock.cassettes.cassette import CassetteError, cassettes_in
from fastmock.config.overlay import LocatedRule, RuleSection, RuntimeRule
from fastmock.config.sessions import SessionSettings
from fastmock.config.settings import Settings
from fastmock.core.capabilities import Runtime
from fastmock.core.documents import read_document, read_samples
from fastmock.core.problems import SettingPath
from fastmock.findings.settings import WatchedSessions
from fastmock.rules.settings import MatchingRule, RuleList

CHANGED = "PUT /fastmock/config"
"""The origin of a setting that was changed while the server runs."""


@dataclass(frozen=True)
class Config:
    """Settings with their origins, and the rules and the settings of sessions added while the server runs.

    ``runtimes`` are the runtimes that serve or are to serve, as far as they are chosen.

    ``file`` is None if only defaults, environment and flags were used; ``origins`` maps a path to the flag or variable
    that set it; ``form`` names the format of a file that belongs to another program. ``base`` holds the file, the
    environment and the flags merged, ``base_origins`` their origins, and ``merged`` the runtime changes over them; none
    is ever modified.
    """

    settings: Settings
    file: Path | None = None
    origins: Mapping[SettingPath, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    form: str = ""
    added: tuple[RuntimeRule, ...] = ()
    sessions: Mapping[str, SessionSettings] = field(default_factory=dict)
    runtimes: tuple[Runtime, ...] = ()
    base: Mapping[str, Any] = field(default_factory=dict)
    merged: Mapping[str, Any] = field(default_factory=dict)
    base_origins: Mapping[SettingPath, str] = field(default_factory=dict)
    _documents: dict[str, tuple[Any, Path]] = field(default_factory=dict)
    _rules: dict[RuleSection, list[LocatedRule]] = field(default_factory=dict, init=False, compare=False)
    _written: "dict[RuleSection, tuple[object, list[LocatedRule]]]" = field(
        default_factory=dict, init=False, compare=False
    )

    @property
    def watch(self) -> WatchedSessions:
        """The requests that are watched for findings."""
        return WatchedSessions(
            self.settings.findings.enabled, frozenset(name for name, one in self.sessions.items() if one.findings)
        )

    def where(self, path: SettingPath) -> str:
        """Name the flag, variable, call or file that set the value at ``path``."""
        if str(path[0]).startswith("rules["):
            return ""
        origin = next((found for end in range(len(path), 0, -1) if (found := self.origins.get(path[:end]))), None)
        return origin or (str(self.file) if self.file else "")

    def rules(self, section: RuleSection) -> list[LocatedRule]:
        """Return the rules of an endpoint in the order in which they are tried.

        The highest priority comes first; among equal priorities the rules added at runtime, newest first, then those of
        the configuration in file order.
        """
        if not self._rules:
            added: dict[str, list[LocatedRule]] = {}
            for one in self.added:
                added.setdefault(one.section, []).append(one.placed)
            for name in get_args(RuleSection):
                rules = [*reversed(added.get(name, ())), *self._written_rules(name)]
                rules.sort(key=lambda rule: -rule.pattern.priority)
                self._rules[name] = rules
        return self._rules[section]

    def _written_rules(self, section: RuleSection) -> list[LocatedRule]:
        """Return the rules of the configuration; cached as long as a change leaves them alone."""
        answers: RuleList = getattr(self.settings.responses, section)
        key = answers.rule_key
        rules: list[MatchingRule] = getattr(answers, key)
        known = self._written.get(section)
        if known is None or known[0] is not rules:
            placed = [
                LocatedRule(one.name or f"{section}.{key}[{place}]", ("responses", section, key, place), one)
                for place, one in enumerate(rules)
            ]
            known = self._written[section] = rules, placed
        return known[1]

    def find(self, name: str) -> Path:
        """Resolve a file named in the configuration: beside the configuration file, else in the working directory."""
        beside = self.file.parent / name if self.file else Path(name)
        return beside if os.path.exists(beside) else Path(name)  # noqa: PTH110 - pathlib's raises for impossible names

    def document(self, name: str) -> tuple[Any, Path]:
        """Return the contents of a file named in the configuration, and its path.

        The file is read once: every process that inherits this configuration, such as a worker, sees the same contents.

        Raises:
            DocumentError: it cannot be read.
        """
        if name not in self._documents:
            file = self.find(name)
            self._documents[name] = read_document(file), file
        return self._documents[name]

    def reads_the_same_files(self, other: "Config") -> bool:
        """Return whether another configuration has the same contents of the files that both name."""
        return self._documents is other._documents

    def files(self) -> list[Path]:
        """Return the files that were read because the configuration names them."""
        found = [file for _, file in self._documents.values()]
        for name in self.settings.cassettes.files:
            place = self.find(name)
            with suppress(CassetteError):  # it does not exist any more
                found += [place, *cassettes_in(place)]
        return found

    def samples(self, name: str) -> list[float]:
        """Return the recorded samples in a file named in the configuration; it is also read once.

        Raises:
            DocumentError: it cannot be read as such.
        """
        key = f"samples {name}"
        if key not in self._documents:
            file = self.find(name)
            self._documents[key] = read_samples(file), file
        samples: list[float] = self._documents[key][0]
        return samples
