"""Limits on changes over the control API: the files it may name, and the settings it may not change."""

import logging
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fastmock.cassettes.settings import Cassettes
from fastmock.config.config import CHANGED, Config
from fastmock.core.problems import Problem, SettingPath, dotted

_FIXED: tuple[SettingPath, ...] = (
    ("responses", "manager"),  # imports a module
    ("server", "providers"),  # so do these
    ("store",),  # connects to any host
    ("admin", "files"),
    ("record",),  # forwards requests to any host, and writes files
)
FILES = frozenset(("response_file", "file", "tls_cert", "tls_key"))
"""The settings that name a file."""

_LOG = logging.getLogger("fastmock")


def refused_changes(new: Config, old: Config, base: Callable[[], Config], files: bool) -> list[Problem]:
    """Return the changes that the control API may not make.

    Args:
        new: the configuration that would become active.
        old: the active configuration.
        base: returns it without the changes of the control API, as after a reset.
        files: allow further files below the directory of the configuration file.
    """
    problems = [
        Problem(new.where(path), dotted(path), "cannot be changed over the control API")
        for path in _FIXED
        if _value(new, path) != _value(old, path)
    ]
    added = list(_files(new, {id(part) for _, part in _parts(old)}))
    if added:
        known = {name for one in (old, base()) for _, name in _files(one)}
        added = [(path, name) for path, name in added if name not in known]
    for path, name in added:
        if not files:
            problems.append(
                Problem(new.where(path), dotted(path), "names a file, which needs 'admin.files: true' at startup")
            )
        elif not _is_below(new, name):
            problems.append(
                Problem(new.where(path), dotted(path), "names a file outside the directory of the configuration")
            )
    return problems


def without_contents(problems: Sequence[Problem], config: Config) -> list[Problem]:
    """Return the problems without those that may quote a file; log these instead."""
    settings = ("", CHANGED, str(config.file), *config.origins.values())
    shown = []
    for problem in problems:
        part = problem.path.rpartition(".")[2]
        if part in FILES or problem.where not in settings:
            _LOG.warning("%s", problem)
            path = problem.path if part in FILES else ""
            shown.append(Problem("", path, "a file cannot be used; see the log"))
        else:
            shown.append(problem)
    return shown


def _value(config: Config, path: SettingPath) -> Any:
    value: Any = config.settings
    for part in path:
        value = getattr(value, str(part))
    return value


def _parts(config: Config) -> Iterator[tuple[SettingPath, object]]:
    """Yield the sections of a configuration, and the rules and sessions set at runtime, each with its path."""
    for name in config.settings.model_fields_set:
        yield (name,), getattr(config.settings, name)
    for rule in config.added:
        yield (rule.at,), rule.pattern
    for name, session in config.sessions.items():
        yield ("sessions", name), session


def _files(config: Config, but: Container[int] = ()) -> Iterator[tuple[SettingPath, str]]:
    """Yield every file that a configuration names, with its path; ``replace`` holds the ids of parts to skip."""
    for path, part in _parts(config):
        if id(part) not in but:
            yield from _files_in(part, path)


def _files_in(value: Any, at: SettingPath) -> Iterator[tuple[SettingPath, str]]:
    if isinstance(value, BaseModel):
        for name in value.model_fields_set:
            inner = getattr(value, name)
            if isinstance(inner, str):
                if name in FILES:
                    yield (*at, name), inner
            elif isinstance(value, Cassettes) and name == "files":
                yield from (((*at, name, place), file) for place, file in enumerate(inner))
            else:
                yield from _files_in(inner, (*at, name))
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from _files_in(inner, (*at, place))


def _is_below(config: Config, name: str) -> bool:
    """Return whether a file is below the directory of the configuration file, or of the process without one."""
    try:
        root = (config.file.parent if config.file else Path()).resolve()
        return config.find(name).resolve().is_relative_to(root)
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or a cycle of links
        return False
