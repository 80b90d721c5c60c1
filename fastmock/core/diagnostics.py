"""Errors and warnings found while a configuration is compiled."""

from collections.abc import Iterable
from typing import Protocol

from fastmock.core.problems import Problem, SettingPath, dotted


class Origins(Protocol):
    """The configuration that is being compiled."""

    @property
    def warnings(self) -> Iterable[str]:
        """The warnings from loading the configuration."""

    def where(self, path: SettingPath) -> str:
        """Return the file, variable or flag that a setting comes from."""


class Diagnostics:
    """Collected errors and warnings of a compilation."""

    def __init__(self, config: Origins) -> None:
        self._config = config
        self.problems: list[Problem] = []
        self.warnings: list[str] = list(config.warnings)

    def error(self, path: SettingPath, message: str, file: str = "") -> None:
        """Add an error at ``path`` in the configuration, or in ``file``."""
        self.problems.append(Problem(file or self._config.where(path), dotted(path), message))

    def warn(self, path: SettingPath, message: str) -> None:
        """Add a warning: the setting is valid, but probably not intended."""
        self.warnings.append(str(Problem(self._config.where(path), dotted(path), message)))
