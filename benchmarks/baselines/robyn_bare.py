"""The least that a handler in Python costs: it parses the body, reads one header and returns a response that is ready.

Usage: ``python -m benchmarks.baselines.robyn_bare PORT FILE``, where FILE contains the body.
"""

from collections.abc import Callable
from typing import Any

import orjson

from benchmarks.baselines.robyn_server import serve


def handler(headers: dict[str, str], body: bytes) -> Callable[..., Any]:
    from robyn.robyn import Headers, Response

    ready = Response(200, Headers(headers), body)

    def handle(request: Any) -> Any:
        orjson.loads(request.body)
        if request.headers.get("authorization") is None:
            raise PermissionError
        return ready

    return handle


if __name__ == "__main__":
    serve(handler, const=False)
