"""A server for the fuzz, the soak and the changes, and its state as observed from outside."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import orjson

from fastmock.server import trial

ROOT = Path(__file__).parent.parent
_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 20.0

RICH_CONFIG: Mapping[str, Any] = {
    "server": {"control_headers": True, "max_body_bytes": 4 << 20, "shutdown_timeout": 2},
    "journal": {"enabled": True, "size": 200},
    "metrics": {"enabled": True, "vllm": True},
    "limits": {"requests_per_minute": 10**9, "tokens_per_minute": 10**9},
    "latency": {"ttft": 1},
    "stored": {"max_entries": 500},
    "tools": {"auto_call": True},
    "usage": {"simulate_prompt_cache": True},
    "per_model": [
        {"model": "paced-model", "latency": {"ttft": 2, "itl": 0.01}, "output": {"kind": "lorem", "tokens": 20}},
        {"model": "echo-model", "output": {"kind": "echo"}, "context_window": 5000},
    ],
    "responses": {
        "chat_completions": {
            "patterns": [
                {"match": {"content": "ping"}, "content": "pong"},
                {
                    "match": {"content_regex": "(?i)refund"},
                    "reasoning": "Let me see.",
                    "content": "Done, $user_message.",
                },
                {
                    "match": {"content_contains": "weather"},
                    "tool_calls": [{"name": "get_weather", "arguments": {"a": 1}}],
                },
                {"match": {"any": [{"tool": "lookup*"}, {"metadata": {"a": "*"}}]}, "refusal": "No."},
                {"match": {"session": "s1", "turn": 2}, "responses": ["one", "two"]},
            ]
        },
        "moderations": {"patterns": [{"match": {"content_contains": "test"}, "flag": ["violence"]}]},
    },
}
"""A configuration with every feature enabled, except those that make a request fail or wait for long."""


class Target:
    """A running ``fastmock`` command; its output goes to files."""

    def __init__(
        self, directory: Path, config: Mapping[str, Any] | Path, *arguments: str, memory_limit: int | None = None
    ) -> None:
        """Start the server and wait until it listens.

        Args:
            directory: its working directory.
            config: its configuration, as a mapping or a file.
            arguments: further flags.
            memory_limit: maximum address space of each of its processes, in bytes.

        Raises:
            RuntimeError: it did not start.
        """
        if not isinstance(config, Path):
            file = directory / "config.json"
            file.write_bytes(orjson.dumps(config))
            config = file
        self.config, self._directory = config, directory
        self._output, self._errors = directory / "stdout.txt", directory / "stderr.txt"
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("FASTMOCK_", "MOCK_OPENAI_"))
        }
        command = [sys.executable, "-m", "fastmock", "--port", "0", "--config", str(config), *arguments]
        if memory_limit is not None:
            command = ["prlimit", f"--as={memory_limit}", *command]
        self._all_workers: set[int] = set()
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                cwd=directory,
                env=clean | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )
        self.port = self._wait_for_port()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_for_port(self) -> int:
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.search(r"listening on +https?://[^:]+:(\d+)/v1", self._output.read_text())
            if found:
                return int(found[1])
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"the server did not start: {self.errors()}")

    def workers(self) -> list[int]:
        """List the process ids of its children, except the one in which changes are tried."""
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        except FileNotFoundError:
            return []
        workers = [int(pid) for pid in children.split() if self._name(pid) != trial.NAME]
        self._all_workers.update(workers)
        return workers

    @staticmethod
    def _name(pid: str) -> str:
        try:
            return Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            return ""

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def pss(self, files: bool = True) -> dict[int, float]:
        """Return the proportional set size of each process in MiB; a process that has just ended is left out.

        ``files``: count pages of files too, which the kernel drops when it needs the memory.
        """
        sizes = {}
        for pid in (self.process.pid, *self.workers()):
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parts = ("Pss",) if files else ("Pss_Anon", "Pss_Shmem")
            found = (re.search(rf"^{part}: +(\d+)", text, re.M) for part in parts)
            sizes[pid] = sum(int(one[1]) for one in found if one) / 1024
        return sizes

    def errors(self, begin: int = 0) -> str:
        """Return its standard error, from a byte offset on."""
        with self._errors.open("rb") as file:
            file.seek(begin)
            return file.read().decode(errors="replace")

    def errors_size(self) -> int:
        """Return the size of its standard error, in bytes."""
        return self._errors.stat().st_size

    def tracebacks(self) -> list[str]:
        """Extract the tracebacks and panics from its standard error, without duplicates."""
        found = re.findall(
            r"^Traceback .*?^\S*(?:Error|Exception|Exit|Interrupt)\b.*?$|.*panicked at.*$", self.errors(), re.M | re.S
        )
        return list(dict.fromkeys(found))

    def stop(self) -> None:
        """Stop the server and its workers, by force if they do not end by themselves."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_TIMEOUT)
        self.kill()

    def kill(self) -> None:
        """Kill the remaining processes of the server at once."""
        self.workers()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self._all_workers:
            if self._is_of_it(pid):
                os.kill(pid, signal.SIGKILL)

    def _is_of_it(self, pid: int) -> bool:
        """Return whether a process is still one of its workers, and not another that reuses the id."""
        try:
            return str(self.config).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return False
