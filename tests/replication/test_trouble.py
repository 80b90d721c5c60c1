"""Servers on a store that is emptied, stopped, killed and cut off, while they are killed too: in the end they agree.

``TROUBLE_SECONDS`` lasts longer, ``TROUBLE_SEED`` chooses other troubles.
"""

import os
import random
import signal
import threading
import time
from collections import Counter

import httpx
import pytest

from tests.replication.test_servers import PATH, ask, rules_of, servers, store
from tests.support import KEY, wait_until
from tests.valkey import Valkey, needs_valkey

pytestmark = [pytest.mark.integration, needs_valkey]
__all__ = ["servers", "store"]  # fixtures
SECONDS = float(os.environ.get("TROUBLE_SECONDS", "6"))
KEYS = ("state", "changes", "snapshot", "requests", "servers", "about", "refused", "uses", "faults")


class Troubles:
    """What happens to the store and the servers."""

    def __init__(self, store, servers, directory, draw):
        self.store, self._servers, self._directory, self._draw = store, servers, directory, draw
        self.happened = []

    def cause(self):
        name = self._draw.choice(("flush", "evict", "cut_off", "pause", "restart", "kill_replicator", "kill_worker"))
        self.happened.append(name)
        getattr(self, name)()

    def flush(self):
        with self.store.client() as client:
            client.flushall()

    def evict(self):
        with self.store.client() as client:
            client.delete(f"{{fastmock}}:{self._draw.choice(KEYS)}")

    def cut_off(self):
        with self.store.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)

    def pause(self):
        self.store.process.send_signal(signal.SIGSTOP)
        time.sleep(self._draw.uniform(0.2, 1.5))
        self.store.process.send_signal(signal.SIGCONT)

    def restart(self):
        self.store.kill()
        time.sleep(self._draw.uniform(0, 1))
        self.store = Valkey(self._directory, self.store.port)

    def kill_replicator(self):
        os.kill(self._draw.choice(self._servers).workers()[-1], signal.SIGKILL)

    def kill_worker(self):
        os.kill(self._draw.choice(self._servers).workers()[0], signal.SIGKILL)


def test_servers_agree_after_any_trouble(servers, store, tmp_path):
    found = servers(3, lag=300, limits={"requests_per_minute": 1_000_000})
    stopping, confirmed, statuses = threading.Event(), set(), Counter()

    def answer(server):
        with httpx.Client(headers=KEY, timeout=20) as client:
            while not stopping.is_set():
                try:
                    statuses[client.post(f"{server.url}{PATH}", json=ask()).status_code] += 1
                except httpx.TransportError:  # its worker was killed
                    statuses["lost"] += 1

    def change(server):
        with httpx.Client(timeout=30) as client:
            while not stopping.wait(0.05):
                try:
                    response = client.post(
                        f"{server.url}/fastmock/rules", json={"match": {"content": "a"}, "content": "b"}
                    )
                except httpx.TransportError:
                    continue
                if response.status_code == 200:
                    confirmed.update(rule["id"] for rule in response.json()["rules"])
                assert response.status_code in (200, 503, 504)

    threads = [threading.Thread(target=do, args=(one,)) for one in found for do in (answer, change)]
    for thread in threads:
        thread.start()
    troubles = Troubles(store, found, tmp_path, random.Random(os.environ.get("TROUBLE_SEED", "1")))
    try:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            time.sleep(random.Random(until).uniform(0.3, 1.5))
            troubles.cause()
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    try:
        print(troubles.happened, statuses, len(confirmed))
        assert set(statuses) <= {200, "lost"}
        assert statuses["lost"] <= 2 * troubles.happened.count("kill_worker")
        assert wait_until(lambda: all("reachable" in httpx.get(f"{one.url}/ready").text for one in found), 10)
        assert wait_until(lambda: rules_of(found[0]) == rules_of(found[1]) == rules_of(found[2]), 15)
        assert confirmed <= set(rules_of(found[0]))
        assert not [line for one in found for line in one.errors if "Traceback" in line]
    finally:
        troubles.store.stop()
