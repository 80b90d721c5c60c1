"""Generate the configuration reference from the table of settings."""

import json
from collections.abc import Iterator
from typing import Any

from fastmock.config.environment import scalars, variables
from fastmock.config.errors import section_of
from fastmock.config.settings import Settings
from fastmock.content.settings import Output
from fastmock.core.problems import SettingPath, dotted
from fastmock.core.section import SettingsModel
from fastmock.faults.registry import FAULTS
from fastmock.faults.settings import FaultSettings, Place
from fastmock.latency.presets import PRESETS
from fastmock.latency.settings import Distribution, Latency
from fastmock.rules.match import Match, Range
from fastmock.rules.settings import ReplySpec, TimedReplySpec

_TOP = """# Configuration

Generated from the table of settings in `fastmock/config/settings.py` by `python -m fastmock.config.reference`; a test
keeps it up to date. A flag overrides a variable, a variable the file, the file the default.

| setting | default | variable | meaning |
|---|---|---|---|
"""

_AMOUNTS = """

## Amounts

Latencies and numbers of tokens are amounts: a constant number, or an object with a distribution to draw from, such as
`{"distribution": "lognormal", "mean": 400, "std": 120}` or `{"file": "ttft.txt"}`.

| part | meaning |
|---|---|
"""

_FAULTS = """

## Faults

The settings of `faults[]` by `kind`, in addition to those above. A time is a text such as `200ms`, `2s`, `5m` or `1h`,
or a number of seconds. See [faults](faults.md).

| kind | setting | default | meaning |
|---|---|---|---|
"""

_PRESETS = """

## Presets

Illustrative, not measured, and named after the class of model that they resemble. Those from `gpt-4` to `claude-haiku`
use the numbers of llmsim's profiles, those named after a model size the numbers of llm-d-inference-sim's examples.
Times are in milliseconds; those with a standard deviation have a normal distribution.

| preset | `ttft` | `itl` | `prefill_ms_per_token` | `time_factor_under_load` | `saturation_concurrency` |
|---|---|---|---|---|---|
"""


def markdown() -> str:
    """Return the whole page."""
    named = {path: ", ".join(f"`{name}`" for name in reversed(variables(path, info))) for path, info in scalars()}
    rows = [
        f"| `{dotted(path)}` | {_shown(info)} | {named.get(path, '')} | {info.description} |"
        for path, info in _settings(Settings, ())
    ]
    parts = [f"| `{name}` | {info.description} |" for name, info in Distribution.model_fields.items()]
    presets = [
        f"| `{name}` | {_time(preset['ttft'])} | {_time(preset['itl'])} | {preset.get('prefill_ms_per_token', '')} "
        f"| {preset.get('time_factor_under_load', '')} | {preset.get('saturation_concurrency', '')} |"
        for name, preset in PRESETS.items()
    ]
    kinds = [row for name, fault in FAULTS.items() for row in _fault(name, fault.settings_type)]
    sections = (_TOP, rows), (_AMOUNTS, parts), (_FAULTS, kinds), (_PRESETS, presets)
    return "".join(head + "\n".join(lines) for head, lines in sections) + "\n"


def _fault(name: str, fault: type[FaultSettings]) -> Iterator[str]:
    """Yield a row for a fault and one for each of its own settings."""
    yield f"| `{name}` | | | {fault.__doc__} |"
    for own, info in fault.model_fields.items():
        if own not in FaultSettings.model_fields and own != "kind":
            yield f"| | `{info.alias or own}` | {_shown(info)} | {info.description} |"


def _time(amount: Any) -> str:
    return f"{amount['mean']} (std {amount['std']})" if isinstance(amount, dict) else str(amount)


def _settings(section: type[SettingsModel], at: SettingPath) -> Iterator[tuple[SettingPath, Any]]:
    """Yield every setting under ``section``, with ``[]`` after the name of a list."""
    for name, info in section.model_fields.items():
        inner = section_of(info.annotation)
        # Left out because they are listed elsewhere: the parts of a reply (under a rule), those of a distribution and
        # of each fault (tables below), those of a latency inside another section (top level), and those of a match
        # inside a match or a fault (under a rule).
        if (
            inner in (TimedReplySpec, ReplySpec, Distribution, Range)
            or (at and inner in (Latency, Output))
            or inner is section
        ):
            inner = None
        if inner is not None and issubclass(inner, FaultSettings):
            inner = FaultSettings
        elif section is FaultSettings and inner is Match:
            inner = None
        path: SettingPath = (*at, info.alias or name)
        if inner is None or not isinstance(info.annotation, type):
            yield path, info
        if inner is not None:
            yield from _settings(inner, (*at, f"{name}[]") if "list[" in repr(info.annotation) else path)


def _shown(info: Any) -> str:
    if info.is_required():
        return "required"
    default = info.get_default()
    if isinstance(default, TimedReplySpec):
        return "a canned text"
    if isinstance(default, Place):
        return f"`{default.chunks}`"
    if default is None or isinstance(default, SettingsModel) or default == []:
        return "none"
    if isinstance(default, list) and isinstance(default[0], SettingsModel):
        return f"{len(default)} common models"
    return f"`{json.dumps(default)}`"


if __name__ == "__main__":
    print(markdown(), end="")  # noqa: T201
