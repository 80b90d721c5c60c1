"""Validation errors as sentences, with the nearest valid name."""

from collections.abc import Mapping
from typing import Any, get_args

from fastmock.config.settings import Settings
from fastmock.core.credentials import CREDENTIALS, is_credential
from fastmock.core.problems import SettingPath, did_you_mean
from fastmock.core.section import SettingsModel
from fastmock.faults.registry import FAULTS

_SPANS = ("turn", "messages", "count")


SECRETS = frozenset(("keys", "token", "api_key", "store", *CREDENTIALS))
"""The names of settings and headers whose values are never shown."""


def section_of(annotation: Any) -> type[SettingsModel] | None:
    """Find the settings model in an annotation, through Annotated, lists and unions."""
    if isinstance(annotation, type) and issubclass(annotation, SettingsModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := section_of(arg))), None)


def written_path(error: Mapping[str, Any]) -> SettingPath:
    """Return the path of an error as written in the file: pydantic's contains the kind of a fault."""
    loc: SettingPath = error["loc"]
    if error["type"].startswith("union_tag"):
        return (*loc, "kind")
    return (*loc[:2], *loc[3:]) if loc[0] == "faults" else loc


def describe(error: Mapping[str, Any], above: SettingPath = (), model: type[SettingsModel] = Settings) -> str:
    """Return the message for a pydantic error, with the nearest valid name.

    ``above`` is the path of the validated value within ``model``.
    """
    kind, loc, value = error["type"], (*above, *error["loc"]), error.get("input")
    if kind == "union_tag_not_found":
        return "is required"
    if kind == "union_tag_invalid":
        known = [name.strip("'") for name in error["ctx"]["expected_tags"].split(", ")]
        tag = error["ctx"]["tag"]
        return f"is not a fault: {tag!r}{did_you_mean(tag, known) or '; known are ' + ', '.join(known)}"
    if kind == "extra_forbidden":
        section: type[SettingsModel] | None = model
        for part in loc[:-1]:
            if part in FAULTS:
                section = FAULTS[str(part)].settings_type
            elif section and isinstance(part, str):
                names = {info.alias or name: info for name, info in section.model_fields.items()}
                section = section_of(names[part].annotation) if part in names else section
        known = [info.alias or name for name, info in section.model_fields.items()] if section else []
        return f"unknown name{did_you_mean(str(loc[-1]), known) or '; known here: ' + ', '.join(known)}"
    if kind == "missing":
        return "is required"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    secret = loc[:1] in (("admin",), ("auth",)) or _is_secret(loc)
    message: str = error["msg"].replace("Input should be", "must be")
    if kind in ("model_type", "dict_type"):
        message = "must be a whole number, or an object" if loc and loc[-1] in _SPANS else "must be an object"
        return message if secret else f"{message}, not {_short(value)}"
    if secret:
        return message
    near = ""
    if kind == "literal_error":
        near = did_you_mean(str(value), error["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", "))
    return f"{message}, not {_short(value)}{near}"


def _is_secret(loc: SettingPath) -> bool:
    """Return whether a path leads to a secret, as a setting or as a header."""
    names = [str(part).lower() for part in loc]
    headers = names[names.index("headers") + 1 :] if "headers" in names else []
    return not SECRETS.isdisjoint(names) or any(map(is_credential, headers))


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
