"""The command: argv and environment in, an exit code out."""

import argparse
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from fastmock._version import __version__
from fastmock.app import App, Layers
from fastmock.config.json_schema import json_schema
from fastmock.config.load import Config
from fastmock.config.overlay import Overlay
from fastmock.config.permitted import refused_changes
from fastmock.control.access import is_loopback
from fastmock.control.redact import without_secrets
from fastmock.core.errors import ApiError
from fastmock.core.problems import ConfigError, Problem, SettingPath
from fastmock.responses import ResponseManager
from fastmock.rules.settings import ModerationPattern, Pattern, Saying
from fastmock.server import signals

_DESCRIPTION = "A mock OpenAI API server: point an OpenAI or Anthropic client at it."
_USAGE = "fastmock [check FILE | explain REQUEST | schema] [option …]"
_COMMANDS = "say what is loaded | which pattern wins, and why | print the schema | (none) serve"
_EPILOG = (
    "Without --config, ./config.json or ./config.yaml is taken when present. "
    "Every setting has an environment variable, such as FASTMOCK_PORT; a flag wins over it."
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        "fastmock", usage=_USAGE, description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False
    )
    add = made.add_argument
    commands = ("serve", "check", "explain", "schema")
    add("command", nargs="?", metavar="check|explain|schema", choices=commands, default="serve", help=_COMMANDS)
    add("file", nargs="?", metavar="FILE", help="to check: as --config; to explain: a request's body")
    add("--config", metavar="FILE", help="configuration, JSON or YAML")
    add("--host", help="name or address to listen on (127.0.0.1)")
    add("--port", help="TCP port; 0 takes a free one (8080)")
    add("--workers", metavar="N", help="worker processes; 'auto' is one per core (1)")
    add("--runtime", help="robyn, granian or auto (auto)")
    add("--tls-cert", metavar="FILE", help="serve TLS with this certificate chain (PEM)")
    add("--tls-key", metavar="FILE", help="and its private key (PEM)")
    add("--watch", action="store_const", const="true", help="read the configuration again when a file changes")
    add("--admin-host", metavar="HOST", help="name or address for that port (--host)")
    add("--admin-port", metavar="PORT", help="a port of its own for the control API and the page")
    add("--seed", metavar="N", help="changes vectors, fingerprints and draws (0)")
    add("--log-requests", action="store_const", const="true", help="a line on standard output for each request")
    add("--response-manager", metavar="MODULE:CLASS", help="a class of yours that says the answers")
    add("--shutdown-timeout", metavar="S", help="seconds that streams are given to end on SIGTERM (30)")
    add("--log-level", metavar="LEVEL", help="debug, info, warning or error (info)")
    add("--header", metavar="HEADER", action="append", help="to explain: a header ('name: value')")
    add("--version", action="version", version=f"fastmock {__version__}")
    return made


def main(argv: Sequence[str], environ: Mapping[str, str], stdout: TextIO, stderr: TextIO) -> int:
    """Run the command and return its exit code: 0 done, 1 could not listen or serve, 2 wrong usage or configuration."""
    parsing = parser()
    arguments = vars(parsing.parse_intermixed_args(argv))
    command, file, positional, headers = (arguments.pop(name) for name in ("command", "config", "file", "header"))
    if positional and (command not in ("check", "explain") or (command == "check" and file)):
        parsing.error(f"unrecognized argument: {positional}")
    if command == "explain" and not positional:
        parsing.error("explain needs a FILE with the body of a request")
    if command != "serve":
        signals.deliver()
    if command == "schema":
        print(json_schema(), end="", file=stdout)
        return 0
    flags: dict[SettingPath, str] = {setting(name): value for name, value in arguments.items() if value is not None}

    layers = Layers(file or (positional if command == "check" else None), environ, flags)
    try:
        app = layers.load()
    except ConfigError as error:
        count = len(error.problems)
        print(f"fastmock: {count} {'error' if count == 1 else 'errors'} in the configuration", file=stderr)
        for problem in error.problems:
            print(f"  {problem}", file=stderr)
        return 2
    if command == "check":
        for line in listing(app):
            print(line, file=stdout)
        return 0
    if command == "explain":
        return explain(app, positional, headers or [], stdout, stderr)
    level = app.config.settings.server.log_level.upper()
    logging.basicConfig(stream=stderr, level=level, format="%(asctime)s %(levelname)s %(message)s")
    for warning in app.warnings:
        print(f"fastmock: warning: {warning}", file=stderr)
    return serve(app, layers, stdout, stderr)


def explain(app: App, file: str, headers: Sequence[str], stdout: TextIO, stderr: TextIO) -> int:
    """Say which pattern answers the request in ``file``, which came nearest, and why; return the exit code."""
    parted = (header.partition(":") for header in headers)
    named = {name.strip().lower(): value.strip() for name, _, value in parted}
    try:
        verdict = app.explain(Path(file).read_bytes(), named)
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


def serve_from_python(
    config: str | Path | Mapping[str, Any] | None, manager: ResponseManager | str | None, settings: Mapping[str, Any]
) -> int:
    """Do what ``fastmock.serve`` says."""
    flags: dict[SettingPath, Any] = {setting(name): value for name, value in settings.items()}
    if isinstance(manager, str):
        flags[setting("response_manager")] = manager
    given = manager if not isinstance(manager, str) else None
    layers = Layers(config, os.environ, flags, given)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        return serve(layers.load(), layers, sys.stdout, sys.stderr)
    finally:  # the supervisor leaves its signals blocked; those that came too late must not end the caller
        late = signal.sigpending()
        while late and signal.sigtimedwait(late, 0):
            late = signal.sigpending()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def setting(name: str) -> SettingPath:
    """Return the path of the setting that a flag, or an argument of ``fastmock.serve``, gives."""
    elsewhere: dict[str, SettingPath] = {
        "seed": ("seed",),
        "response_manager": ("responses", "manager"),
        "admin_host": ("admin", "host"),
        "admin_port": ("admin", "port"),
    }
    return elsewhere.get(name, ("server", name))


def listing(app: App) -> Iterator[str]:
    """Say what was loaded: the patterns in the order in which they are tried, and every warning."""
    from fastmock.server.runtimes.select import choose

    settings = app.config.settings
    _, runtime, reason = choose(app)
    yield f"configuration  {_origin(app.config)}"
    yield f"runtime        {runtime} ({reason})"
    yield f"tokens         {_tokens(app)}"
    yield f"models         {', '.join(card.id for card in settings.models.available)}"
    for rulebook in app.rulebooks:
        yield f"{rulebook.section}"
        for rule, name in zip([*rulebook.rules, rulebook.default], rulebook.names, strict=True):
            yield _line(rule if isinstance(rule, Pattern) else None, name, _said(rule))
    if app.moderations.rules:
        yield "moderations"
        for moderated, name in zip(app.moderations.rules, app.moderations.names, strict=True):
            yield _line(moderated, name, ", ".join(moderated.flag) or "nothing")
    for warning in dict.fromkeys((*app.warnings, *app.never_win())):
        yield f"warning: {warning}"


def _line(rule: Pattern | ModerationPattern | None, name: str, said: str) -> str:
    """Say what a rule does; None stands for the default."""
    match = {} if rule is None else without_secrets(rule.match.model_dump(exclude_none=True, by_alias=True))
    priority = " " * 6 if rule is None else f"{rule.priority:>6}"
    when = ", ".join(f"{key} {value!r}" for key, value in match.items()) or "always"
    return f"{priority}  {name}: {when} -> {said}"


def _said(source: Saying) -> str:
    """Name what is said, in short."""
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
        parts.append(repr(source.content) if source.content is not None else "made-up text")
    shown = " and ".join(parts)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


class _Compiler:
    """Compiles changes for a running server; see ``server.reload.Compiler``."""

    def __init__(self, layers: Layers, app: App, runtime: str) -> None:
        """Compile ``layers`` for a server that began with ``app`` on a runtime."""
        self._layers = replace(layers, runtime=runtime)
        self._runtime = runtime
        self._delays_whole = app.delays_whole
        self._files = app.config.settings.admin.files
        self.manager = layers.manager

    def load(self, overlay: Overlay) -> App:
        """See ``server.reload.Compiler``."""
        return self._warned(self._layers.load(overlay))

    def relaid(self, overlay: Overlay, config: Config) -> Config:
        """See ``server.reload.Compiler``."""
        return self._layers.relaid(overlay, config)

    def refused(self, new: Config, old: Config) -> list[Problem]:
        """See ``server.reload.Compiler``."""
        return refused_changes(new, old, lambda: self._layers.relaid(Overlay(), old), self._files)

    def compile(self, config: Config, previous: App | None, warns: bool) -> App:
        """See ``server.reload.Compiler``."""
        app = self._layers.compile(config, previous, warns)
        if self._runtime == "robyn":
            self._warned(app)
        return app

    def _warned(self, app: App) -> App:
        """Add what holds only because the runtime is the one that serves."""
        from fastmock.server.runtimes.select import choose

        _, better, why = choose(app)
        if better != self._runtime:
            app.warnings.append(f"the runtime stays {self._runtime} until a restart, which would take {better} ({why})")
        elif self._runtime == "robyn" and app.delays_whole and not self._delays_whole:
            app.warnings.append("whole answers that take time are sent in chunks until a restart")
        return app


def serve(app: App, layers: Layers, stdout: TextIO, stderr: TextIO) -> int:
    """Listen, say so, and serve until told to stop; ``layers`` give what a reload serves. Return the exit code."""
    from fastmock.server.runtimes import granian
    from fastmock.server.runtimes.select import choose
    from fastmock.server.sockets import ListenError, listen, url
    from fastmock.server.supervisor import Supervisor
    from fastmock.server.worker import Live

    settings, admin = app.config.settings.server, app.config.settings.admin
    try:
        listener = listen(settings.host, settings.port)
        control = listen(admin.host or settings.host, admin.port) if admin.enabled and admin.port is not None else None
    except ListenError as error:
        print(f"fastmock: {error}", file=stderr)
        return 1
    runtime, name, reason = choose(app)
    runtime.preload()
    if control:
        granian.preload()

    workers = settings.workers or len(os.sched_getaffinity(0))
    scheme = "https" if settings.tls_cert else "http"
    where = url(listener, settings.host, scheme)
    page = url(control, admin.host or settings.host, scheme) if control else where
    exposed = not is_loopback(str((control or listener).getsockname()[0]))
    token = GeneratedToken(page, stderr) if exposed else None
    greet = stderr if settings.log_requests and settings.log_format == "json" else stdout

    def work(live: Live, ready: Callable[[], None]) -> None:
        live.generated_token = token.value if token else None
        runtime.serve(live, listener, ready, settings.shutdown_timeout)

    def controlling(live: Live, ready: Callable[[], None]) -> None:
        assert control  # noqa: S101 - else nobody does this
        live.generated_token = token.value if token else None
        granian.serve(live, control, ready, settings.shutdown_timeout)

    supervisor = Supervisor(
        app,
        _Compiler(layers, app, name),
        work,
        workers,
        listener,
        settings.shutdown_timeout,
        None if control is None else (control, controlling),
    )

    def announce() -> None:
        with suppress(OSError, ValueError):  # nobody reads it, which is no reason not to serve
            seen = page if admin.enabled else None
            print(_greeting(app, where, seen, f"{name} ({reason})", workers), file=greet, flush=True)
        changed(app.config)

    def changed(config: Config) -> None:
        if token:
            token.announce(config)

    return supervisor.run(announce, changed)


class GeneratedToken:
    """The token of a control API that other machines can reach, for when ``admin.token`` is not set.

    It is the same for all workers as long as the server runs.
    """

    def __init__(self, page: str, stderr: TextIO | None) -> None:
        """Make one; ``page`` is the address of the dashboard."""
        self.value = secrets.token_urlsafe(24)
        self._page = page
        self._stderr = stderr
        self._announced = False

    def announce(self, config: Config) -> None:
        """Print it, once, as soon as it is needed: at the start, or when a reload takes ``admin.token`` away."""
        admin = config.settings.admin
        if self._announced or self._stderr is None or not admin.enabled or admin.token is not None:
            return
        self._announced = True
        lines = (
            "fastmock: other machines can reach the control API, so it needs a token. FASTMOCK_ADMIN_TOKEN is not set;",
            "  this one is valid until the server stops:",
            f"  token          {self.value}",
            f"  dashboard      {self._page}/#token={self.value}",
        )
        with suppress(OSError, ValueError):
            print("\n".join(lines), file=self._stderr, flush=True)


def _greeting(app: App, where: str, page: str | None, runtime: str, workers: int) -> str:
    models = len(app.config.settings.models.available)
    insecure = " --insecure" if app.config.settings.server.tls_cert else ""
    key = "" if app.config.settings.auth.mode == "off" else " -H 'Authorization: Bearer sk-test'"
    seen = f"\n  in a browser   {page}/" if page else ""
    return f"""fastmock {__version__}
  configuration  {_origin(app.config)}: patterns {app.rules}, models {models}
  runtime        {runtime}
  workers        {workers}
  tokens         {_tokens(app)}
  listening on   {where}/v1{seen}

Try it:
  curl{insecure} {where}/v1/chat/completions{key} -H 'Content-Type: application/json' \\
    -d '{{"model": "gpt-4o", "messages": [{{"role": "user", "content": "Hello"}}]}}'
"""


def _tokens(app: App) -> str:
    return "counted exactly" if app.exact else "estimated (pip install 'fastmock[tokens]' counts them)"


def _origin(config: Config) -> str:
    if config.file is None:
        return "built in (no ./config.json or ./config.yaml here)"
    return f"{config.file}, {config.form}" if config.form else str(config.file)


def run() -> None:
    """Run the ``fastmock`` command."""
    try:
        sys.exit(main(sys.argv[1:], os.environ, sys.stdout, sys.stderr))
    except KeyboardInterrupt:  # before it listens
        sys.exit(130)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
