"""``fastmock check`` and ``fastmock explain``: list the loaded configuration; show which rule matches a request."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from fastmock.app import App
from fastmock.config.config import Config
from fastmock.config.environment import CONTENTS_VARIABLE
from fastmock.control.redact import without_secrets
from fastmock.core.errors import ApiError
from fastmock.rules.settings import EmbeddingPattern, MatchingRule, ModerationPattern, Pattern, ReplySpec


def explain(app: App, file: str, headers: Sequence[str], path: str, stdout: TextIO, stderr: TextIO) -> int:
    """Print the rule that matches the request in ``file``, the nearest other one, and why; return the exit code."""
    parted = (header.partition(":") for header in headers)
    named = {name.strip().lower(): value.strip() for name, _, value in parted}
    try:
        verdict = app.readings.explain(Path(file).read_bytes(), named, path)
    except OSError as error:
        print(f"fastmock: {file} cannot be read: {error.strerror}", file=stderr)
        return 2
    except ApiError as error:
        print(f"fastmock: the request is answered with {error.status}: {error.message}", file=stderr)
        return 2
    print(f"answered by  {verdict.winner}", file=stdout)
    if verdict.nearest is not None:
        print(f"nearest      {verdict.nearest}", file=stdout)
        for difference in verdict.differences:
            print(f"             {difference}", file=stdout)
    return 0


def listing(app: App) -> Iterator[str]:
    """Yield the loaded configuration as lines: the rules in the order in which they are tried, and all warnings."""
    from fastmock.server.runtimes.select import choose

    settings = app.config.settings
    _, runtime, reason = choose(app)
    yield f"configuration  {origin(app.config)}"
    yield f"runtime        {runtime} ({reason})"
    yield f"tokens         {tokens_line(app)}"
    for name, text in cassette_lines(app):
        yield f"{name:<13}  {text}"
    yield f"models         {', '.join(card.id for card in settings.models.available)}"
    for rules in (responder.rules for responder in app.responders):
        yield f"{rules.section}"
        for rule, name in zip([*rules.rules, rules.default], rules.names, strict=True):
            yield _line(rule if isinstance(rule, Pattern) else None, name, _said(rule))
    for plain in app.plain_rules:
        if plain.rules:
            yield plain.section
        for one, name in zip(plain.rules, plain.names, strict=True):
            yield _line(one, name, _effect(one))
    for warning in dict.fromkeys((*app.warnings, *app.unreachable_rules())):
        yield f"warning: {warning}"


def cassette_lines(app: App) -> Iterator[tuple[str, str]]:
    """Yield the lines about what is replayed and recorded."""
    if (replayer := app.replayer_of("")) is not None:
        yield "cassettes", f"recordings {len(replayer.library)}, from {', '.join(replayer.settings.files)}"
    record = app.config.settings.record
    if record.to is not None:
        found = {provider.name: record.upstream_of(provider.name, provider.public_url) for provider in app.providers}
        upstreams = dict.fromkeys(upstream.url for upstream in found.values() if upstream is not None)
        yield "recording", f"to {record.to}: {record.requests} requests, answered by {', '.join(upstreams)}"


def _effect(rule: MatchingRule) -> str:
    """Describe the effect of a rule without a reply."""
    if isinstance(rule, ModerationPattern):
        return ", ".join(rule.flag) or "nothing"
    return f"a vector of {len(rule.vector)} numbers" if isinstance(rule, EmbeddingPattern) else ""


def _line(rule: MatchingRule | None, name: str, said: str) -> str:
    """Describe a rule in a line; None stands for the default."""
    match = {} if rule is None else without_secrets(rule.match.model_dump(exclude_none=True, by_alias=True))
    priority = " " * 6 if rule is None else f"{rule.priority:>6}"
    when = ", ".join(f"{key} {value!r}" for key, value in match.items()) or "always"
    return f"{priority}  {name}: {when} -> {said}"


def _said(source: ReplySpec) -> str:
    """Describe a reply in short."""
    if isinstance(source, Pattern) and source.responses is not None:
        return ", then ".join(map(_said, source.responses))
    if source.response_file is not None:
        return source.response_file
    if source.response is not None:
        return "an inline response"
    parts = [f"{call.name}(…)" for call in source.tool_calls or ()]
    if source.refusal is not None:
        parts.append(f"refusal {source.refusal!r}")
    if source.content is not None or not parts:
        parts.append(repr(source.content) if source.content is not None else "generated text")
    shown = " and ".join(parts)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def tokens_line(app: App) -> str:
    """Describe how tokens are counted."""
    return "counted exactly" if app.exact else "estimated (pip install 'fastmock[tokens]' counts them)"


def origin(config: Config) -> str:
    """Describe where a configuration comes from."""
    if config.file is None:
        if (variable := f"environment variable {CONTENTS_VARIABLE}") in config.base_origins.values():
            return variable
        return "built in (no ./config.json or ./config.yaml here)"
    return f"{config.file}, {config.form}" if config.form else str(config.file)
