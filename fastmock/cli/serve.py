"""``fastmock serve``: listen, print the start lines, and serve until stopped."""

import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from fastmock._version import __version__
from fastmock.app import App
from fastmock.build import Layers
from fastmock.cli.check import cassette_lines, origin, tokens_line
from fastmock.config.config import Config
from fastmock.config.flags import flags
from fastmock.config.overlay import Overlay
from fastmock.config.permitted import refused_changes
from fastmock.core.network import is_loopback
from fastmock.core.problems import Problem, SettingPath
from fastmock.replication.settings import Store
from fastmock.responses import ResponseManager
from fastmock.server.processes import cores
from fastmock.telemetry.report import Report
from fastmock.telemetry.report_formats import as_text, format_of

if TYPE_CHECKING:
    from fastmock.server.supervisor import Work
    from fastmock.server.worker import WorkerContext
    from fastmock.server.workers import Role


def serve_from_python(
    config: str | Path | Mapping[str, Any] | None, manager: ResponseManager | str | None, settings: Mapping[str, Any]
) -> int:
    """Implement ``fastmock.serve``."""
    from fastmock.server.runtimes.select import RUNTIMES

    flags: dict[SettingPath, Any] = {setting(name): value for name, value in settings.items()}
    if isinstance(manager, str):
        flags[setting("response_manager")] = manager
    given = manager if not isinstance(manager, str) else None
    layers = Layers(config, os.environ, flags, given, RUNTIMES)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        return serve(layers.load(), layers, sys.stdout, sys.stderr)
    finally:  # the supervisor leaves its signals blocked; late ones must not end the caller
        late = signal.sigpending()
        while late and signal.sigtimedwait(late, 0):
            late = signal.sigpending()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def setting(name: str) -> SettingPath:
    """Return the path of the setting of a flag, or of an argument of ``fastmock.serve``."""
    flag = flags().get(name)
    return ("server", name) if flag is None else flag.path


class _Compiler:
    """Compiles changes for a running server; see ``server.reload.Compiler``."""

    def __init__(self, layers: Layers, app: App, runtime: str) -> None:
        """Compile ``layers`` for a server started with ``app`` on a runtime."""
        self._layers = replace(layers, runtime=runtime)
        self._runtime = runtime
        self._delays_whole = app.delays_whole
        self._files = app.config.settings.admin.files
        self.manager = layers.manager

    def load(self, overlay: Overlay) -> App:
        """Load the configuration again, with the runtime changes; add warnings about the runtime."""
        return self._warned(self._layers.load(overlay))

    def relaid(self, overlay: Overlay, config: Config) -> Config:
        """Return ``config`` with other runtime changes."""
        return self._layers.relaid(overlay, config)

    def refused(self, new: Config, old: Config) -> list[Problem]:
        """Return the changes that the control API may not make."""
        return refused_changes(new, old, lambda: self._layers.relaid(Overlay(), old), self._files)

    def compile(self, config: Config, previous: App | None, warns: bool) -> App:
        """Compile a configuration."""
        return self._warned(self._layers.compile(config, previous, warns))

    def _warned(self, app: App) -> App:
        """Warn of responses that Robyn sends in another form until a restart."""
        if self._runtime == "robyn" and app.delays_whole and not self._delays_whole:
            app.warnings.append("delayed non-streaming responses are sent in chunks until a restart")
        return app


def serve(app: App, layers: Layers, stdout: TextIO, stderr: TextIO) -> int:
    """Listen, print the start lines, and serve until stopped; a reload compiles ``layers`` again. Return the
    exit code.
    """
    from fastmock.server.member import join_store
    from fastmock.server.replicator import replication
    from fastmock.server.runtimes import granian
    from fastmock.server.runtimes.select import choose
    from fastmock.server.sockets import ListenError, listen, url
    from fastmock.server.supervisor import Supervisor

    member = join_store(app.config)
    if member is not None and member.position.epoch:
        app = layers.load(member.overlay)
    settings, admin = app.config.settings.server, app.config.settings.admin
    try:
        listener = listen(settings.host, settings.port)
        control = listen(admin.host or settings.host, admin.port) if admin.enabled and admin.port is not None else None
    except ListenError as error:
        print(f"fastmock: {error}", file=stderr)
        return 1
    runtime, name, reason = choose(app)
    _preload(app, runtime.preload, granian.preload if control else None)
    workers = settings.workers or cores()
    scheme = "https" if settings.tls_cert else "http"
    where = url(listener, settings.host, scheme)
    page = url(control, admin.host or settings.host, scheme) if control else where
    exposed = not is_loopback(str((control or listener).getsockname()[0]))
    token = GeneratedToken(page, stderr) if exposed else None
    greet = stderr if settings.log_requests and settings.log_format == "json" else stdout

    def work(live: "WorkerContext", ready: Callable[[], None]) -> None:
        live.generated_token = token.value if token else None
        runtime.serve(live, listener, ready, settings.shutdown_timeout)

    def controlling(live: "WorkerContext", ready: Callable[[], None]) -> None:
        assert control  # noqa: S101 - only called with a control listener
        live.generated_token = token.value if token else None
        granian.serve(live, control, ready, settings.shutdown_timeout)

    works: dict[Role, Work] = {"api": work}
    if control is not None:
        works["control"] = controlling
    if member is not None:
        works["store"] = replication(member, listener.getsockname()[1], settings.shutdown_timeout)
    compiler = _Compiler(layers, app, name)
    supervisor = Supervisor(app, compiler, works, workers, listener, settings.shutdown_timeout, control, member)

    def announce() -> None:
        seen = page if admin.enabled else None
        _print(_greeting(app, where, seen, f"{name} ({reason})", workers), greet)
        changed(app.config)

    def changed(config: Config) -> None:
        if token:
            token.announce(config)

    code = supervisor.run(announce, changed)
    _report(supervisor.report, settings.report, greet, stderr)
    return code


def _preload(app: App, *runtimes: Callable[[], object] | None) -> None:
    """Import what the workers need before they are forked."""
    for preload in runtimes:
        if preload is not None:
            preload()
    if app.config.settings.record.to is not None:
        from fastmock.cassettes import forward  # noqa: F401


def _print(text: str, file: TextIO) -> None:
    """Print a text; an unread output does not prevent serving."""
    with suppress(OSError, ValueError):
        print(text, file=file, flush=True)


def _report(report: Report | None, file: str | None, stdout: TextIO, stderr: TextIO) -> None:
    """Print the report, if there is something to report, and write it to a file."""
    if report is None:
        return
    if report.matched + report.unmatched:
        _print(as_text(report).rstrip(), stdout)
    if file is not None:
        try:
            Path(file).write_text(format_of(file).write(report))
        except OSError as error:
            _print(f"fastmock: cannot write the report to {file}: {error.strerror}", stderr)


class GeneratedToken:
    """The token of a control API that other machines can reach, used while ``admin.token`` is not set.

    It is the same for all workers and as long as the server runs.
    """

    def __init__(self, page: str, stderr: TextIO | None) -> None:
        """Generate a token; ``page`` is the address of the dashboard."""
        self.value = secrets.token_urlsafe(24)
        self._page = page
        self._stderr = stderr
        self._announced = False

    def announce(self, config: Config) -> None:
        """Print the token once, as soon as it is needed: at startup, or when a reload removes ``admin.token``."""
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
        _print("\n".join(lines), self._stderr)


def _store_lines(settings: Store) -> Iterator[tuple[str, str]]:
    """Yield the line about the store that several servers share; without its password."""
    if settings.url is not None:
        scheme, _, rest = settings.url.partition("://")
        yield "store", f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}, prefix {settings.prefix}"


def _greeting(app: App, where: str, page: str | None, runtime: str, workers: int) -> str:
    models = len(app.config.settings.models.available)
    insecure = " --insecure" if app.config.settings.server.tls_cert else ""
    key = "" if app.config.settings.auth.mode == "off" else " -H 'Authorization: Bearer sk-test'"
    more = (*cassette_lines(app), *_store_lines(app.config.settings.store))
    lines = "".join(f"\n  {name:<13}  {text}" for name, text in more)
    seen = f"\n  in a browser   {page}/" if page else ""
    return f"""fastmock {__version__}
  configuration  {origin(app.config)}: rules {app.rules}, models {models}
  runtime        {runtime}
  workers        {workers}
  tokens         {tokens_line(app)}{lines}
  listening on   {where}/v1{seen}

Try it:
  curl{insecure} {where}/v1/chat/completions{key} -H 'Content-Type: application/json' \\
    -d '{{"model": "gpt-4o", "messages": [{{"role": "user", "content": "Hello"}}]}}'
"""
