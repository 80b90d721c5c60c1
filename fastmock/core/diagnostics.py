"""What compiling a configuration turns up."""

from collections.abc import Iterable
from typing import Protocol

from fastmock.core.problems import Problem, SettingPath, dotted


class Origins(Protocol):
    """The configuration that is compiled."""

    @property
    def warnings(self) -> Iterable[str]:
        """The warnings that loading it gave."""

    def where(self, path: SettingPath) -> str:
        """Return the file, variable or flag from which a setting comes."""


class Diagnostics:
    """What compiling turned up: errors, all of them, and warnings."""

    def __init__(self, config: Origins) -> None:
        self._config = config
        self.problems: list[Problem] = []
        self.warnings: list[str] = list(config.warnings)

    def error(self, path: SettingPath, message: str, file: str = "") -> None:
        """Note an error at ``path`` of the configuration, or of ``file``."""
        self.problems.append(Problem(file or self._config.where(path), dotted(path), message))

    def warn(self, path: SettingPath, message: str) -> None:
        """Note something that works, but maybe not as meant."""
        self.warnings.append(str(Problem(self._config.where(path), dotted(path), message)))
