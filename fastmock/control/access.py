"""Access to the control API: with a token or, if none is set, from this machine only."""

from collections.abc import Callable
from hmac import compare_digest

from fastmock.core.credentials import LONGEST_SESSION, SESSION_HEADER, key_in, session_of, split_key
from fastmock.core.errors import ApiError
from fastmock.core.http import Request
from fastmock.core.network import is_loopback

_PROXY_HEADERS = frozenset(("forwarded", "via", "x-real-ip"))
_PROXY_PREFIX = "x-forwarded-"
_OWN_SITE = (None, "same-origin", "none")  # "none": the user typed the address

_UNAUTHORIZED = (
    "The control API needs its token as a bearer token: the one in FASTMOCK_ADMIN_TOKEN ('admin.token') or, where none "
    "is set, the one that the server printed on standard error when it started."
)
_ADVICE = "set FASTMOCK_ADMIN_TOKEN ('admin.token') and send it as a bearer token"


class Access:
    """Decides which requests may use the control API, and the session of each."""

    def __init__(self, token: Callable[[], str | None]) -> None:
        """``token`` returns the token that is required now; None if none is."""
        self._token = token

    def check(self, request: Request) -> None:
        """Let a request pass, or raise the ApiError to respond with."""
        host = _host(request)
        token = self._token()
        if token is None:
            _check_local(request, host)
        elif not _matches(_sent(request), token) and not _matches(split_key(_sent(request))[1], token):
            raise ApiError(401, _UNAUTHORIZED, None, "invalid_token")

    def session(self, request: Request) -> str:
        """Return the session of a call; empty without one.

        It is the header ``x-fastmock-session``, else the prefix of the API key; where a token is required, the prefix
        of the token (``session:token``).
        """
        token = self._token()
        if token is None:
            return session_of(request.headers)
        named = request.headers.get(SESSION_HEADER)
        if named is not None:
            return named.strip()[:LONGEST_SESSION]
        sent = _sent(request)
        return "" if _matches(sent, token) else split_key(sent)[0]


def _sent(request: Request) -> str:
    return key_in(request.headers, "authorization") or ""


def _matches(sent: str, token: str) -> bool:
    return compare_digest(sent.encode(errors="replace"), token.encode())


def _host(request: Request) -> str:
    """Return the host of a request, with its port.

    Raises:
        ApiError: there are several Host headers, of which each runtime would choose a different one.
    """
    get_all = getattr(request.headers, "get_all", None)  # on the runtimes' headers, which keep repeated ones
    found = list(get_all("host") or ()) if get_all else [request.headers.get("host")]
    hosts = [host for host in found if host is not None]
    if len(hosts) > 1 or (request.host and hosts and hosts != [request.host]):
        raise ApiError(400, "The request has several Host headers.", None, "invalid_host")
    return request.host or (hosts[0] if hosts else "localhost")


def _check_local(request: Request, host: str) -> None:
    """Refuse requests from other machines, through a proxy, or from a page of another site."""
    if not is_loopback(request.client):
        raise _not_local(f"The control API answers only this machine; to use it from another, {_ADVICE}.")
    if any(name in _PROXY_HEADERS or name.startswith(_PROXY_PREFIX) for name, _ in request.headers.items()):
        raise _not_local(f"The control API answers no proxy without a token; {_ADVICE}.")
    if not is_loopback(host, names=True):
        raise _not_local(f"The control API answers only at localhost and loopback addresses; elsewhere, {_ADVICE}.")
    get = request.headers.get
    origin = get("origin")
    if get("sec-fetch-site") not in _OWN_SITE or (origin is not None and origin.partition("://")[2] != host):
        raise _not_local("The control API answers no page of another site.")


def _not_local(message: str) -> ApiError:
    return ApiError(403, message, None, "not_local")
