"""``fastmock report``: show the report of a running server, or one that was written to a file."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import orjson

from fastmock.telemetry.report import Report
from fastmock.telemetry.report_formats import FORMATS
from fastmock.testing.environment import base_url

FAILURES: Mapping[str, Callable[[Report], object]] = {
    "misses": lambda report: report.unmatched,
    "unused": lambda report: report.unused or report.unused_recordings,
    "drift": lambda report: report.cassettes and report.cassettes.drift,
    "findings": lambda report: report.failures,
}
"""Reasons of ``--fail-on``: requests that nothing matched, rules and recordings never used, recordings replayed
for requests that differ, findings about clients."""
FAILED = 3
"""The exit code if ``--fail-on`` applies."""


def fails(report: Report, fail_on: Sequence[str]) -> bool:
    """Return whether a report fails by any of ``FAILURES``."""
    return any(FAILURES[name](report) for name in fail_on)


def show_report(
    source: str, form: str, fail_on: Sequence[str], environ: Mapping[str, str], stdout: TextIO, stderr: TextIO
) -> int:
    """Print a report.

    Args:
        source: the URL of a server, or the name of a JSON file.
        form: the format, one of ``FORMATS``.
        fail_on: which of ``FAILURES`` make the command fail.
        environ: the environment variables, for the token of the control API.
        stdout: the standard output.
        stderr: the standard error.

    Returns:
        The exit code: 0, 3 if ``fail_on`` applies, 1 if there is no report.
    """
    from fastmock.testing.control import ControlError

    try:
        report = Report.from_json(_read(source, environ.get("FASTMOCK_ADMIN_TOKEN")))
    except (ControlError, OSError, ValueError, KeyError, TypeError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        print(f"fastmock: there is no report at {source}: {reason}", file=stderr)
        return 1
    print(FORMATS[form].write(report), end="", file=stdout)
    if "findings" in fail_on and report.findings is None:
        print("fastmock: the server does not watch for findings: start it with --findings", file=stderr)
        return 1
    return FAILED if fails(report, fail_on) else 0


def _read(source: str, token: str | None) -> Any:
    if "://" in source:
        from fastmock.testing.control import Control  # a server needs no HTTP client

        return Control(base_url(source), token).call("GET", "report", query={"final": "true"})
    return orjson.loads(Path(source).read_bytes())
