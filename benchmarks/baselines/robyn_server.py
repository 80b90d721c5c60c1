"""A Robyn server with one route, pinned to one core, for the baselines."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def serve(handler: Callable[[dict[str, str], bytes], Callable[..., Any]], const: bool) -> None:
    """Serve ``POST /v1/chat/completions``, as the arguments of the command say: ``PORT FILE``.

    Args:
        handler: returns the handler for given headers and the body in FILE.
        const: whether the response is a constant, which Robyn asks for once.
    """
    port, body = int(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    sys.argv = sys.argv[:1]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from robyn.robyn import FunctionInfo, Headers, HttpMethod, Server, SocketHeld

    from fastmock.providers.openai.provider import OPENAI

    headers = dict(OPENAI.heads.get(200).headers) | {"x-request-id": "req_" + "0" * 32}
    asyncio.set_event_loop(asyncio.new_event_loop())
    server: Any = Server()
    server.apply_response_headers(Headers({}))
    info = FunctionInfo(handler(headers, body), False, 0 if const else 1, {}, {})
    server.add_route(HttpMethod.POST, "/v1/chat/completions", info, const)
    server.start(SocketHeld("127.0.0.1", port), 1)
