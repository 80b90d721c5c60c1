"""The cassette of one test of pytest: where it is, and whether and how it is recorded."""

import fcntl
import os
import tempfile
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from fastmock.testing.environment import record_options
from fastmock.testing.server import Server, StartError
from fastmock.testing.session_server import SessionServer, directory_of_run

RECORD_MODES = ("none", "once", "new", "all")
"""Modes of the marker: replay only, record if there is no cassette, record unmatched requests, record everything."""
_CASSETTES = "cassettes"  # directory beside the test
_SUFFIX = ".jsonl"


def cassette_of(item: pytest.Item, name: str) -> Path:
    """Return the file of a cassette: in the directory ``cassettes`` beside the test, unless it is a path.

    Raises:
        pytest.fail.Exception: a server could not replay it.
    """
    path = Path(name if name.endswith(_SUFFIX) else f"{name}{_SUFFIX}")
    place = (item.path.parent / path) if len(path.parts) > 1 else item.path.parent / _CASSETTES / path
    config = item.config.getoption("--fastmock-config")
    root = Path(config).parent if config else Path()
    if not place.resolve().is_relative_to(root.resolve()):
        of = "of --fastmock-config" if config else "in which pytest runs"
        pytest.fail(f"the cassette {place} is not below {root.resolve()}, the directory {of}", pytrace=False)
    return place


def mode_of(item: pytest.Item, given: Mapping[str, Any]) -> str:
    """Return the mode of a test: that of the option, else of its marker.

    Raises:
        pytest.fail.Exception: the marker is invalid.
    """
    mode = given.get("record")
    if mode is not None and mode not in RECORD_MODES:
        pytest.fail(f"record={mode!r} of {item.nodeid}: expected one of {', '.join(RECORD_MODES)}", pytrace=False)
    if mode is not None and given.get("cassette") is None:
        pytest.fail(f"record={mode!r} of {item.nodeid} needs cassette='NAME'", pytrace=False)
    return item.config.getoption("--fastmock-record") or mode or "none"


class ItemRecording:
    """A test that records: with a server of its own, which writes to a temporary directory until the test has passed.

    Attributes:
        server: the server.
    """

    def __init__(self, item: pytest.Item, place: Path, mode: str) -> None:
        """Start the server, in the environment of the test with the URLs and the keys of the upstreams.

        Its rules answer as they will when the cassette is replayed; all other requests are forwarded.

        Raises:
            pytest.fail.Exception: it does not start.
        """
        self._place = place
        self._replaces = mode == "all"
        self._marks = directory_of_run(item.config)
        self._directory = tempfile.TemporaryDirectory(prefix="fastmock-")
        known = str(place) if mode == "new" and place.exists() else ""
        options = [*record_options(str(self._new), os.environ), "--record-requests", "unmatched", "--cassettes", known]
        try:
            config = item.config.getoption("--fastmock-config") or {}
            self._server = Server(*options, config=config, timeout=item.config.getoption("--fastmock-timeout"))
        except StartError as error:
            self._directory.cleanup()
            pytest.fail(str(error), pytrace=False)
        self.server = SessionServer(self._server.url, log=self._server.log)

    @classmethod
    def start(cls, item: pytest.Item, place: Path, mode: str) -> "ItemRecording | None":
        """Start recording, if the mode says so; tests of one run that share a cassette record to it together."""
        is_recorded = place.exists() and not _mark(directory_of_run(item.config), place).exists()
        if mode == "none" or (mode == "once" and is_recorded):
            return None
        return cls(item, place, mode)

    @property
    def _new(self) -> Path:
        return Path(self._directory.name) / f"new{_SUFFIX}"

    def finish(self, is_kept: bool) -> None:
        """Stop the server, and add its recordings to the cassette if they are to be kept."""
        self._server.stop()
        if is_kept and self._new.exists():
            self._merge(self._new.read_bytes())
        self._directory.cleanup()

    def _merge(self, lines: bytes) -> None:
        """Append to the cassette; the first test of a run that records everything anew replaces it."""
        self._place.parent.mkdir(parents=True, exist_ok=True)
        with (self._marks / "merging").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            mark = _mark(self._marks, self._place)
            if self._replaces and not mark.exists():
                new = self._place.with_name(f".{self._place.name}.new")
                new.write_bytes(lines)
                new.replace(self._place)
            else:
                with self._place.open("ab") as file:
                    file.write(lines)
            mark.touch()


def _mark(directory: Path, place: Path) -> Path:
    """Return the file that exists once a run has recorded a cassette."""
    return directory / blake2b(str(place.resolve()).encode(), digest_size=16).hexdigest()
