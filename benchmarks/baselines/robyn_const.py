"""The upper bound: Robyn's const route, which responds with the same bytes without running any Python.

Usage: ``python -m benchmarks.baselines.robyn_const PORT FILE``, where FILE contains the body.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    port, body = int(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    sys.argv = sys.argv[:1]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from robyn.robyn import FunctionInfo, Headers, HttpMethod, Response, Server, SocketHeld

    from fastmock.providers.openai.provider import OPENAI

    headers = dict(OPENAI.heads.get(200).headers) | {"x-request-id": "req_" + "0" * 32}
    asyncio.set_event_loop(asyncio.new_event_loop())
    server: Any = Server()
    server.apply_response_headers(Headers({}))
    info = FunctionInfo(lambda: Response(200, headers, body), False, 0, {}, {})
    server.add_route(HttpMethod.POST, "/v1/chat/completions", info, True)
    server.start(SocketHeld("127.0.0.1", port), 1)


if __name__ == "__main__":
    main()
