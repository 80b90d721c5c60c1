"""The connection to the store, of one process: requests go on while it is lost, and it heals by itself."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

from fastmock.core.problems import did_you_mean
from fastmock.replication.settings import Store
from fastmock.shared.store_state import StoreState

_PATIENCE = 0.25  # seconds to wait for the store before requests proceed without it
READING = 5.0
"""Seconds to wait for the store where no request waits."""
_RETRY = 0.5  # seconds between attempts to reach it again
_OLDEST = (6, 2)  # version of Redis; a Valkey says that it is a Redis 7.2
_OF_SENTINELS = ("sentinel_username", "sentinel_password")
_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
_SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster", "unix")
_OPTIONS = (
    *("db", "username", "password", "client_name", "protocol", "ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs"),
    *("ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "ssl_min_version", "ssl_ciphers"),
    *_OF_SENTINELS,
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
    once: Mapping[str, Any] = {
        "socket_timeout": patience,
        "socket_connect_timeout": min(patience, 2.0),
        "retry": Retry(NoBackoff(), 0),
    }
    scheme, _, rest = url.partition("://")
    known_as = scheme.replace("valkey", "redis", 1)
    base, _, kind = known_as.partition("+")
    if known_as not in _SCHEMES:
        near = did_you_mean(scheme, _SCHEMES) or f"; known are {', '.join(_SCHEMES)}"
        raise StoreError(f"has an unknown scheme: {scheme!r}{near}")
    options = _options_of(rest)
    try:
        if kind == "sentinel":
            return _from_sentinels(base, rest, options, once)
        path = urlsplit(f"{base}://{rest}").path.strip("/")
        if base != "unix" and path and not path.isdecimal():
            raise StoreError("has an invalid number of a database; / and @ in a password are written as %2F and %40")
        if kind == "cluster":
            if path not in ("", "0"):
                raise StoreError(f"has a number of a database, {path}; a cluster has only 0")
            return _Cluster(lambda: redis.RedisCluster.from_url(f"{base}://{rest}", **once))
        client = redis.Redis.from_url(f"{base}://{rest}", **once)
    except StoreError:
        raise
    except Exception as error:  # any text of theirs may quote the password
        known = "expected such as redis://:password@host:6379/0, with / and @ of a password as %2F and %40"
        raise StoreError(f"is not a valid store URL ({type(error).__name__}): {known}") from None
    try:
        client.connection_pool.make_connection()  # does not connect yet
    except Exception as error:
        raise StoreError(f"has an option that cannot be used ({type(error).__name__})") from None
    return client


def _options_of(rest: str) -> dict[str, str]:
    """Return the options in the query of a URL without its scheme.

    Raises:
        StoreError: one is unknown, or names a file that is missing.
    """
    options = {name: values[-1] for name, values in parse_qs(rest.partition("?")[2], keep_blank_values=True).items()}
    for name, value in options.items():
        if name not in _OPTIONS:
            near = did_you_mean(name, _OPTIONS) or f"; known are {', '.join(_OPTIONS)}"
            raise StoreError(f"has an unknown option: {name!r}{near}")
        if name in _FILES and not Path(value).exists():
            raise StoreError(f"has an option {name}, but there is no file {value!r}")
    return options


class _Cluster:
    """A client of a cluster that connects on first use; the client's own would connect when it is made."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            self._made = self._make()
        return getattr(self._made, name)

    def register_script(self, script: str) -> Callable[..., Any]:
        """Return a script that is registered when it is first used."""
        registered: list[Any] = []

        def run(**given: Any) -> Any:
            if not registered:
                registered.append(self.__getattr__("register_script")(script))
            return registered[0](**given)

        return run

    def close(self) -> None:
        """Close the client, if it is connected."""
        if self._made is not None:
            self._made.close()


def _from_sentinels(base: str, rest: str, options: Mapping[str, str], once: Mapping[str, Any]) -> Any:
    """Return a client of the primary that Sentinels name; ``rest`` is ``HOSTS/NAME/DB`` with options."""
    from redis.connection import parse_url
    from redis.sentinel import Sentinel

    parts = urlsplit(f"{base}://{rest}")
    user, _, hosts = parts.netloc.rpartition("@")
    name, _, db = parts.path.strip("/").partition("/")
    if not name:
        raise StoreError("needs the name of the primary: redis+sentinel://host:26379/NAME/0")
    sentinels = []
    for one in hosts.split(","):
        host, _, port = one.rpartition(":") if ":" in one else (one, "", "")
        sentinels.append((host, int(port) if port else _SENTINEL_PORT))
    query = "&".join(f"{key}={quote(value)}" for key, value in options.items() if key not in _OF_SENTINELS)
    given = {**parse_url(f"{base}://{user}@host/{db or 0}?{query}"), **once}  # type: ignore[no-untyped-call]
    of_server = ("host", "port", "connection_class", "db", "username", "password")
    of_sentinels = {key: value for key, value in given.items() if key not in of_server}
    of_sentinels |= {key.partition("_")[2]: options[key] for key in _OF_SENTINELS if key in options}
    given = {key: value for key, value in given.items() if key not in ("host", "port", "connection_class")}
    if base == "rediss":
        given["ssl"] = of_sentinels["ssl"] = True
    found = Sentinel(sentinels, sentinel_kwargs=of_sentinels)  # type: ignore[no-untyped-call]
    return found.master_for(name, **given)  # type: ignore[no-untyped-call]


def check_store(settings: Store) -> str:
    """Look whether the store can be used; return the reason why it cannot be reached now, empty if it can.

    Raises:
        StoreError: it can never be used: it refuses the password or the certificate, or is too old.
    """
    client = _client_of(settings, 2.0)
    try:
        version = str(client.info("server")["redis_version"])
        _probe(client, settings)
    except Exception as error:  # of the client, of TLS or of the network
        for_ever = _never(error)
        if for_ever is not None:
            raise StoreError(for_ever) from None
        text, uses_tls = _reason(error), (settings.url or "").startswith(("rediss", "valkeys"))
        if uses_tls and "imeout" in text:  # a server without TLS awaits more of the handshake
            return f"{text}; does it use TLS?"
        if uses_tls and ("EOF" in text or "certificate required" in text):
            return f"{text}; does it ask for a certificate of the client (ssl_certfile, ssl_keyfile)?"
        if not uses_tls and ("closed by" in text or "reset by" in text):
            return f"{text}; does it use TLS (rediss://)?"
        return text
    finally:
        client.close()
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        raise StoreError(f"has the version {version}, but {_OLDEST[0]}.{_OLDEST[1]} or later is needed")
    return ""


def _probe(client: Any, settings: Store) -> None:
    """Write to the store; raise the errors of the client."""
    client.set(_key(settings, "probe"), 1, ex=60)


def _key(settings: Store, name: str) -> str:
    """Return the name of a key; all are in one slot of a cluster."""
    return f"{{{settings.prefix}}}:{name}"


def _never(error: Exception) -> str | None:
    """Return the reason why a store can never be used; None if it may later."""
    import redis

    text = _reason(error)
    if "WRONGPASS" in text or "invalid username-password" in text or "invalid password" in text:
        return f"refuses the password: {text}"
    if "NOAUTH" in text or "HELLO must be called" in text or "without any password configured" in text:
        return f"needs {'no ' if 'without any' in text else 'a '}password"
    if isinstance(error, redis.exceptions.NoPermissionError) or "NOPERM" in text:
        return f"refuses a command or a key: {text}"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"has a certificate that is not trusted; ssl_ca_certs names the file of its authority ({text})"
    if "luster mode is not enabled" in text:
        return "is not a cluster: write redis:// in place of redis+cluster://"
    transient = (redis.exceptions.ReadOnlyError, redis.exceptions.ClusterError)
    if isinstance(error, redis.ResponseError) and not isinstance(error, transient):
        if text.split(" ")[0] in ("OOM", "MISCONF", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS", "BUSY"):
            return None
        return f"refuses the commands: {text}"
    return None


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
        return _key(self.settings, name)

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
                _probe(self.client, self.settings)
            except Exception:  # noqa: S112 - also of a store that responds, but refuses writes
                continue
            self.gone = False

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
