"""Settings from variables of the environment."""

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
    """Yield every setting that a variable can give: its path and the names it obeys, its own name last."""
    for name, info in section.model_fields.items():
        path = (*at, name)
        inner = section_of(info.annotation)
        if inner is info.annotation and inner is not None and inner is not TimedReplySpec:
            yield from scalars(inner, path)
        elif not info.alias and get_origin(info.annotation) is not dict and inner in (None, Distribution):
            extra = info.json_schema_extra
            older = extra.get("env", []) if isinstance(extra, dict) else []
            own = "FASTMOCK_" + "_".join(str(part) for part in path if part != "server").upper()
            yield path, [*map(str, older if isinstance(older, list) else ()), own]


@cache
def _all_scalars() -> list[tuple[SettingPath, list[str]]]:
    return list(scalars())


def lay_environment(data: dict[str, Any], origins: dict[SettingPath, str], environ: Mapping[str, str]) -> list[str]:
    """Lay the variables over ``data``; return warnings about those that have no effect."""
    warnings = []
    known = set(FILE_VARIABLES)
    for path, names in _all_scalars():
        known.update(names)
        for name in names:
            value = environ.get(name, "")
            if value.startswith("tcp://"):
                warnings.append(f"{name}={value} is ignored: Kubernetes writes it for a service of this name")
            elif value:
                is_list = get_origin(_leaf(path)) is list
                put(data, path, [part.strip() for part in value.split(",")] if is_list else value)
                origins[path] = f"environment variable {name}"
    for name in environ:
        if name.startswith(("FASTMOCK_", "MOCK_OPENAI_")) and name not in known:
            warnings.append(f"environment variable {name} names no setting{did_you_mean(name, known)}")
    return warnings


def _leaf(path: SettingPath) -> Any:
    section: type[BaseModel] = Settings
    for part in path[:-1]:
        section = section.model_fields[str(part)].annotation  # type: ignore[assignment]
    return section.model_fields[str(path[-1])].annotation


def put(data: dict[str, Any], path: SettingPath, value: Any) -> None:
    """Set a value in nested dictionaries, which are made where they are missing."""
    for part in path[:-1]:
        inner = data.setdefault(str(part), {})
        if not isinstance(inner, dict):
            return  # the file has something else here, which is reported by itself
        data = inner
    data[str(path[-1])] = value
