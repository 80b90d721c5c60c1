"""Watches the configuration and its files, in a separate process, and signals the parent when one has changed.

Notifications about the directories only trigger a check: a change is a file that differs from the one before, so
editors that replace files, and volumes that swap links, are noticed too.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from fastmock.config.config import Config
from fastmock.config.load import DEFAULT_FILES

_QUIET_MS = 100  # without notifications before the files are checked
_PATIENCE_MS = 1000
_PR_SET_PDEATHSIG = 1


class Watcher:
    """The watching process, as seen by the parent: restarted when other files are to be watched."""

    def __init__(self, config: Config) -> None:
        self._files = files_of(config)
        self._before = _states(self._files)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start to watch, for changes since the configuration was read."""
        known = json.dumps({str(file): state for file, state in zip(self._files, self._before, strict=True)})
        words = [sys.executable, "-m", "fastmock.server.file_watcher", str(os.getpid()), known]
        self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL)  # noqa: S603 - our own program

    def follow(self, config: Config) -> None:
        """Watch the files of another configuration."""
        files = files_of(config)
        if files != self._files:
            self._files, self._before = files, _states(files)
            self.stop()
            self.start()

    def stop(self) -> None:
        """Stop watching."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def files_of(config: Config) -> list[Path]:
    """Return the files that a configuration was read from; without any, the default files that could be loaded."""
    first = [config.file] if config.file else [Path(name) for name in DEFAULT_FILES]
    return sorted({path.absolute() for path in (*first, *config.files())})


def _states(files: Iterable[Path]) -> list[list[int] | None]:
    """Return an identifying state of each file; None if it does not exist."""
    found: list[list[int] | None] = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append([status.st_mtime_ns, status.st_size, status.st_ino])
    return found


def main(arguments: Sequence[str]) -> None:
    """Watch until the parent ends."""
    from watchfiles import watch

    parent, known = int(arguments[0]), json.loads(arguments[1])
    files, before = [Path(name) for name in known], list(known.values())
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from the terminal; the parent stops this process
    directories = sorted({file.parent for file in files if os.path.isdir(file.parent)})  # noqa: PTH112
    changes = watch(
        *directories,
        watch_filter=None,
        debounce=_PATIENCE_MS,
        step=_QUIET_MS,
        rust_timeout=_PATIENCE_MS,
        yield_on_timeout=True,
        recursive=False,
        raise_interrupt=False,
    )
    while os.getppid() == parent:
        now = _states(files)
        if now != before:
            before = now
            os.kill(parent, signal.SIGHUP)
        if next(changes, None) is None:
            return


if __name__ == "__main__":
    main(sys.argv[1:])
