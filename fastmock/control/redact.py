"""Settings and rules as shown by the control API: without their secrets."""

import re
from typing import Any

from fastmock.config.errors import SECRETS
from fastmock.config.settings import Settings
from fastmock.core.credentials import REDACTED, is_credential

_password = re.compile(r"(?<=://).*@|(?<=\?).*").sub


def settings_shown(settings: Settings) -> Any:
    """Return all active settings, without secrets."""
    shown = settings.model_dump(mode="json", by_alias=True, exclude={"schema_url"})
    for section in shown["responses"].values():
        if isinstance(section, dict) and section.get("patterns") == []:
            del section["patterns"]  # the other name of the list is shown
    return without_secrets(shown)


def _hide(found: re.Match[str]) -> str:
    return REDACTED + ("@" if found[0].endswith("@") else "")


def without_secrets(value: Any, name: str = "", in_headers: bool = False) -> Any:
    """Return a JSON value with its secrets replaced.

    ``in_headers``: ``name`` is a header name, which may also be recognized as a credential by its form.
    """
    if name == "store" and isinstance(value, dict) and isinstance(value.get("url"), str):
        return {**value, "url": _password(_hide, value["url"])}
    secret = (name.lower() in SECRETS and name != "store") or (in_headers and is_credential(name))
    if secret and value:
        return REDACTED if isinstance(value, str) else [REDACTED] * len(value) if isinstance(value, list) else value
    if isinstance(value, dict):
        return {key: without_secrets(inner, key, name == "headers") for key, inner in value.items()}
    if isinstance(value, list):
        return [without_secrets(inner) for inner in value]
    return value
