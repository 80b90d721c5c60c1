"""The response at ``/``: the dashboard, a static HTML file, for browsers; a short JSON document for API clients."""

from collections.abc import Callable
from importlib.resources import files

import orjson

from fastmock._version import __version__
from fastmock.core.headers import HeaderFactory
from fastmock.core.http import Reply, Request
from fastmock.core.ids import unique

# No external resources, no scripts but the file's own, and no embedding in frames.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src *; "
_POLICY += "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_WELCOME = {"name": "fastmock", "version": __version__, "status": "ok", "api": "/v1", "control": "/fastmock/"}


def page(made: HeaderFactory) -> Callable[[Request], Reply]:
    """Return the handler of ``/``."""
    html = files("fastmock.control").joinpath("dashboard.html").read_bytes()
    more = (("cache-control", "no-cache"), ("content-security-policy", _POLICY), ("vary", "accept"))
    head, plain = made.get(200, "text/html; charset=utf-8", more), made.get(200, more=(("vary", "accept"),))
    welcome = orjson.dumps(_WELCOME)

    def answer(request: Request) -> Reply:
        if "text/html" in (request.headers.get("accept") or ""):
            return Reply(head, f"req_{unique()}", html)
        return Reply(plain, f"req_{unique()}", welcome)

    return answer
