"""Parse multipart bodies, to record and to match their parts: their boundary differs from request to request."""

from collections.abc import Sequence
from email.message import Message
from hashlib import blake2b
from typing import Any, NamedTuple

from fastmock.cassettes.secrets import is_secret, scrub, scrub_text
from fastmock.core.credentials import REDACTED

_LONGEST_TEXT = 65_536  # bytes of a part that is kept as text


class Part(NamedTuple):
    """A part of a multipart body."""

    name: str
    filename: str | None
    content_type: str
    content: bytes

    def as_json(self, secrets: Sequence[bytes]) -> dict[str, Any]:
        """Return the part without secrets; the content of a file as its size and hash."""
        found: dict[str, Any] = {"name": scrub_text(self.name, secrets)}
        if self.filename is not None:
            found["filename"] = scrub_text(self.filename, secrets)
        if self.content_type:
            found["content_type"] = scrub_text(self.content_type, secrets)
        if is_secret(self.name):
            return {**found, "text": REDACTED}
        if self.filename is None and len(self.content) <= _LONGEST_TEXT:
            try:
                return {**found, "text": scrub(self.content, secrets).decode()}
            except UnicodeDecodeError:
                pass
        digest = blake2b(self.content, digest_size=16).hexdigest()
        return {**found, "size": len(self.content), "blake2b": digest}


def joined_hash(body: bytes) -> bytes:
    """Return the hash of the contents of all parts, joined: all that Robyn shows of a multipart body."""
    return blake2b(body, digest_size=16).digest()


def boundary_of(content_type: str) -> str:
    """Return the boundary that a content type names; empty without one."""
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary", "")
    return boundary if isinstance(boundary, str) else ""


def parts_of(body: bytes, boundary: str) -> list[Part] | None:
    """Return the parts of a body; None if it is not a complete multipart body (RFC 7578)."""
    mark = b"--" + boundary.encode(errors="replace")
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        return None
    found = []
    for piece in pieces[1:-1]:
        head, separator, content = piece.lstrip(b" \t").removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not separator:
            return None
        message = Message()
        for line in head.split(b"\r\n"):
            header, _, value = line.partition(b":")
            message[header.decode(errors="replace").strip()] = value.decode(errors="replace").strip()
        fields = [message.get_param(one, None, "content-disposition") for one in ("name", "filename")]
        name, filename = (one if isinstance(one, str) else None for one in fields)
        found.append(Part(name or "", filename, message.get("content-type", ""), content))
    return found
