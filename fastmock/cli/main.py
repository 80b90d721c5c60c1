"""The command: argv and environment in, an exit code out."""

import argparse
import gc
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from fastmock._version import __version__
from fastmock.build import Layers
from fastmock.cli import cassettes
from fastmock.cli.check import explain, listing
from fastmock.cli.report import FAILURES, show_report
from fastmock.cli.serve import serve, setting
from fastmock.config.environment import CONTENTS_VARIABLE, FILE_VARIABLES
from fastmock.config.flags import flags
from fastmock.config.json_schema import json_schema
from fastmock.config.load import default_file
from fastmock.core.problems import ConfigError, SettingPath, did_you_mean
from fastmock.providers import PROVIDERS
from fastmock.server import signals
from fastmock.telemetry.report_formats import FORMATS
from fastmock.testing.environment import record_options

_DESCRIPTION = "A mock OpenAI API server: point an OpenAI or Anthropic client at it."
_EPILOG = (
    "Without a command, fastmock serves: 'fastmock --port 9000' is 'fastmock serve --port 9000'. "
    "'fastmock COMMAND --help' lists the options of a command."
)
_OF_SERVE = (
    "Without --config, ./config.json or ./config.yaml is loaded if it exists. "
    "Every setting has an environment variable, such as FASTMOCK_PORT; an option wins over it."
)

_OF_RECORD = (
    "Requests are forwarded to the upstream, by default the public API of their provider, and each is written with its "
    "answer to a cassette: 'fastmock --cassettes DIR' replays it. All options of 'fastmock serve' are accepted."
)

_OF_ALL = ("--runtime", "--seed", "--response-manager")  # the flags of every command that loads a configuration


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser("fastmock", description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False)
    made.add_argument("--version", action="version", version=f"fastmock {__version__}")
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(usage: str, help_: str, epilog: str = "") -> argparse.ArgumentParser:
        name, usage = usage.split()[0], f"fastmock {usage}"
        return commands.add_parser(name, usage=usage, help=help_, description=help_, epilog=epilog, allow_abbrev=False)

    serve_ = command("serve [OPTIONS]", "Start the server (the default).", _OF_SERVE)
    record = command("record --to PLACE [OPTIONS]", "Record the answers of an upstream to cassettes.", _OF_RECORD)
    check = command("check [OPTIONS] [FILE]", "Check a configuration, and list its rules and warnings.", _OF_SERVE)
    explain_ = command(
        "explain [OPTIONS] FILE", "Show which rule answers a request, which came nearest, and why.", _OF_SERVE
    )
    run_ = command(
        "run [OPTIONS] -- COMMAND...",
        "Start a server, run a command whose SDK clients call it, and report.",
        "The server listens on a free port of 127.0.0.1. The command finds its URL and API keys in the environment "
        "variables of the official SDKs, and its URL in FASTMOCK_URL. The exit code is that of the command; 128 + n if "
        "signal n ended it, 3 if --fail-on applies, 125 if fastmock failed, 126 or 127 if the command cannot be run.",
    )
    report = command("report [OPTIONS] SOURCE", "Show the report of a running server, or of a JSON file.")
    cassettes.add_parsers(command)
    command("health [URL]", "Tell by the exit code whether a server responds.")
    command("schema", "Print the JSON Schema of a configuration.")
    check.add_argument("file", nargs="?", metavar="FILE", help="configuration, as --config")
    explain_.add_argument("file", metavar="FILE", help="body of the request, JSON")
    explain_.add_argument("--path", metavar="PATH", help="path of the request (told by its body and headers)")
    explain_.add_argument("--header", metavar="HEADER", action="append", help="header of the request ('name: value')")
    report.add_argument("source", metavar="SOURCE", help="URL of the server, or file that --report has written")
    report.add_argument("--format", choices=list(FORMATS), default="text", help="format of the report (text)")
    for each in (run_, report):
        each.add_argument(
            "--fail-on",
            metavar="WHAT",
            type=_failures,
            default=(),
            help=f"exit with 3 if there are: {', '.join(FAILURES)} (several separated by commas)",
        )
    _add_options_of_record(record)
    run_.add_argument(
        "--report",
        metavar="FILE",
        action="append",
        default=[],
        help="write a report to a file: .json, .md, .txt, or .xml for JUnit; may be repeated",
    )
    for each in (serve_, record, run_, check, explain_):
        each.add_argument("--config", metavar="FILE", help="configuration, JSON or YAML")
        _add_flags(each, _OF_ALL.__contains__)
    _add_flags(serve_, lambda name: name not in _OF_ALL)
    _add_flags(record, lambda name: name not in (*_OF_ALL, "--record-to"))
    _add_flags(run_, lambda name: name not in (*_OF_ALL, "--report"))
    return made


def _add_options_of_record(made: argparse.ArgumentParser) -> None:
    """Add the options of ``record`` that are not flags of settings."""
    made.add_argument("--to", dest="record_to", metavar="PLACE", required=True, help="directory, or .jsonl file")
    for provider in PROVIDERS:
        name = f"--upstream-{provider.name}"
        made.add_argument(name, metavar="URL", help=f"upstream for this provider ({provider.public_url})")
        made.add_argument(f"{name}-key-env", metavar="NAME", help="environment variable with its API key")


def _failures(text: str) -> list[str]:
    """Parse the value of ``--fail-on``."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in FAILURES:
            near = did_you_mean(name, FAILURES) or f"; known are {', '.join(FAILURES)}"
            raise argparse.ArgumentTypeError(f"unknown: {name!r}{near}")
    return names


def _add_flags(made: argparse.ArgumentParser, wanted: Callable[[str], bool]) -> None:
    """Add the flags of settings."""
    for flag in flags().values():
        if wanted(flag.name):
            kind: dict[str, Any] = (
                {"action": "store_const", "const": "true"} if flag.is_switch else {"metavar": flag.metavar}
            )
            made.add_argument(flag.name, help=flag.help, **kind)


def main(argv: Sequence[str], environ: Mapping[str, str], stdout: TextIO, stderr: TextIO) -> int:
    """Run the command and return its exit code: 0 done, 1 could not listen or serve, 2 wrong usage or configuration."""
    parsing = parser()
    if argv[:1] == ["run"]:
        return _run(parsing, argv, environ, stderr)
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help", "--version")):
        argv = ["serve", *argv]
    arguments = vars(parsing.parse_args(argv))
    command = arguments.pop("command")
    if command != "serve":
        signals.deliver()
    if command == "schema":
        print(json_schema(), end="", file=stdout)
        return 0
    if command == "cassettes":
        return cassettes.run_cassettes(arguments, stdout, stderr)
    if command == "rules-from":
        return cassettes.run_rules_from(arguments["place"], arguments["to"], stdout, stderr)
    if command == "report":
        form, fail_on = arguments.pop("format"), arguments.pop("fail_on")
        return show_report(arguments.pop("source"), form, fail_on, environ, stdout, stderr)
    if command == "check" and arguments["file"] and arguments["config"]:
        parsing.error(f"argument FILE: not allowed with argument --config: {arguments['file']}")
    return _with_config(command, arguments, environ, stdout, stderr)


def _with_config(
    command: str, arguments: dict[str, Any], environ: Mapping[str, str], stdout: TextIO, stderr: TextIO
) -> int:
    """Load the configuration, and run a command with it."""
    file = arguments.pop("config", None)
    positional, headers, path = (arguments.pop(name, None) for name in ("file", "header", "path"))
    given: dict[SettingPath, Any] = {}
    if command == "record":
        given |= _upstreams(arguments)
    given |= {setting(name): value for name, value in arguments.items() if value is not None}
    from fastmock.server.runtimes.select import RUNTIMES

    layers = Layers(file or (positional if command == "check" else None), environ, given, runtimes=RUNTIMES)
    try:
        app = layers.load()
    except ConfigError as error:
        return _refuse(error, stderr)
    if command == "check":
        for line in listing(app):
            print(line, file=stdout)
        return 0
    if command == "explain":
        return explain(app, str(positional), headers or [], path or "", stdout, stderr)
    level = app.config.settings.server.log_level.upper()
    logging.basicConfig(stream=stderr, level=level, format="%(asctime)s %(levelname)s %(message)s")
    for warning in app.warnings:
        print(f"fastmock: warning: {warning}", file=stderr)
    try:
        return serve(app, layers, stdout, stderr)
    except ConfigError as error:  # the store refuses this server
        return _refuse(error, stderr)


def _refuse(error: ConfigError, stderr: TextIO) -> int:
    """Print the errors of a configuration; return the exit code."""
    count = len(error.problems)
    print(f"fastmock: {count} {'error' if count == 1 else 'errors'} in the configuration", file=stderr)
    for problem in error.problems:
        print(f"  {problem}", file=stderr)
    return 2


def _upstreams(arguments: dict[str, Any]) -> dict[SettingPath, Any]:
    """Take the upstreams of providers out of the arguments of ``record``; return them as settings."""
    found: dict[SettingPath, Any] = {}
    for provider in PROVIDERS:
        url, key = (arguments.pop(f"upstream_{provider.name}{suffix}", None) for suffix in ("", "_key_env"))
        if url is not None or key is not None:
            given = {"url": url or provider.public_url, "key_env": key}
            found["record", "upstreams", provider.name] = {name: value for name, value in given.items() if value}
    return found


def _run(parsing: argparse.ArgumentParser, argv: Sequence[str], environ: Mapping[str, str], stderr: TextIO) -> int:
    """Run the command of ``fastmock run`` and return its exit code."""
    from fastmock.cli.run import check_reports, run_command  # a server needs no part of it

    end = argv.index("--") if "--" in argv else len(argv)
    command = list(argv[end + 1 :])
    if not command and not {"-h", "--help"} & set(argv):
        parsing.error("run: a command is required after --, as in: fastmock run -- pytest")
    arguments = vars(parsing.parse_args(argv[:end]))
    fail_on, reports, config = (arguments.pop(name) for name in ("fail_on", "report", "config"))
    if (fault := check_reports(reports, environ)) is not None:
        parsing.error(f"argument --report: {fault}")
    if config is None and not any(environ.get(name) for name in (*FILE_VARIABLES, CONTENTS_VARIABLE)):
        config = default_file(Path())
    options: list[str] = []
    if arguments["record_to"] is not None and arguments["upstream"] is None:
        options += record_options(arguments.pop("record_to"), environ)
    for name, value in arguments.items():
        if name != "command" and value is not None:
            flag = flags()[name]
            options += [flag.name] if flag.is_switch else [flag.name, value]
    if "findings" in fail_on:
        options.append("--findings")
    return run_command(command, config, options, fail_on, reports, environ, stderr)


def run() -> None:
    """Run the ``fastmock`` command."""
    try:
        sys.exit(main(sys.argv[1:], os.environ, sys.stdout, sys.stderr))
    except KeyboardInterrupt:  # before it listens
        sys.exit(130)
    except BrokenPipeError:  # the reader of the output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    finally:
        gc.freeze()  # the interpreter ends 0.05 s sooner, without its last garbage collections
