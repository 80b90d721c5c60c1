"""The settings that have a flag on the command line, and those that need a restart: both as their fields say."""

from functools import cache
from typing import Any, NamedTuple, get_args

from fastmock.config.environment import note, scalars
from fastmock.config.settings import Settings
from fastmock.core.problems import SettingPath, dotted


class Flag(NamedTuple):
    """A flag.

    Attributes:
        name: the flag, such as ``--log-level``.
        path: the path of its setting.
        help: the meaning of the setting.
        is_switch: whether the flag takes no value.
        metavar: the name of its value.
    """

    name: str
    path: SettingPath
    help: str
    is_switch: bool
    metavar: str


@cache
def flags() -> dict[str, Flag]:
    """Return the flags, by the names of their values: ``--log-level`` by ``log_level``."""
    found = {}
    for path, info in scalars():
        if (flag := note(info, "flag")) is None:
            continue
        default, values = info.get_default(), get_args(info.annotation)
        is_switch = info.annotation is bool or any(value is True for value in values)
        shown = "" if default is None or is_switch else f" ({default:g})" if type(default) is float else f" ({default})"
        help_ = str(info.description).replace("`", "").replace("%", "%%").removesuffix(".") + shown
        *_, metavar = flag.upper().split("-")
        found[flag.lstrip("-").replace("-", "_")] = Flag(flag, path, help_, is_switch, metavar)
    return found


def changed_until_restart(started: Settings, settings: Settings) -> list[str]:
    """Return the settings that differ from those at the start and are read only then."""
    fixed = (path for path, info in scalars() if note(info, "restart"))
    return [dotted(path) for path in fixed if _value(started, path) != _value(settings, path)]


def _value(settings: Settings, path: SettingPath) -> Any:
    value: Any = settings
    for part in path:
        value = getattr(value, str(part))
    return value
