"""The connection to the store, of one process: requests go on while it is lost, and it heals by itself."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from fastmock.core.problems import did_you_mean
from fastmock.replication.settings import Store
from fastmock.shared.store_state import StoreState

_PATIENCE = 0.25  # seconds to wait for the store before requests proceed without it
READING = 5.0
"""Seconds to wait for the store where no request waits."""
_RETRY = 0.5  # seconds between attempts to reach it again
_OLDEST = (6, 2)  # version of Redis; a Valkey says that it is a Redis 7.2
_OPTIONS = (
    *("db", "username", "password", "client_name", "protocol", "ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs"),
    *("ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "ssl_min_version", "ssl_ciphers"),
)
"""The options allowed in a URL. The client would also accept any other of its own arguments, as a string."""
_SENTINEL_PORT = 26_379

Result = TypeVar("Result")
_connections: "dict[tuple[str | None, str], Connection]" = {}
_LOG = logging.getLogger("fastmock")


class StoreError(ValueError):
    """The store cannot be used as configured; the message contains no secret."""


def _client_of(settings: Store, patience: float) -> Any:
    """Return a client of the store; it connects on first use.

    Args:
        settings: the settings, with a URL.
        patience: seconds to wait for each answer.

    Raises:
        StoreError: the URL is invalid, or the client is not installed.
    """
    url = settings.url or ""
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise StoreError("needs the extra: pip install 'fastmock[redis]'") from None
    for name in parse_qs(urlsplit(url).query, keep_blank_values=True):
        if name not in _OPTIONS:
            near = did_you_mean(name, _OPTIONS) or f"; known are {', '.join(_OPTIONS)}"
            raise StoreError(f"has an unknown option: {name!r}{near}")
    once: Mapping[str, Any] = {
        "socket_timeout": patience,
        "socket_connect_timeout": _PATIENCE,
        "retry": Retry(NoBackoff(), 0),
    }
    scheme, _, rest = url.partition("://")
    scheme = scheme.replace("valkey", "redis", 1)
    try:
        if scheme in ("redis+sentinel", "rediss+sentinel"):
            return _from_sentinels(f"{scheme}://{rest}", once)
        if scheme in ("redis+cluster", "rediss+cluster"):
            return redis.RedisCluster.from_url(f"{scheme.partition('+')[0]}://{rest}", **once)
        client = redis.Redis.from_url(f"{scheme}://{rest}", **once)
    except StoreError:
        raise
    except redis.RedisError as error:
        raise StoreError(_reason(error)) from None
    except Exception as error:  # any text of theirs may quote the password
        known = "expected such as redis://host:6379/0"
        raise StoreError(f"is not a valid store URL ({type(error).__name__}): {known}") from None
    try:
        client.connection_pool.make_connection()  # does not connect yet
    except Exception as error:
        raise StoreError(f"has an option that cannot be used ({type(error).__name__})") from None
    return client


def _from_sentinels(url: str, once: Mapping[str, Any]) -> Any:
    """Return a client of the primary that Sentinels name; ``url`` is ``redis+sentinel://HOSTS/NAME/DB``."""
    from redis.sentinel import Sentinel

    parts = urlsplit(url)
    user, _, hosts = parts.netloc.rpartition("@")
    name, _, db = parts.path.strip("/").partition("/")
    if not name:
        raise StoreError("needs the name of the primary: redis+sentinel://host:26379/NAME/0")
    sentinels = []
    for one in hosts.split(","):
        host, _, port = one.rpartition(":") if ":" in one else (one, "", "")
        sentinels.append((host, int(port) if port else _SENTINEL_PORT))
    username, _, password = user.partition(":")
    given = {"username": unquote(username) or None, "password": unquote(password) or None, "db": int(db or 0)}
    found = Sentinel(sentinels, sentinel_kwargs=dict(once))  # type: ignore[no-untyped-call]
    return found.master_for(name, **given, **once)  # type: ignore[no-untyped-call]


def check_store(settings: Store) -> str:
    """Look whether the store can be used; return the reason why it cannot be reached now, empty if it can.

    Raises:
        StoreError: it can never be used: it refuses the password, or is too old.
    """
    import redis

    client = _client_of(settings, 2.0)
    try:
        version = str(client.info("server")["redis_version"])
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise StoreError(f"refuses the password: {_reason(error)}") from None
    except redis.RedisError as error:
        text = _reason(error)
        if "WRONGPASS" in text or "NOAUTH" in text or "invalid username-password" in text:
            raise StoreError(f"refuses the password: {text}") from None
        return text
    except OSError as error:
        return _reason(error)
    finally:
        client.close()
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        raise StoreError(f"has the version {version}, but {_OLDEST[0]}.{_OLDEST[1]} or later is needed")
    return ""


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def connect(settings: Store, state: StoreState) -> "Connection":
    """Return the connection of this process, the same for all versions of a configuration; raise StoreError."""
    key = (settings.url, settings.prefix)
    if key not in _connections:
        _connections[key] = Connection(settings, state)
    return _connections[key]


class Connection:
    """The connection to the store; each method can be called from any thread.

    Attributes:
        settings: its settings.
        client: the client.
        gone: whether this process cannot reach the store.
    """

    def __init__(self, settings: Store, state: StoreState, patience: float | None = None) -> None:
        """Prepare the client; it connects on first use.

        ``patience``: seconds to wait for each answer, by default as long as a request may wait.

        Raises:
            StoreError: the URL is invalid, or the client is not installed.
        """
        self.settings = settings
        self.client = _client_of(settings, _PATIENCE if patience is None else patience)
        self.gone = False
        self._state = state
        self._leaving = threading.Lock()

    def key(self, name: str) -> str:
        """Return the name of a key; all are in one slot of a cluster."""
        return f"{{{self.settings.prefix}}}:{name}"

    def call(self, do: Callable[[], Result]) -> Result | None:
        """Return the result of a call of the client; None while the store cannot be reached."""
        if self.gone:
            return None
        try:
            return do()
        except Exception as error:  # for any error, requests proceed
            self._leave(error)
            return None

    def _leave(self, error: Exception) -> None:
        """Continue without the store, and try in a thread to reach it again."""
        with self._leaving:
            if self.gone:
                return
            self.gone = True
        self.note_lost(error)
        threading.Thread(target=self._await, name="store", daemon=True).start()

    def _await(self) -> None:
        while self.gone:
            time.sleep(_RETRY)
            try:
                self.client.set(self.key("probe"), 1, ex=60)
            except Exception:  # noqa: S112 - also of a store that responds, but refuses writes
                continue
            self.gone = False
            self.note_back()

    def note_lost(self, error: Exception) -> None:
        """Note that the store cannot be reached; the first process of the server to notice logs it."""
        if self._state.turn(True):
            _LOG.warning(
                "the store cannot be reached (%s): limits, counted faults and the journal are of this server alone",
                _reason(error),
            )

    def note_back(self) -> None:
        """Note that the store can be reached; likewise."""
        if self._state.turn(False):
            _LOG.warning("the store can be reached again: all servers share their state")
