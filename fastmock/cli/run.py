"""``fastmock run``: start a server, run a command whose SDK clients call it, and report."""

import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

import orjson

from fastmock.cli.report import FAILED, fails
from fastmock.server import signals
from fastmock.telemetry.report import Report
from fastmock.telemetry.report_formats import as_markdown, as_text, format_of
from fastmock.testing.environment import REMOVED, client_environment
from fastmock.testing.server import Server, StartError

_OWN_FAILURE, _NOT_EXECUTABLE, _NOT_FOUND = 125, 126, 127  # exit codes
_START_TIMEOUT = 60.0  # seconds; a CI machine may be slow
_SUMMARY = "GITHUB_STEP_SUMMARY"  # the variable that names the file of a job's summary, in Markdown
_WAITED_FOR = {signal.SIGCHLD, *signals.FORWARDED}
_SI_KERNEL = 0x80  # si_code of signals that the terminal sends to all of its processes


def run_command(
    command: list[str],
    config: str | Path | None,
    options: Sequence[str],
    fail_on: Sequence[str],
    reports: Sequence[str],
    environ: Mapping[str, str],
    stderr: TextIO,
) -> int:
    """Run a command with a server of its own.

    Args:
        command: the command and its arguments.
        config: the configuration file; None for that of the environment, if any.
        options: options of ``fastmock serve``.
        fail_on: which of ``report.FAILURES`` make a command fail that has passed.
        reports: the files to write the report to, in the formats of their suffixes.
        environ: the environment variables.
        stderr: the standard error.

    Returns:
        The exit code of the command; 128 + n if signal n ended it; 3 if it passed but ``fail_on`` did not, 125 if the
        server failed, 126 if the command cannot be executed, 127 if it was not found.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR) - _WAITED_FOR
    with tempfile.TemporaryDirectory(prefix="fastmock-") as directory:
        file = Path(directory) / "report.json"
        try:
            log = Path(directory) / "log"
            all_options = (*options, "--report", str(file))
            # The tests that the command runs may name the cassettes of their sessions.
            allowed = {"FASTMOCK_ADMIN_FILES": "true", **environ}
            server = Server(*all_options, config=config, environ=allowed, log=log, timeout=_START_TIMEOUT)
        except StartError as error:
            print(error, file=stderr)
            return _OWN_FAILURE
        try:
            if early := signal.sigpending() & signals.STOP:  # before there is a command to forward them to
                return 128 + int(min(early))
            given = {name: value for name, value in environ.items() if name not in REMOVED}
            variables = {**given, **client_environment(server.url, environ)}
            process = os.posix_spawnp(command[0], command, variables, setsigmask=before)
        except OSError as error:
            print(f"fastmock: cannot run {command[0]}: {error.strerror}", file=stderr)
            return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
        else:
            code = _wait(process)
            lost = not server.is_running
        finally:
            server.stop()
        if lost or not file.exists():
            print(f"fastmock: the server was lost; its output:\n{server.output()}", file=stderr)
            return code or _OWN_FAILURE
        report = Report.from_json(orjson.loads(file.read_bytes()))
    print(as_text(report), end="", file=stderr)
    if not _write(report, reports, environ, stderr):
        return code or _OWN_FAILURE
    return code or (FAILED if fails(report, fail_on) else 0)


def _wait(process: int) -> int:
    """Forward signals until the command has ended; return its exit code, 128 + n after signal n."""
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        received = signal.sigwaitinfo(_WAITED_FOR)
        if received.si_signo != signal.SIGCHLD and received.si_code != _SI_KERNEL:
            os.kill(process, received.si_signo)


def _write(report: Report, files: Sequence[str], environ: Mapping[str, str], stderr: TextIO) -> bool:
    """Write the report to files; return whether that succeeded."""
    for file in files:
        try:
            if file == environ.get(_SUMMARY):
                with Path(file).open("a") as summary:
                    summary.write(as_markdown(report))
            else:
                Path(file).write_text(format_of(file).write(report))
        except OSError as error:
            print(f"fastmock: cannot write the report to {file}: {error.strerror}", file=stderr)
            return False
    return True


def check_reports(files: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Return the fault of the first file whose suffix names no format; None without one."""
    for file in files:
        if file != environ.get(_SUMMARY):
            try:
                format_of(file)
            except ValueError as error:
                return f"{file} {error}"
    return None
