"""The command: argv and environment in, an exit code out."""

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from fastmock._version import __version__
from fastmock.build import Layers
from fastmock.cli.check import explain, listing
from fastmock.cli.serve import serve, setting
from fastmock.config.json_schema import json_schema
from fastmock.core.problems import ConfigError, SettingPath
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


def run() -> None:
    """Run the ``fastmock`` command."""
    try:
        sys.exit(main(sys.argv[1:], os.environ, sys.stdout, sys.stderr))
    except KeyboardInterrupt:  # before it listens
        sys.exit(130)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
