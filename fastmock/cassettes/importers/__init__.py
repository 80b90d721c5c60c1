"""Import recordings and fixtures of other programs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from fastmock.cassettes.cassette import SUFFIX
from fastmock.cassettes.importers.stored_completions import StoredMessages, recordings_of_completions, stored_messages
from fastmock.cassettes.importers.vcrpy import recordings_of_vcrpy
from fastmock.cassettes.importers.written import Imported, ImportFailedError, documents_of

__all__ = ["ImportFailedError", "import_files"]


def import_files(files: Sequence[Path], to: Path) -> Iterator[str]:
    """Write a cassette from files of other programs; yield a line about each that could not be carried over.

    Raises:
        ImportFailedError: a file is of no known format, or the cassette exists already.
    """
    if to.suffix != SUFFIX:
        raise ImportFailedError(f"{to} is not the name of a cassette, which ends with {SUFFIX}")
    if to.exists():
        raise ImportFailedError(f"{to} exists already")
    lines: list[bytes] = []
    notes: list[str] = []
    documents = [one for file in files for one in documents_of(file)]
    messages = stored_messages(document for _, document in documents)
    for name, document in documents:
        for found in _recordings_of(name, document, messages):
            if isinstance(found, str):
                notes.append(f"{name}: {found}")
            else:
                lines.append(found)
    if not lines:
        raise ImportFailedError("; ".join(("there is nothing to import", *notes)))
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(b"".join(lines))
    yield from (f"not carried over: {note}" for note in notes)
    yield f"{len(lines)} recordings written to {to}"


def _recordings_of(name: str, document: object, messages: StoredMessages) -> Iterator[Imported]:
    if isinstance(document, dict) and isinstance(document.get("interactions"), list):
        return recordings_of_vcrpy(document["interactions"])
    if isinstance(document, list | dict):
        return recordings_of_completions(document, messages)
    raise ImportFailedError(f"{name} is no cassette of vcrpy and no export of stored completions")
