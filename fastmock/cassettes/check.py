"""Check the settings of recording before anything is recorded."""

import tempfile
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from fastmock.cassettes.cassette import SUFFIX
from fastmock.cassettes.settings import Record
from fastmock.core.diagnostics import Diagnostics
from fastmock.core.network import is_loopback
from fastmock.core.problems import SettingPath, did_you_mean

_NO = ("", "0", "false", "no")


def check_record(
    settings: Record, host: str, port: int, has_keys: bool, providers: Iterable[str], diagnostics: Diagnostics
) -> None:
    """Check the settings of recording.

    Args:
        settings: the settings.
        host, port: the name or address, and the port, that the server listens on.
        has_keys: whether only some API keys are accepted.
        providers: the names of the providers.
        diagnostics: collects errors.
    """
    if settings.to is None:
        return
    if find_spec("aiohttp") is None:
        diagnostics.error(("record",), "needs the extra: pip install 'fastmock[record]'")
    names = [*providers]
    for name in settings.upstreams:
        if name not in names:
            known = did_you_mean(name, names) or f"; known are {', '.join(names)}"
            diagnostics.error(("record", "upstreams", name), f"is not a provider{known}")
    if _own_keys(settings) and not has_keys and not is_loopback(host, names=True):
        diagnostics.error(
            ("record",),
            f"would lend its API key to all who reach {host}: listen on 127.0.0.1, or set 'auth.mode: keys'",
        )
    given: list[tuple[SettingPath, str]] = [
        (("record", "upstreams", name), one.url) for name, one in settings.upstreams.items()
    ]
    if settings.upstream is not None:
        given.append((("record", "upstream"), settings.upstream))
    for path, url in given:
        if _is_own(url, host, port):
            diagnostics.error(path, f"{url} is this server itself")


def _is_own(url: str, host: str, port: int) -> bool:
    """Return whether a URL is the address that the server listens on."""
    parts = urlsplit(url)
    name = parts.hostname or ""
    if port != (parts.port or (443 if parts.scheme == "https" else 80)):
        return False
    is_reached = host in ("0.0.0.0", "::", "") or is_loopback(host, names=True)  # noqa: S104 - compares
    return name == host or (is_reached and is_loopback(name, names=True))


def check_environment(settings: Record, environ: Mapping[str, str], diagnostics: Diagnostics) -> None:
    """Check the environment: the place of the cassettes, the variables with API keys, and whether this is continuous
    integration.
    """
    if settings.to is None:
        return
    if (fault := _fault_of(Path(settings.to))) is not None:
        diagnostics.error(("record", "to"), f"{settings.to} {fault}")
    if environ.get("CI", "").lower() not in _NO and not settings.allow_in_ci:
        diagnostics.error(
            ("record", "to"), "recording is refused because CI is set; --allow-record allows it ('record.allow_in_ci')"
        )
    for name in dict.fromkeys(_own_keys(settings)):
        if not environ.get(name):
            diagnostics.error(("record",), f"the environment variable {name}, the key for an upstream, is not set")


def _own_keys(settings: Record) -> list[str]:
    """Return the variables with API keys for upstreams."""
    names = (settings.upstream_key_env, *(one.key_env for one in settings.upstreams.values()))
    return [name for name in names if name is not None]


def _fault_of(place: Path) -> str | None:
    """Return the reason why cassettes cannot be written to a place; None if they can."""
    directory = place.parent if place.suffix == SUFFIX else place
    try:
        if place.suffix != SUFFIX and place.is_file():
            return f"is a file without the suffix {SUFFIX}"
        while not directory.exists() and directory != directory.parent:
            directory = directory.parent
        if not directory.is_dir():
            return f"cannot be written: {directory} is not a directory"
        with tempfile.TemporaryFile(dir=directory):  # the mode of a directory does not tell it all
            pass
    except OSError as error:
        return f"cannot be written: {directory}: {error.strerror}"
    except ValueError as error:  # a name that no file can have
        return f"cannot be written: {error}"
    return None
