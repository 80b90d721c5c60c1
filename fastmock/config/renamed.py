"""Former names of settings, which go on working with a warning."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fastmock.config.errors import section_of
from fastmock.config.settings import Settings
from fastmock.core.problems import SettingPath, dotted
from fastmock.core.section import SettingsModel


class Renamed(NamedTuple):
    """A setting that has a new name.

    Attributes:
        section: the section of the former name; a section of this name may stand at any depth.
        old: the former name.
        new: the new name.
        new_section: the section of the new name, at the top; None for the same section.
    """

    section: str
    old: str
    new: str
    new_section: str | None = None


RENAMED = (
    Renamed("latency", "max_concurrent", "saturation_concurrency"),
    Renamed("streaming", "max_concurrent", "max_connections", "server"),
    Renamed("limits", "store", "url", "store"),
)
"""All of them; docs/configure.md has the same table."""


def with_new_names(
    data: Mapping[str, Any], section: type[SettingsModel] = Settings
) -> tuple[dict[str, Any], list[str]]:
    """Return settings as they are written, under their new names, and a warning for each former name.

    ``section`` is their model. Only its settings are renamed: documents and arguments of replies stay as they are.
    """
    moved: list[tuple[str, str, Any]] = []
    warnings: dict[str, None] = {}
    renamed = _renamed(data, section, (), moved, warnings)
    for name, new, value in moved:
        holder = renamed.setdefault(name, {})
        if isinstance(holder, dict):
            holder.setdefault(new, value)
    return renamed, list(warnings)


def _renamed(
    value: Any,
    section: type[SettingsModel],
    at: SettingPath,
    moved: list[tuple[str, str, Any]],
    warnings: dict[str, None],
) -> Any:
    if isinstance(value, list):
        return [_renamed(inner, section, (*at, place), moved, warnings) for place, inner in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    result = dict(value)
    for name, given in value.items():
        inner = section_of(section.model_fields[name].annotation) if name in section.model_fields else None
        if inner is not None:
            result[name] = _renamed(given, inner, (*at, name), moved, warnings)
    for one in _of(at):
        if one.old in result:
            given = result.pop(one.old)
            if one.new_section is None:
                result.setdefault(one.new, given)
            else:
                moved.append((one.new_section, one.new, given))
            new = one.new if one.new_section is None else f"{one.new_section}.{one.new}"
            warnings[f"{dotted((*at, one.old))} is now called '{new}'; the former name still works"] = None
    return result


def _of(at: SettingPath) -> Iterator[Renamed]:
    """Yield the former names in a section."""
    return (one for one in RENAMED if at and at[-1] == one.section)
