"""The command: argv and environment in, an exit code out."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from fastmock import __version__
from fastmock.app import App, compile_layers
from fastmock.config.load import Config, SettingPath
from fastmock.config.problems import ConfigError

_DESCRIPTION = "A mock OpenAI API server: point an OpenAI client at it."
_EPILOG = (
    "Without --config, ./config.json or ./config.yaml is taken when present. "
    "Every setting has an environment variable, such as FASTMOCK_PORT; a flag wins over it."
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser("fastmock", description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False)
    add = made.add_argument
    add("--config", metavar="FILE", help="configuration, JSON or YAML")
    add("--host", help="name or address to listen on (127.0.0.1)")
    add("--port", help="TCP port; 0 takes a free one (8080)")
    add("--workers", metavar="N", help="worker processes; 'auto' is one per core (1)")
    add("--runtime", help="robyn, granian or auto (auto)")
    add("--seed", metavar="N", help="changes what is made up: vectors, fingerprints (0)")
    add("--shutdown-timeout", metavar="S", help="seconds that streams are given to end on SIGTERM (30)")
    add("--log-level", metavar="LEVEL", help="debug, info, warning or error (info)")
    add("--version", action="version", version=f"fastmock {__version__}")
    return made


def main(argv: Sequence[str], environ: Mapping[str, str], stdout: TextIO, stderr: TextIO) -> int:
    """Run the command and return its exit code: 0 done, 1 could not listen or serve, 2 wrong usage or configuration."""
    arguments = vars(parser().parse_args(argv))
    file = arguments.pop("config")
    flags: dict[SettingPath, str] = {
        (name,) if name == "seed" else ("server", name): value for name, value in arguments.items() if value is not None
    }

    def compile_() -> App:
        return compile_layers(file, environ, flags)

    try:
        app = compile_()
    except ConfigError as error:
        count = len(error.problems)
        print(f"fastmock: {count} {'error' if count == 1 else 'errors'} in the configuration", file=stderr)
        for problem in error.problems:
            print(f"  {problem}", file=stderr)
        return 2
    level = app.config.settings.server.log_level.upper()
    logging.basicConfig(stream=stderr, level=level, format="%(asctime)s %(levelname)s %(message)s")
    for warning in app.warnings:
        print(f"fastmock: warning: {warning}", file=stderr)
    return serve(app, compile_, stdout, stderr)


def serve(app: App, compile_: Callable[[], App], stdout: TextIO, stderr: TextIO) -> int:
    """Listen, say so, and serve until told to stop; ``compile_`` gives what a reload serves. Return the exit code."""
    from fastmock.server.listen import ListenError, listen, url
    from fastmock.server.runtime import choose
    from fastmock.server.supervisor import Supervisor

    settings = app.config.settings.server
    try:
        listener = listen(settings.host, settings.port)
    except ListenError as error:
        print(f"fastmock: {error}", file=stderr)
        return 1
    runtime, name, reason = choose(app)
    runtime.preload()
    workers = settings.workers or len(os.sched_getaffinity(0))
    where = url(listener, settings.host)
    greet = stderr if settings.log_requests and settings.log_format == "json" else stdout
    supervisor = Supervisor(
        app,
        compile_,
        lambda live, ready: runtime.serve(live, listener, ready, settings.shutdown_timeout),
        workers,
        listener,
        settings.shutdown_timeout,
    )
    return supervisor.run(lambda: print(_greeting(app, where, f"{name} ({reason})", workers), file=greet, flush=True))


def _greeting(app: App, where: str, runtime: str, workers: int) -> str:
    models = len(app.config.settings.models.available)
    key = "" if app.config.settings.auth.mode == "off" else " -H 'Authorization: Bearer sk-test'"
    return f"""fastmock {__version__}
  configuration  {_origin(app.config)}: patterns {app.rules}, models {models}
  runtime        {runtime}
  workers        {workers}
  listening on   {where}/v1

Try it:
  curl {where}/v1/chat/completions{key} -H 'Content-Type: application/json' \\
    -d '{{"model": "gpt-4o", "messages": [{{"role": "user", "content": "Hello"}}]}}'
"""


def _origin(config: Config) -> str:
    if config.file is None:
        return "built in (no ./config.json or ./config.yaml here)"
    return str(config.file if config.file.is_absolute() else Path(config.file))


def run() -> None:
    """Run the ``fastmock`` command."""
    sys.exit(main(sys.argv[1:], os.environ, sys.stdout, sys.stderr))
