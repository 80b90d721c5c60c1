"""Valkey servers for tests."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastmock.server.sockets import listen
from tests.support import wait_until

VALKEY = shutil.which("valkey-server") or shutil.which("redis-server")
needs_valkey = pytest.mark.skipif(VALKEY is None, reason="needs Debian's package valkey-server or redis-server")


def free_port() -> int:
    with listen("127.0.0.1", 0) as probe:
        port: int = probe.getsockname()[1]
        return port


class Valkey:
    """A Valkey, or the Redis that it came from."""

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        *options: str,
        password: str | None = None,
        ca: str | None = None,
    ) -> None:
        """Start it; with ``ca``, the file of an authority, it uses TLS."""
        assert VALKEY is not None
        self.port = port or free_port()
        self._password, self._ca = password, ca
        ports = ["--port", str(self.port)] if not ca else ["--tls-port", str(self.port), "--port", "0"]
        given = [*ports, "--bind", "127.0.0.1", "--save", "", "--dir", str(directory), *options]
        if password:
            given += ["--requirepass", password]
        self.process = subprocess.Popen([VALKEY, *given], stdout=subprocess.DEVNULL)
        assert wait_until(self.answers, 10)

    def answers(self) -> bool:
        redis = pytest.importorskip("redis")
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def client(self):
        redis = pytest.importorskip("redis")
        tls = {"ssl": True, "ssl_ca_certs": self._ca} if self._ca else {}
        return redis.Redis(port=self.port, password=self._password, **tls)

    @property
    def url(self) -> str:
        user = f":{self._password}@" if self._password else ""
        return (
            f"rediss://{user}127.0.0.1:{self.port}/0?ssl_ca_certs={self._ca}"
            if self._ca
            else (f"redis://{user}127.0.0.1:{self.port}/0")
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@contextmanager
def valkey(directory: Path, port: int | None = None, *options: str, **more: str) -> Iterator[Valkey]:
    """Run a Valkey."""
    server = Valkey(directory, port, *options, **more)
    try:
        yield server
    finally:
        server.stop()
