"""Replicas with addresses of their own behind nginx, as on several machines: network namespaces stand for these."""

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.support import ROOT, wait_until
from tests.valkey import Valkey, needs_valkey

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
BRIDGE, NETWORK = "fmtest0", "10.213.7"
PORT, BALANCER = 8080, 8088
PATH = "/v1/chat/completions"
HEADERS = {"authorization": "Bearer sk-x", "content-type": "application/json"}


def command(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, text=True, **options)


def can_make_namespaces():
    if os.geteuid() or shutil.which("ip") is None:
        return False
    name = f"fmprobe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True)
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return made.returncode == 0


pytestmark = [
    pytest.mark.integration,
    needs_valkey,
    pytest.mark.skipif(NGINX is None, reason="needs Debian's package nginx-light"),
]


class Replica:
    """A server in a network namespace of its own."""

    def __init__(self, number: int, directory: Path, config: dict) -> None:
        self.name, self.address = f"fm{number}", f"{NETWORK}.{10 + number}"
        self._log = directory / f"{self.name}.log"
        self._config = {**config, "server": {**config["server"], "replica": self.name, "host": self.address}}
        self.process: subprocess.Popen[bytes] | None = None

    def connect(self) -> None:
        """Make the namespace, with a network between it and the balancer."""
        self.remove()  # what an earlier run has left
        command("ip", "netns", "add", self.name)
        command("ip", "link", "add", f"{self.name}o", "type", "veth", "peer", "name", "eth0", "netns", self.name)
        command("ip", "link", "set", f"{self.name}o", "master", BRIDGE, "up")
        for words in (("addr", "add", f"{self.address}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
            command("ip", "-n", self.name, *words)
        command("ip", "-n", self.name, "link", "set", "lo", "up")

    def start(self) -> None:
        words = ["ip", "netns", "exec", self.name, sys.executable, "-m", "fastmock", "--workers", "2"]
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "FASTMOCK_CONFIG_JSON": json.dumps(self._config),
            "FASTMOCK_ADMIN_TOKEN": "t",
            "FASTMOCK_USAGE_TOKENIZER": "estimate",  # to read vocabularies is a third of a start
        }
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([*words, "--port", str(PORT)], env=environ, stdout=log, stderr=log)

    @property
    def url(self) -> str:
        return f"http://{self.address}:{PORT}"

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ready", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()  # ip has become the server
        self.process.wait(10)

    def restart(self) -> None:
        """Stop as an orchestrator does, and start again."""
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(60) == 0
        self.start()
        assert wait_until(self.is_ready, 20)

    def remove(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        for words in (("link", "del", f"{self.name}o"), ("netns", "del", self.name)):
            subprocess.run(["ip", *words], capture_output=True)


NGINX_CONFIG = """
worker_processes 1; daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f;
  uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  upstream replicas {{ least_conn; {servers} }}
  server {{
    listen {address}:{port} backlog=4096;
    location / {{
      proxy_pass http://replicas; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
      proxy_read_timeout 60s; proxy_connect_timeout 2s;
    }}
  }}
}}
"""


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    """Three replicas with two workers each, a Valkey, and nginx before them."""
    if not can_make_namespaces():
        pytest.skip("needs root and network namespaces")
    directory = tmp_path_factory.mktemp("machines")
    with ExitStack() as stack:
        lock = stack.enter_context((Path(tempfile.gettempdir()) / "fastmock-machines.lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of the tests may use the same names
        subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True)
        command("ip", "link", "add", BRIDGE, "type", "bridge")
        stack.callback(subprocess.run, ["ip", "link", "del", BRIDGE], capture_output=True)
        command("ip", "addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        command("ip", "link", "set", BRIDGE, "up")
        store = Valkey(directory, None, "--bind", f"127.0.0.1 {NETWORK}.1", "--protected-mode", "no")
        stack.callback(store.stop)
        config = {
            "store": {"url": f"redis://{NETWORK}.1:{store.port}/0", "max_lag": 2000},
            "journal": {"enabled": True, "size": 20_000},
            "server": {"shutdown_timeout": 30, "control_headers": True},
            "readiness": {"drain_delay": 1},
            "limits": {"per": [{"api_key": "sk-limited", "quota_requests": 100}]},
            "responses": {
                "chat_completions": {
                    "rules": [
                        {"match": {"content": "slow"}, "content": "word " * 40, "latency": {"ttft": 100, "itl": 100}}
                    ]
                }
            },
        }
        replicas = [Replica(number, directory, config) for number in range(3)]
        for replica in replicas:
            stack.callback(replica.remove)
            replica.connect()
            replica.start()
        assert wait_until(lambda: all(one.is_ready() for one in replicas), 30)
        time.sleep(1.2)  # each has seen all others
        servers = " ".join(f"server {one.address}:{PORT} max_fails=1 fail_timeout=1s;" for one in replicas)
        text = NGINX_CONFIG.format(directory=directory, servers=servers, address=f"{NETWORK}.1", port=BALANCER)
        (directory / "nginx.conf").write_text(text)
        assert NGINX is not None
        nginx = subprocess.Popen([NGINX, "-c", str(directory / "nginx.conf"), "-p", str(directory)])
        stack.callback(nginx.wait, 10)
        stack.callback(nginx.terminate)
        assert wait_until(lambda: _answers(f"http://{NETWORK}.1:{BALANCER}/health"), 10)
        yield replicas


def _answers(url):
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def control(replica, method, path, body=None):
    answer = httpx.request(
        method, f"{replica.url}/fastmock/{path}", json=body, headers={"authorization": "Bearer t"}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def ask(text, **more):
    return json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}).encode()


async def post(reader_writer, body, key="sk-x"):
    """Send a request on an open connection; return the status, the head and the body."""
    reader, writer = reader_writer
    writer.write(
        b"POST %b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (PATH.encode(), key.encode(), len(body), body)
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        content = b""
        while size := int(await reader.readline(), 16):
            content += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        length = next(one for one in head.lower().split(b"\r\n") if one.startswith(b"content-length"))
        content = await reader.readexactly(int(length.split(b":")[1]))
    return int(head.split(b" ")[1]), head, content


@asynccontextmanager
async def connected(address, port):
    reader, writer = await asyncio.open_connection(address, port, limit=1 << 20)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def test_limits_are_exact_under_64_clients_through_the_balancer(machines):
    async def load():
        async def client():
            async with connected(f"{NETWORK}.1", BALANCER) as connection:
                return [(await post(connection, ask("Hello"), "sk-limited"))[:2] for _ in range(5)]

        return [one for found in await asyncio.gather(*(client() for _ in range(64))) for one in found]

    found = asyncio.run(load())
    assert Counter(status for status, _ in found) == {200: 100, 429: 220}
    answered_by = {name for _, head in found for name in ("fm0", "fm1", "fm2") if name.encode() in head}
    assert answered_by == {"fm0", "fm1", "fm2"}


def test_no_stale_answer_after_a_change_while_a_replica_is_killed_and_comes_back(machines):
    rounds, requests = int(os.environ.get("CHANGE_ROUNDS", "3")), int(os.environ.get("CHANGE_REQUESTS", "600"))

    async def all_fresh(alive, text):
        async def client(replica):
            texts = set()
            async with connected(replica.address, PORT) as connection:
                for _ in range(requests // (4 * len(alive))):
                    body = json.loads((await post(connection, ask("which")))[2])
                    texts.add(body["choices"][0]["message"]["content"])
            return texts

        found = await asyncio.gather(*(client(replica) for replica in alive for _ in range(4)))
        assert set().union(*found) == {text}

    for turn in range(rounds):
        victim = machines[turn % 3]
        alive = [one for one in machines if one is not victim]
        victim.kill()
        text = f"turn {turn}"
        body = control(alive[0], "PUT", "rules/which", {"match": {"content": "which"}, "content": text})
        before = machines[(turn - 1) % 3]  # its former process may still count as alive
        assert set(body["servers"]["unconfirmed"]) <= {victim.name, before.name}
        asyncio.run(all_fresh(alive, text))
        victim.start()
        assert wait_until(victim.is_ready, 20)
        asyncio.run(all_fresh([victim], text))
    time.sleep(3.5)  # the killed ones are forgotten


def test_no_stream_is_cut_by_a_rolling_restart_behind_nginx(machines):
    streams = int(os.environ.get("ROLLING_STREAMS", "150"))
    stop = time.monotonic() + 25
    outcomes: Counter[str] = Counter()

    async def client():
        while time.monotonic() < stop:
            try:
                async with connected(f"{NETWORK}.1", BALANCER) as connection:
                    status, _, content = await post(connection, ask("slow", stream=True))
                ends = content.endswith(b"data: [DONE]\n\n") and content.count(b"word") == 40
                outcomes["whole" if (status, ends) == (200, True) else f"{status}, cut: {not ends}"] += 1
            except (OSError, asyncio.IncompleteReadError) as error:
                outcomes[repr(error)[:80]] += 1

    async def load():
        loop = asyncio.get_running_loop()
        clients = [asyncio.ensure_future(client()) for _ in range(streams)]
        await asyncio.sleep(1)
        for replica in machines:
            await loop.run_in_executor(None, replica.restart)
        await asyncio.gather(*clients)

    asyncio.run(load())
    assert outcomes.keys() == {"whole"}, outcomes
    assert outcomes["whole"] >= streams


def test_verify_knows_the_requests_of_replicas_that_have_stopped(machines):
    control(machines[0], "DELETE", "requests")
    for number in range(30):
        with httpx.Client(base_url=f"http://{NETWORK}.1:{BALANCER}", headers=HEADERS) as client:
            client.post(PATH, content=ask(f"number {number}"))
    machines[1].restart()
    for replica in machines:
        verified = control(replica, "POST", "verify", {"match": {"content_contains": "number"}, "count": 30})
        assert verified["count"] == 30
