"""The upper bound: Robyn's const route, which responds with the same bytes without running any Python.

Usage: ``python -m benchmarks.baselines.robyn_const PORT FILE``, where FILE contains the body.
"""

from collections.abc import Callable
from typing import Any

from benchmarks.baselines.robyn_server import serve


def handler(headers: dict[str, str], body: bytes) -> Callable[..., Any]:
    from robyn.robyn import Response

    return lambda: Response(200, headers, body)


if __name__ == "__main__":
    serve(handler, const=True)
