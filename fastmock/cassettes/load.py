"""Load the cassettes that a configuration names."""

from collections.abc import Callable
from pathlib import Path

from fastmock.cassettes.canonical import Canonical
from fastmock.cassettes.cassette import CassetteError
from fastmock.cassettes.library import Library
from fastmock.cassettes.replay import Replayer
from fastmock.cassettes.settings import Cassettes
from fastmock.core.diagnostics import Diagnostics
from fastmock.core.problems import SettingPath
from fastmock.shared.block import Share
from fastmock.shared.counters import Counters
from fastmock.shared.recording_uses import CountedUses, RecordingUses

_MOST_DAMAGES = 20  # damaged lines that are named


def load_cassettes(
    settings: Cassettes,
    path: SettingPath,
    find: Callable[[str], Path],
    takes_header: bool,
    share: Share,
    diagnostics: Diagnostics,
    previous: Replayer | None,
    is_of_session: bool = False,
    common: Replayer | None = None,
) -> Replayer | None:
    """Return what replays the cassettes; None without any.

    Args:
        settings: the settings.
        path: their path in the configuration.
        find: returns the path of a file that the configuration names.
        takes_header: whether a request may set the speed.
        share: the worker's part of the shared block.
        diagnostics: collects errors.
        previous: the replayer of an earlier version of the configuration; its recordings are reused if the settings
            are the same.
        is_of_session: whether they are for one session only: then uses are counted by key, of which there may be 65,536
            over all sessions.
        common: what replays the cassettes of all sessions.
    """
    if not settings.files:
        return None
    canonical = Canonical(settings.normalize)
    if previous is not None and previous.settings == settings:
        library: Library | None = previous.library
    else:
        library = _read(settings, path, find, canonical, diagnostics)
    if library is None:
        return None
    counters = Counters(share)
    uses = CountedUses(counters, library.signature) if is_of_session else RecordingUses(share, library.signature)
    return Replayer(library, canonical, settings, counters, uses, takes_header, common)


def _read(
    settings: Cassettes,
    path: SettingPath,
    find: Callable[[str], Path],
    canonical: Canonical,
    diagnostics: Diagnostics,
) -> Library | None:
    """Read the cassettes; return None if there are errors."""
    places = []
    for number, name in enumerate(settings.files):
        place = find(name)
        try:
            Library.signature_of([place])
            places.append(place)
        except CassetteError as error:
            diagnostics.error((*path, "files", number), str(error))
        except OSError as error:
            diagnostics.error((*path, "files", number), f"{name} cannot be read: {error.strerror}")
    try:
        library = Library(places, canonical, settings.match)
    except (CassetteError, OSError) as error:
        diagnostics.error((*path, "files"), f"cannot be read: {error}")
        return None
    if not len(library) and not library.damages:
        diagnostics.warn(path, f"there are no recordings in {', '.join(settings.files)}")
    for damage in library.damages[:_MOST_DAMAGES]:
        if settings.lenient:
            diagnostics.warn(path, f"{damage.file}: {damage} and is left out")
        else:
            diagnostics.error((), f"{damage}", str(damage.file))
    if len(library.damages) > _MOST_DAMAGES and not settings.lenient:
        diagnostics.error(path, f"{len(library.damages) - _MOST_DAMAGES} more lines are damaged")
    return library
