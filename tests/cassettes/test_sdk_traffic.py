"""The requests of the tests of the official SDKs, recorded and replayed.

``SDK_TRAFFIC=all`` takes all of their modules on both runtimes, else one of them on one: the rest takes minutes.
Modules about faults are left out: they control the server by headers, which a recorder does not forward.
"""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import httpx
import orjson
import pytest

from fastmock.cassettes.canonical import exact_hash
from fastmock.cassettes.cassette import parse_line
from tests.support import PYTEST, RECORD, ROOT, serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
MODULES = ("test_openai_chat", "test_openai_responses", "test_anthropic_messages", "test_clients", "test_types")
ALL = os.environ.get("SDK_TRAFFIC") == "all"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Run the tests through a recorder; return the directory of the cassettes."""
    place = tmp_path_factory.mktemp("recorded")
    chosen = [f"tests/sdk/{name}.py" for name in (MODULES if ALL else MODULES[:1])]
    command = [*PYTEST, "-q", *chosen, "-m", "not timed"]
    # The program "scripted" calls the control API of the server itself.
    command += ["-k", "not scripted" if ALL else "granian"]
    environ = {**os.environ, RECORD: str(place), "PYTEST_ADDOPTS": "", "CI": ""}
    environ.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout[-5000:]
    return place


def recordings(directory):
    found = [parse_line(line) for file in sorted(directory.glob("*.jsonl")) for line in file.read_bytes().splitlines()]
    return sorted(found, key=lambda one: one.at)


def sent(recording):
    """Return the body of a request as the SDKs write it."""
    value = recording.request.body.value
    return b"" if value is None else orjson.dumps(value) if recording.request.body.form == "json" else value.encode()


def is_exact(recording):
    """Return whether ``sent`` gives the bytes that were sent."""
    request = recording.request
    return exact_hash(request.method, request.path, request.query, sent(recording)) == recording.exact


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("runtime", ["granian", "robyn"])
def test_every_request_of_the_sdks_replays_with_the_same_bytes(recorded, tmp_path, runtime, workers):
    places = [place for place in recorded.iterdir() if place.is_dir()]
    count = exact = 0
    for place in places:
        made = recordings(place)
        config = {"cassettes": {"files": [str(place)], "repeats": "error"}}
        with serving(tmp_path, config, "--runtime", runtime, "--workers", str(workers)) as server:

            def replay(client, recording, url=server.url):
                request = recording.request
                key = {"authorization": "Bearer sk-x", "x-api-key": "sk-x"}
                headers = {"accept-encoding": "identity", **key, **request.headers}
                target = httpx.URL(f"{url}{request.path}", params=request.query)
                answer = client.request(request.method, target, content=sent(recording), headers=headers)
                assert answer.status_code == recording.answer.status, answer.text
                assert answer.content == recording.answer.content
                assert answer.headers["content-type"] == recording.answer.headers["content-type"]

            equal: dict[bytes, list] = {}
            for one in made:
                equal.setdefault(one.exact, []).append(one)

            def in_order(group):
                with httpx.Client() as client:
                    for one in group:
                        replay(client, one)

            with ThreadPoolExecutor(4) as threads:
                [*threads.map(in_order, equal.values())]
            count += len(made)
            exact += sum(is_exact(one) for one in made)
            assert server.control("GET", "report")[1]["cassettes"]["replayed"] == len(made)
    assert count > (500 if ALL else 30)
    assert exact > count / 2
