"""Tests that run side by side never see each other: not their rules, faults, settings and requests."""

import os
import random
import re
import subprocess

import pytest

from tests.support import PYTEST, outer_environment

pytestmark = pytest.mark.integration
TESTS, PROCESSES, RUNS = (
    int(os.environ.get(f"ISOLATION_{name}", default))
    for name, default in (("TESTS", 24), ("PROCESSES", 4), ("RUNS", 1))
)
MODULE = """
import asyncio, os, re, signal, subprocess, sys, threading
import openai, pytest

def body(text):
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}

def said(completion):
    return completion.choices[0].message.content

def ask(text="shared", retries=0):
    with openai.OpenAI(max_retries=retries) as client:
        return said(client.chat.completions.create(**body(text)))

NUMBERS = list(range(TESTS))

@pytest.mark.parametrize("number", NUMBERS)
def test_it(fastmock, number):
    mine = f"answer {number}"
    kind = number % 6
    if kind == 0:  # a rule
        fastmock.on("shared").reply(mine)
        assert [ask(), ask()] == [mine, mine]
        expected = [200, 200]
    elif kind == 1:  # a fault, and retries
        fastmock.on("shared").fails(503, times=1, retry_after=0).reply(mine)
        assert ask(retries=1) == mine
        expected = [503, 200]
    elif kind == 2:  # settings
        fastmock.configure(strict=True)
        with pytest.raises(openai.NotFoundError):
            ask()
        expected = [404]
    elif kind == 3:  # threads
        fastmock.on("shared").reply(mine)
        found = []
        threads = [threading.Thread(target=lambda: found.append(ask())) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert found == [mine] * 3
        expected = [200] * 3
    elif kind == 4:  # asyncio
        fastmock.on("shared").reply(mine)
        async def several():
            async with openai.AsyncOpenAI(max_retries=0) as client:
                return await asyncio.gather(*(client.chat.completions.create(**body("shared")) for _ in range(3)))
        assert [said(one) for one in asyncio.run(several())] == [mine] * 3
        expected = [200] * 3
    else:  # a subprocess, without anything of its own
        program = "import httpx, os; print(httpx.post(os.environ['OPENAI_BASE_URL'] + '/chat/completions', json="
        program += f"{body('shared')!r}, headers={{'authorization': 'Bearer ' + os.environ['OPENAI_API_KEY']}}).text)"
        out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        assert "canned" in out and re.search("answer [0-9]", out) is None
        expected = [200]
    assert [request.status for request in fastmock.requests] == expected
    rules = [rule["name"] for rule in fastmock.report()["rules"]]
    assert len(rules) == (0 if kind in (2, 5) else 1), rules
    if number == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("run", range(RUNS))
def test_tests_side_by_side_never_leak(tmp_path, run):
    order = list(range(TESTS))
    random.Random(run).shuffle(order)
    killed = TESTS // 2 if run % 2 else -1
    module = MODULE.replace("list(range(TESTS))", repr(order)).replace("KILLED", str(killed))
    (tmp_path / "test_many.py").write_text(module)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [*PYTEST, "-q", "-n", str(PROCESSES)],
        cwd=tmp_path,
        env=outer_environment(FASTMOCK_WORKERS="2"),
        capture_output=True,
        text=True,
        check=False,
    )
    counts = dict(reversed(found) for found in re.findall(r"(\d+) (passed|failed|error)", done.stdout))
    expected = {"passed": str(TESTS)} if killed < 0 else {"passed": str(TESTS - 1), "failed": "1"}
    assert counts == expected, done.stdout[-3000:]
