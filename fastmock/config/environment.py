"""Settings from environment variables."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fastmock.config.errors import section_of
from fastmock.config.renamed import RENAMED
from fastmock.config.settings import Settings
from fastmock.core.problems import SettingPath, did_you_mean
from fastmock.latency.settings import Distribution
from fastmock.rules.settings import TimedReplySpec

FILE_VARIABLES = ("FASTMOCK_CONFIG", "MOCK_OPENAI_CONFIG")
"""The variables that name the configuration file."""
CONTENTS_VARIABLE = "FASTMOCK_CONFIG_JSON"
"""The variable that holds the configuration itself, as JSON or YAML: for CI services, which start without files."""


@cache
def scalars() -> list[tuple[SettingPath, FieldInfo]]:
    """Return every setting that a variable can set: its path and its field."""
    return list(_scalars(Settings, ()))


def _scalars(section: type[BaseModel], at: SettingPath) -> Iterator[tuple[SettingPath, FieldInfo]]:
    for name, info in section.model_fields.items():
        path = (*at, name)
        inner = section_of(info.annotation)
        if inner is info.annotation and inner is not None and inner is not TimedReplySpec:
            yield from _scalars(inner, path)
        elif not info.alias and get_origin(info.annotation) is not dict and inner in (None, Distribution):
            yield path, info


def variables(path: SettingPath, info: FieldInfo) -> list[str]:
    """Return the variables of a setting, its own name last."""
    return [*note(info, "env", ()), _variable(path)]


def note(info: FieldInfo, key: str, default: Any = None) -> Any:
    """Return a note that a field makes for fastmock in its ``json_schema_extra``."""
    extra = info.json_schema_extra
    return extra.get(key, default) if isinstance(extra, dict) else default


def _variable(path: SettingPath) -> str:
    return "FASTMOCK_" + "_".join(str(part) for part in path if part != "server").upper()


_FORMER: dict[SettingPath, str] = {
    (one.new_section or one.section, one.new): _variable((one.section, one.old)) for one in RENAMED
}
"""The variables of former names, by the paths of the settings."""


def lay_environment(data: dict[str, Any], origins: dict[SettingPath, str], environ: Mapping[str, str]) -> list[str]:
    """Apply the variables to ``data``; return warnings about those without effect."""
    warnings = []
    known = {*FILE_VARIABLES, CONTENTS_VARIABLE}
    for path, info in scalars():
        names = variables(path, info)
        if (former := _FORMER.get(path)) is not None:
            if environ.get(former):
                warnings.append(f"{former} is now called {names[-1]}; the former name still works")
            names.insert(0, former)
        known.update(names)
        for name in names:
            value = environ.get(name, "")
            if value.startswith("tcp://"):
                warnings.append(f"{name}={value} is ignored: Kubernetes writes it for a service of this name")
            elif value:
                is_list = get_origin(info.annotation) is list
                put(data, path, [part.strip() for part in value.split(",")] if is_list else value)
                origins[path] = f"environment variable {name}"
    for name in environ:
        if name.startswith(("FASTMOCK_", "MOCK_OPENAI_")) and name not in known:
            warnings.append(f"environment variable {name} is not a known setting{did_you_mean(name, known)}")
    return warnings


def put(data: dict[str, Any], path: SettingPath, value: Any) -> None:
    """Set a value in nested dictionaries; create the missing ones."""
    for part in path[:-1]:
        inner = data.setdefault(str(part), {})
        if not isinstance(inner, dict):
            return  # the file has another type here, which is reported separately
        data = inner
    data[str(path[-1])] = value
