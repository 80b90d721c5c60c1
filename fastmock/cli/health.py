"""``fastmock health``: tell whether a server responds."""

import http.client
import os
import sys
from urllib.parse import urlsplit

_TIMEOUT = 2.0  # seconds
_USAGE = """usage: fastmock health [URL]

Tell by the exit code whether a server responds: 0 if it does, 1 if not.

URL is that of the server, by default http://127.0.0.1 with the port of FASTMOCK_PORT, or 8080.
"""


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code; a proxy that the environment names is not used."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(_USAGE, end="")  # noqa: T201 - the output of the command
        return 0
    if len(arguments) > 1 or (arguments and arguments[0].startswith("-")):
        print(_USAGE, end="", file=sys.stderr)  # noqa: T201
        return 2
    url = arguments[0] if arguments else f"http://127.0.0.1:{os.environ.get('FASTMOCK_PORT') or 8080}"
    fault = _fault_of(url)
    if fault is not None:
        print(f"fastmock: {url} does not respond: {fault}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _fault_of(url: str) -> str | None:
    """Return why a server is not healthy; None if it is."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT)
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return None if status == 200 else f"its status is {status}"
