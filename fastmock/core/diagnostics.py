"""What compiling a configuration turns up."""

from fastmock.config.load import Config
from fastmock.core.problems import Problem, SettingPath, dotted
from fastmock.rules.match import Match
from fastmock.rules.matchers import within
from fastmock.rules.regex import PatternError, readable


class Findings:
    """What compiling turned up: errors, all of them, and warnings."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.problems: list[Problem] = []
        self.warnings: list[str] = list(config.warnings)

    def error(self, path: SettingPath, message: str, file: str = "") -> None:
        """Note an error at ``path`` of the configuration, or of ``file``."""
        self.problems.append(Problem(file or self._config.where(path), dotted(path), message))

    def warn(self, path: SettingPath, message: str) -> None:
        """Note something that works, but maybe not as meant."""
        self.warnings.append(str(Problem(self._config.where(path), dotted(path), message)))


def check_regexes(match: Match, path: SettingPath, findings: Findings) -> None:
    """Check the patterns of a match."""
    for inner, at in within(match, path):
        if inner.content_regex is None:
            continue
        try:
            _, slow = readable(inner.content_regex)
        except PatternError as error:
            findings.error((*at, "content_regex"), str(error))
        else:
            if slow:
                findings.warn(
                    (*at, "content_regex"),
                    "needs what RE2 lacks: it backtracks, and does not match where it takes longer than 20 ms",
                )
