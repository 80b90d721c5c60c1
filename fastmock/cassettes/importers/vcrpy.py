"""Import the cassettes of vcrpy, in YAML or JSON."""

import base64
import gzip
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from fastmock.cassettes.importers.written import Imported, line_of


def recordings_of_vcrpy(interactions: list[Any]) -> Iterator[Imported]:
    """Yield the recordings of a cassette."""
    for number, interaction in enumerate(interactions):
        try:
            yield _recording(interaction)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            yield f"interactions[{number}] is incomplete: {error!r}"


def _recording(interaction: Mapping[str, Any]) -> bytes:
    request, response = interaction["request"], interaction["response"]
    status = response["status"]["code"] if isinstance(response.get("status"), Mapping) else response["status_code"]
    headers = _headers(response.get("headers"))
    content = _body(response) or _content(response.get("content"))
    coding = headers.get("content-encoding", "").lower()
    if coding and not _is_coded(content, coding):  # with decode_compressed_response, or by the stub of httpx
        del headers["content-encoding"]
    sent = _headers(request.get("headers"))
    return line_of(request["method"], request["uri"], sent, _body(request), int(status), headers, content)


def _headers(written: Any) -> dict[str, str]:
    """Return headers by name in lower case; each was written as a text or a list of texts."""
    found = {}
    for name, value in dict(written or {}).items():
        values = value if isinstance(value, list | tuple) else [value]
        found[str(name).lower()] = ", ".join(map(_decoded, values))
    return found


def _decoded(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _body(message: Mapping[str, Any]) -> bytes:
    """Return the body of a request or a response; some suites write it in parsed form."""
    if "parsed_body" in message:
        return orjson.dumps(message["parsed_body"])
    return _content(message.get("body"))


def _content(body: Any) -> bytes:
    """Return a body: a text, bytes, an object with one of them or base64, or JSON that was written as such."""
    if isinstance(body, Mapping):
        if "base64_string" in body:
            return base64.b64decode(body["base64_string"])
        if "string" in body:
            return _content(body["string"])
        if not body:
            return b""
        return orjson.dumps(body)
    if isinstance(body, bytes):
        return body
    if isinstance(body, list):
        return orjson.dumps(body)
    return b"" if body is None else str(body).encode()


def _is_coded(content: bytes, coding: str) -> bool:
    """Return whether a body still has its content coding."""
    try:
        if coding in ("gzip", "x-gzip"):
            gzip.decompress(content)
        elif coding == "deflate":
            zlib.decompress(content)
        else:
            orjson.loads(content)  # br or zstd: JSON shows that it was decoded
            return False
    except (OSError, EOFError, zlib.error):
        return False
    except orjson.JSONDecodeError:
        return not content.lstrip().startswith(b"data:")
    return True
