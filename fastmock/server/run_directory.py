"""The directory for files that live as long as the server, and its removal after any end of the server."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

_is_ours = re.compile(r"fastmock-\d+-[0-9a-f]{8}").fullmatch
_PATIENCE = 1.0  # seconds
# Runs apart from the parent, which may be killed: standard input ends when the last process that holds it has ended.
_REMOVE = """
import os, sys
sys.stdin.read()
if os.path.exists(sys.argv[1]):  # else the parent has removed it
    import shutil  # which takes 8 ms

    shutil.rmtree(sys.argv[1], True)
"""


class RunDirectory:
    """A new directory of this server, below the system's directory for temporary files.

    It is locked by the parent and, since forks inherit the lock, by every worker. Unlocked directories were left behind
    by servers that died together with all their processes, and are removed.

    Attributes:
        path: the directory; None if it cannot be created, as on a read-only file system.
        failure: the reason for that.
    """

    def __init__(self) -> None:
        self.path: Path | None = None
        self.failure = ""
        self._remover: subprocess.Popen[bytes] | None = None
        try:
            parent = Path(tempfile.gettempdir())
            _remove_abandoned(parent)
            name = f"fastmock-{os.getpid()}-{os.urandom(4).hex()}"
            hidden, path = parent / f".{name}", parent / name
            hidden.mkdir(mode=0o700)
            self._lock = os.open(hidden, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            hidden.rename(path)  # other servers look at it only now that it is locked
            self.path = path
        except OSError as error:
            self.failure = error.strerror or str(error)

    def guard(self) -> None:
        """Ensure that the directory is removed even if this process is killed."""
        if self.path is not None:
            with suppress(OSError):  # then the next server removes it
                self._remover = subprocess.Popen(  # noqa: S603 - our own program
                    [sys.executable, "-I", "-S", "-c", _REMOVE, str(self.path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    cwd="/",
                )

    def forget_in_child(self) -> None:
        """Leave the removal to the parent, in a newly forked process."""
        if self._remover and self._remover.stdin:
            self._remover.stdin.close()

    def remove(self) -> None:
        """Remove the directory; the server has stopped."""
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._remover and self._remover.stdin:
            self._remover.stdin.close()
            try:
                self._remover.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._remover.kill()


def _remove_abandoned(parent: Path) -> None:
    for path in parent.iterdir():
        if not _is_ours(path.name):
            continue
        try:
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if os.fstat(directory).st_uid == os.geteuid():
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:  # it is locked
            continue
        finally:
            os.close(directory)
