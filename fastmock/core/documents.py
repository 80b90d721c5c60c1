"""Read JSON and YAML files in which a template variable may be unquoted: ``"created": $timestamp``."""

import os
import re
import select
import stat
import time
from pathlib import Path
from typing import Any

import orjson

from fastmock.core.bounds import BoundsError, check_bounds
from fastmock.core.variables import MARK, VARIABLE

_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|' + VARIABLE, re.S)


_PIPE_PATIENCE = 10.0  # seconds to wait for the end of a pipe
_AT_ONCE = 1 << 20  # bytes


class DocumentError(Exception):
    """A file that cannot be read or parsed; the message is one line and does not name the file."""


def _marked(token: re.Match[str]) -> str:
    text = token.group()
    return text if text[0] == '"' else orjson.dumps(MARK + text.strip("${}")).decode()


def read_file(path: Path, pipes: bool = False) -> str:
    """Return the text of a regular file, or of one that a link points to.

    Args:
        path: the file.
        pipes: whether a pipe or another device is allowed; it is read once, for 10 s at most.

    Raises:
        DocumentError: the file cannot be read, or is not UTF-8.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                with open(descriptor, "rb", closefd=False) as file:
                    data = file.read()
            elif pipes:
                data = _read_pipe(descriptor)
            else:
                raise DocumentError("cannot be read: it is not a regular file")
        finally:
            os.close(descriptor)
        return data.decode("utf-8-sig")
    except OSError as error:
        raise DocumentError(f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise DocumentError(f"is not UTF-8 (byte {error.start})") from None
    except ValueError as error:  # for instance a NUL in the name
        raise DocumentError(f"cannot be read: {error}") from None


def _read_pipe(descriptor: int) -> bytes:
    poll, deadline = select.poll(), time.monotonic() + _PIPE_PATIENCE
    poll.register(descriptor, select.POLLIN)
    data = bytearray()
    while (left := deadline - time.monotonic()) > 0:
        if poll.poll(left * 1000):
            part = os.read(descriptor, _AT_ONCE)
            if not part:
                return bytes(data)
            data += part
    raise DocumentError(f"cannot be read: it did not end within {_PIPE_PATIENCE:.0f} s")


def read_samples(path: Path) -> list[float]:
    """Read recorded samples: a list in a JSON or YAML file (by suffix), else numbers separated by commas or spaces.

    Raises:
        DocumentError: the file cannot be read, is empty, or contains anything but numbers of at least 0.
    """
    if path.suffix in (".json", ".yaml", ".yml"):
        found = read_document(path)
    else:
        try:
            found = [float(word) for word in read_file(path).replace(",", " ").split()]
        except ValueError:
            raise DocumentError("must hold numbers only") from None
    numbers = isinstance(found, list) and all(type(x) in (int, float) and 0 <= x < float("inf") for x in found)
    if not numbers or not found:
        raise DocumentError("must hold a list of numbers of at least 0")
    return [float(number) for number in found]


def read_document(path: Path, pipes: bool = False) -> Any:
    """Parse a file by its suffix: ``.yaml`` and ``.yml`` as YAML, anything else as JSON.

    ``pipes``: see ``read_file``.

    Raises:
        DocumentError: the file cannot be read, is not UTF-8, does not parse, or is too deep or too large.
    """
    return parse_document(read_file(path, pipes), path.suffix in (".yaml", ".yml"))


def parse_document(text: str, is_yaml: bool) -> Any:
    """Parse a text as YAML or JSON.

    Raises:
        DocumentError: it does not parse, or is too deep or too large.
    """
    try:
        if is_yaml:
            from fastmock.core.yaml_documents import load_yaml  # imports PyYAML

            document = load_yaml(text)
        else:
            document = orjson.loads(_JSON_TOKEN.sub(_marked, text))
        check_bounds(document)
    except orjson.JSONDecodeError as error:
        raise DocumentError(f"is not valid JSON: {error}") from None
    except RecursionError:
        raise DocumentError("is nested too deeply") from None
    except BoundsError as error:
        raise DocumentError(str(error)) from None
    except ValueError as error:
        raise DocumentError(f"is not valid YAML: {error}") from None
    return document
