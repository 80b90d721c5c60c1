"""Settings from environment variables."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_origin

from pydantic import BaseModel

from fastmock.config.errors import section_of
from fastmock.config.settings import Settings
from fastmock.core.problems import SettingPath, did_you_mean
from fastmock.latency.settings import Distribution
from fastmock.rules.settings import TimedReplySpec

FILE_VARIABLES = ("FASTMOCK_CONFIG", "MOCK_OPENAI_CONFIG")
"""The variables that name the configuration file."""


def scalars(section: type[BaseModel] = Settings, at: SettingPath = ()) -> Iterator[tuple[SettingPath, list[str]]]:
    """Yield every setting that has a variable: its path, and its variables, the setting's own name last."""
    for path, info in _fields(section, at):
        own = "FASTMOCK_" + "_".join(str(part) for part in path if part != "server").upper()
        yield path, [*_extra(info, "env"), own]


def _fields(section: type[BaseModel], at: SettingPath) -> Iterator[tuple[SettingPath, Any]]:
    """Yield the settings that a variable can set."""
    for name, info in section.model_fields.items():
        path = (*at, name)
        inner = section_of(info.annotation)
        if inner is info.annotation and inner is not None and inner is not TimedReplySpec:
            yield from _fields(inner, path)
        elif not info.alias and get_origin(info.annotation) is not dict and inner in (None, Distribution):
            yield path, info


def _extra(info: Any, key: str) -> list[str]:
    extra = info.json_schema_extra
    return [*map(str, extra.get(key, ()))] if isinstance(extra, dict) else []


@cache
def _all_fields() -> list[tuple[SettingPath, Any]]:
    return list(_fields(Settings, ()))


@cache
def _own_names() -> dict[SettingPath, list[str]]:
    return dict(scalars())


def lay_environment(data: dict[str, Any], origins: dict[SettingPath, str], environ: Mapping[str, str]) -> list[str]:
    """Apply the variables to ``data``; return warnings about those without effect."""
    warnings = []
    known = set(FILE_VARIABLES)
    own_names = _own_names()
    for path, info in _all_fields():
        former, names = _extra(info, "former_env"), own_names[path]
        known.update((*former, *names))
        used = (name for name in former if environ.get(name))
        warnings += [f"{name} is now called {names[-1]}; the former name still works" for name in used]
        for name in (*former, *names):
            value = environ.get(name, "")
            if value.startswith("tcp://"):
                warnings.append(f"{name}={value} is ignored: Kubernetes writes it for a service of this name")
            elif value:
                is_list = get_origin(_leaf(path)) is list
                put(data, path, [part.strip() for part in value.split(",")] if is_list else value)
                origins[path] = f"environment variable {name}"
    for name in environ:
        if name.startswith(("FASTMOCK_", "MOCK_OPENAI_")) and name not in known:
            warnings.append(f"environment variable {name} is not a known setting{did_you_mean(name, known)}")
    return warnings


def _leaf(path: SettingPath) -> Any:
    section: type[BaseModel] = Settings
    for part in path[:-1]:
        section = section.model_fields[str(part)].annotation  # type: ignore[assignment]
    return section.model_fields[str(path[-1])].annotation


def put(data: dict[str, Any], path: SettingPath, value: Any) -> None:
    """Set a value in nested dictionaries; create the missing ones."""
    for part in path[:-1]:
        inner = data.setdefault(str(part), {})
        if not isinstance(inner, dict):
            return  # the file has another type here, which is reported separately
        data = inner
    data[str(path[-1])] = value
