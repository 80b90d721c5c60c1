"""The least that a handler in Python costs: Robyn parses nothing, the handler parses the body, reads one header and
returns a response that is ready.

Usage: ``python -m benchmarks.baselines.robyn_bare PORT FILE``, where FILE contains the body.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import orjson


def main() -> None:
    port, body = int(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    sys.argv = sys.argv[:1]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from robyn.robyn import FunctionInfo, Headers, HttpMethod, Response, Server, SocketHeld

    from fastmock.providers.openai.provider import OPENAI

    headers = dict(OPENAI.heads.get(200).headers) | {"x-request-id": "req_" + "0" * 32}
    ready = Response(200, Headers(headers), body)

    def handle(request: Any) -> Any:
        orjson.loads(request.body)
        if request.headers.get("authorization") is None:
            raise PermissionError
        return ready

    asyncio.set_event_loop(asyncio.new_event_loop())
    server: Any = Server()
    server.apply_response_headers(Headers({}))
    server.add_route(HttpMethod.POST, "/v1/chat/completions", FunctionInfo(handle, False, 1, {}, {}), False)
    server.start(SocketHeld("127.0.0.1", port), 1)


if __name__ == "__main__":
    main()
